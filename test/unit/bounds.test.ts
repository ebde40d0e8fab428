/** The table of docs/security.md, "Bounds", says what the source does. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"

const ROOT = resolve(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(ROOT, file), "utf8")

const [, section = ""] = /\n## Bounds\n([\s\S]*?)\n## /.exec(read("docs/security.md")) ?? []
const rows = section.split("\n").filter((line) => line.startsWith("| ")).slice(1)
  .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))

/** A name ends in what it counts: `…_MILLIS` and `SILENCE` are milliseconds. */
const UNITS: Readonly<Record<string, number>> = { "": 1, bytes: 1, KiB: 1024, MiB: 1024 ** 2, s: 1000 }

/** `64 * 1024`, `4 << 20`, `10_000`. */
const product = (text: string): number => {
  const [mantissa = "", shift = "0"] = text.split("<<")
  return mantissa.split("*").reduce((value, factor) => value * Number(factor.replaceAll("_", "").trim()), 1) *
    2 ** Number(shift)
}

/** Of each bound, the test that goes beyond it and sees what happens: file, and a part of its name. */
const BEYOND: Readonly<Record<string, readonly [file: string, name: string]>> = {
  "MAX_LINE in src/domain/Wire.ts": ["test/unit/socket/RpcServer.test.ts", "a line that is one byte too long"],
  "MAX_LINE in cni/text.h": ["test/cni/hostile.test.ts", "without end"],
  SILENCE: ["test/unit/socket/RpcServer.test.ts", "that is never made is cut off"],
  MAX_ANSWER: ["test/unit/socket/RpcServer.test.ts", "does not collect an answer without end"],
  MAX_CONTAINER_ID: ["test/agent/limits.test.ts", "are a byte longer: refused by whoever is asked"],
  MAX_ALIAS: ["test/agent/limits.test.ts", "of a pod of %s name: ADD, CHECK, a restart"],
  MAX_INTENTS: ["test/cni/queue.test.ts", "MAX_INTENTS - 1"],
  MAX_INTENT: ["test/unit/socket/DelQueue.test.ts", "sets aside what it cannot read"],
  MAX_OBJECT: ["test/unit/kube/ListReader.test.ts", "an object of more than"],
  MAX_REST: ["test/unit/kube/ListReader.test.ts", "beside the list's objects"],
  LINE_LIMIT: ["test/unit/kube/watchEvents.test.ts", "has lines of 32 MiB at most"],
  MAX_ANNOTATION: ["test/unit/domain/annotations.test.ts", "a megabyte"],
  MAX_ANNOTATIONS: ["test/unit/domain/Pod.test.ts", "keeps 32 annotations of flock's"],
  MOST_ITEMS: ["test/unit/domain/annotations.test.ts", "many items"],
  LONGEST: ["test/unit/domain/annotations.test.ts", "a long item"],
  REMEMBERED: ["test/unit/kube/writers.test.ts", "never more than 512 wait"],
  MESSAGE_LIMIT: ["test/unit/kube/writers.test.ts", "have a message of 1024 characters at most"],
  MAX_REPLY: ["test/unit/bird/control.test.ts", "does not collect a reply without end"],
  IMPORT_LIMIT: ["test/bgp/learning.test.ts", "is 1000 prefixes at most, and the session stays"],
  RECEIVE_BYTES: ["test/kernel/routes.test.ts", "a reader that falls behind learns that it must look at everything"],
  MAX_CONNECTIONS: ["test/unit/report/Http.test.ts", "holds 32 connections and no more, and none of them for ever"],
  CONNECTION_MILLIS: ["test/unit/report/Http.test.ts", "holds 32 connections and no more, and none of them for ever"],
  MAX_HEAD: ["test/unit/report/Http.test.ts", "answers the first request of a connection"],
  FRESH_MILLIS: ["test/unit/report/Http.test.ts", "renders once a second, however many ask"]
}

describe("the table of bounds", () => {
  it("has rows", () => assert.isAtLeast(rows.length, 20))

  it.each(rows)("%s: %s is %s", (_, bound = "", where = "") => {
    const [, name = "", file = ""] = /^`(\w+)` in `([^`]+)`$/.exec(where) ?? []
    const [, said = "", unit = "?"] = /^([\d.]+) ?(\w*)$/.exec(bound) ?? []
    const [, value = ""] = new RegExp(`(?:const|define|enum \\{) ${name}(?: =)? ([\\d_* <]+)`).exec(read(file)) ?? []
    assert.strictEqual(Number(said) * (UNITS[unit] ?? NaN), product(value), `${name} of ${file}`)
    const [test = "", title = ""] = BEYOND[name] ?? BEYOND[`${name} in ${file}`] ?? []
    assert.include(read(test), title, `${test} has no "${title}"`)
  })
})
