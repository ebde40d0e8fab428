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

describe("the table of bounds", () => {
  it("has rows", () => assert.isAtLeast(rows.length, 20))

  it.each(rows)("%s: %s is %s", (_, bound = "", where = "") => {
    const [, name = "", file = ""] = /^`(\w+)` in `([^`]+)`$/.exec(where) ?? []
    const [, said = "", unit = "?"] = /^([\d.]+) ?(\w*)$/.exec(bound) ?? []
    const [, value = ""] = new RegExp(`(?:const|define|enum \\{) ${name}(?: =)? ([\\d_* <]+)`).exec(read(file)) ?? []
    assert.strictEqual(Number(said) * (UNITS[unit] ?? NaN), product(value), `${name} of ${file}`)
  })
})
