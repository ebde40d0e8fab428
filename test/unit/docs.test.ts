/** The documents say what the source does: every field, annotation, flag, metric and error code, and no other. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Result, Schema } from "effect"
import type { Flag } from "effect/cli"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { parseAllDocuments } from "yaml"
import { pictures } from "../../scripts/pictures/main.ts"
import { doctor } from "../../src/cli/doctor.ts"
import { installCni } from "../../src/cli/installCni.ts"
import { renderStatus, status } from "../../src/cli/status.ts"
import { traffic } from "../../src/cli/traffic.ts"
import { why } from "../../src/cli/why.ts"
import { restore, withdraw } from "../../src/cli/withdraw.ts"
import { Code, SUPPORTED_VERSIONS } from "../../src/cni/spec.ts"
import { SPECIAL_RANGES } from "../../src/domain/addressRules.ts"
import { parseAnnotations } from "../../src/domain/annotations.ts"
import { formatCidr } from "../../src/domain/Ip.ts"
import { API_VERSION, decode, NodeConfigSpec } from "../../src/domain/NodeConfig.ts"
import { ANNOTATION_PREFIX } from "../../src/domain/Pod.ts"
import { runFlags } from "../../src/Settings.ts"
import { crd } from "./kube/structural.ts"
import { STATUS } from "./samples.ts"

const ROOT = resolve(import.meta.dirname, "../..")
const read = (file: string): string => readFileSync(join(ROOT, file), "utf8")
const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  ...["docs", "docs/decisions"].flatMap((folder) =>
    readdirSync(join(ROOT, folder)).filter((file) => file.endsWith(".md")).map((file) => `${folder}/${file}`)
  )
]

/** Cells of a document's table rows whose first cell is one code word, without the backquotes; `heading` narrows. */
const rows = (file: string, heading?: string): ReadonlyArray<ReadonlyArray<string>> => {
  const text = read(file)
  const from = heading === undefined ? 0 : text.indexOf(`\n## ${heading}\n`)
  assert.isAtLeast(from, 0, `${file} has no heading ${heading}`)
  const end = heading === undefined ? -1 : text.indexOf("\n## ", from + 1)
  return text.slice(from, end < 0 ? undefined : end).split("\n")
    .filter((line) => /^\| `[^|]+` \|/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
}
const word = (cell = ""): string => /`([^`]*)`/.exec(cell)?.[1] ?? ""

interface Node {
  readonly type?: string
  /** An integer, or one of some words. */
  readonly anyOf?: ReadonlyArray<unknown>
  readonly properties?: Readonly<Record<string, Node>>
  readonly required?: ReadonlyArray<string>
  readonly items?: Node
  readonly minimum?: number
  readonly maximum?: number
}

const fieldsOf = (node: Node, path: string): ReadonlyArray<readonly [string, Node, boolean]> => [
  ...Object.entries(node.properties ?? {}).flatMap(([key, inner]) => [
    [`${path}.${key}`, inner, (node.required ?? []).includes(key)] as const,
    ...fieldsOf(inner, `${path}.${key}`)
  ]),
  ...(node.items === undefined ? [] : fieldsOf(node.items, `${path}[]`))
]

const PEER = { address: "192.0.2.1", asn: 65000 }
const get = (value: unknown, path: string): unknown =>
  path.replaceAll("[]", ".0").split(".").slice(1).reduce<unknown>(
    (inner, key) => (inner as Record<string, unknown> | undefined)?.[key],
    value
  )

/** A spec that is good but for `value` at `path`. */
const specWith = (path: string, value: unknown): unknown => {
  const spec = structuredClone({ cidr6: "2001:db8:1::/64", bgp: { asn: 65001, peers: [PEER] } })
  const keys = path.replaceAll("[]", ".0").split(".").slice(1)
  const last = keys.pop() ?? ""
  const target = keys.reduce<Record<string, unknown>>(
    (inner, key) => (inner[key] ??= {}) as Record<string, unknown>,
    spec as Record<string, unknown>
  )
  target[last] = value
  return spec
}
const takes = (path: string, value: unknown): boolean =>
  Result.isSuccess(
    decode("n", { apiVersion: API_VERSION, kind: "NodeConfig", metadata: { name: "n" }, spec: specWith(path, value) })
  )

describe("docs/nodeconfig.md", () => {
  const documented = rows("docs/nodeconfig.md", "Fields")
  const fields = fieldsOf(Schema.toJsonSchemaDocument(NodeConfigSpec).schema as Node, "spec")
  const defaults = Schema.encodeSync(NodeConfigSpec)(
    Schema.decodeUnknownSync(NodeConfigSpec)({
      anycast: { grants: [{ cidr: "2001:db8:a::/64", namespaces: ["shop"] }] },
      bgp: { asn: 1, peers: [PEER] }
    })
  )
  const empty = Schema.encodeSync(NodeConfigSpec)(
    Schema.decodeUnknownSync(NodeConfigSpec)({ bgp: { asn: 1 } })
  )

  it("has every field of the schema, and no other", () => {
    assert.deepStrictEqual(documented.map(([cell]) => word(cell)).toSorted(), fields.map(([path]) => path).toSorted())
  })

  it("shows what a NodeConfig that is wrong is answered with", () => {
    const peers = [{ ...PEER, bdf: true, asn: 0 }]
    const spec = { cidr6: "2001:db8:100::1/64", bgp: { asn: 65001, peers } }
    const decoded = decode("node1", { apiVersion: API_VERSION, kind: "NodeConfig", metadata: { name: "node1" }, spec })
    const message = Result.isFailure(decoded) ? decoded.failure.message : ""
    assert.isTrue(read("docs/nodeconfig.md").includes(`\n${message}\n`), message)
  })

  it("has every special range, with what it is and may be", () => {
    const table = rows("docs/nodeconfig.md", "Which address may be what")
    assert.deepStrictEqual(
      table.map(([range, words, uses]) => [word(range), words, uses]),
      SPECIAL_RANGES.map(({ range, uses, words }) => [formatCidr(range), words, uses.includes("peer") ? "a peer" : "–"])
    )
    assert.isTrue(SPECIAL_RANGES.every(({ uses }) => uses.length === 0 || uses.join() === "peer,local"))
  })

  it.each(fields)("says %s's type, default and range", (path, node, required) => {
    const [, type = "", fallback = "", range = ""] = documented.find(([cell]) => word(cell) === path) ?? []
    const types: Readonly<Record<string, RegExp>> = {
      integer: /^integer$/,
      boolean: /^boolean$/,
      array: /^list of /,
      object: /^object$/,
      string: /^(string|dotted quad|address|interface|IPv[46] prefix|IPv6 prefix or IPv4 prefix)$/
    }
    const isInteger = node.type === "integer" || node.anyOf !== undefined
    assert.match(type, node.anyOf === undefined ? types[node.type ?? ""] ?? /^$/ : /^integer or word$/)
    const value = ["spec.bgp.peers", "spec.anycast.grants"].includes(path) ? get(empty, path) : get(defaults, path)
    if (required) assert.strictEqual(fallback, "required")
    else if (value === undefined || path === "spec.bgp" || path.endsWith("peers[].address")) {
      assert.strictEqual(fallback, "–")
    } else if (node.type === "object") assert.strictEqual(fallback, "`{}`")
    else assert.deepStrictEqual(JSON.parse(word(fallback)), value)
    if (isInteger) assert.match(range, node.anyOf === undefined ? /^(0 or )?\d+ to \d+$/ : /^\d+ to \d+(, `\w+`)+$/)
    if (node.anyOf !== undefined) {
      for (const [, good] of range.matchAll(/, `(\w+)`/g)) assert.isTrue(takes(path, good), `${path}: ${good}`)
    }
    const [, least = "", most = ""] = /(\d+) to (\d+)/.exec(range) ?? []
    const prefixed = (n: number) => path.endsWith("6") ? `::/${n}` : `0.0.0.0/${n}`
    if (isInteger) {
      for (const good of [Number(least), Number(most), ...(range.startsWith("0 or") ? [0] : [])]) {
        assert.isTrue(takes(path, good), `${path}: ${good}`)
      }
      assert.isFalse(takes(path, Number(least) - 1))
      assert.isFalse(takes(path, Number(most) + 1))
    } else if (range.startsWith("length ")) {
      const base = path.endsWith("6") ? "2001::" : "10.0.0.0"
      assert.isTrue(takes(path, `${base}/${least}`))
      assert.isTrue(takes(path, `${base}/${most}`))
      assert.isFalse(takes(path, `${base}/${Number(most) + 1}`))
      assert.isFalse(takes(path, prefixed(Number(least) - 1)))
    }
  })
})

it("docs/annotations.md has every annotation that is read, and no other", () => {
  const { warnings } = Result.getOrThrow(parseAnnotations({ nonesuch: "x" }))
  const names = (/flock reads (.*)$/.exec(warnings[0] ?? "")?.[1] ?? "").split(", ").toSorted()
  assert.isAbove(names.length, 5)
  const documented = rows("docs/annotations.md").map(([cell]) => word(cell)).filter((name) => name.includes("/"))
  assert.deepStrictEqual(documented.toSorted(), names.map((name) => ANNOTATION_PREFIX + name))
})

describe("README.md", () => {
  const text = read("README.md")

  it("is short", () => assert.isAtMost(text.split(/\s+/).length, 1600))

  it("says first what it is, for whom, and shows it, then how to see it run", () => {
    const [first = ""] = text.split("\n## ")
    const order = [
      "docs/images/overview.svg",
      "**For you if**",
      "**Not for you if**",
      "npm run demo",
      "docs/images/demo.svg"
    ]
    const places = order.map((part) => first.indexOf(part))
    assert.deepStrictEqual(places, places.toSorted((a, b) => a - b))
    assert.isAbove(places[0] ?? -1, 0)
    assert.match(first, /NetworkPolicy is stored, and \*\*nothing\s+enforces it\*\*/)
  })

  it("shows the columns that kubectl prints", () => {
    const columns: ReadonlyArray<{ readonly name: string; readonly priority?: number }> =
      crd.spec.versions[0].additionalPrinterColumns
    const shown = [
      "NAME",
      ...columns.filter(({ priority = 0 }) => priority === 0).map(({ name }) => name.toUpperCase())
    ]
    const [head = ""] = /^ *NAME +READY .*$/m.exec(text) ?? []
    assert.deepStrictEqual(head.trim().split(/ +/), shown)
  })

  it("says of its figures how to get them again", () => {
    const [before = ""] = text.split("<!-- bench -->")
    assert.match(before.slice(before.lastIndexOf("\n## ")), /npm run bench/)
    const names = readdirSync(join(ROOT, "test/bench")).map((file) => file.replace(/\.ts$/, ""))
    for (const [, name = ""] of before.matchAll(/`-- --only (\w+)`, `(\w+)` or `(\w+)`/g)) assert.include(names, name)
  })

  it("waits for nothing without an end, nor does any document", () => {
    for (const file of DOCUMENTS) {
      for (const [, block = ""] of read(file).matchAll(/^ *```(?:sh|ini)\n([\s\S]*?)^ *```/gm)) {
        for (const line of block.split("\n").filter((line) => /\b(until|while) (\[|!)/.test(line))) {
          assert.match(line, /timeout /, file)
        }
        for (const line of block.split("\n").filter((line) => line.includes("kubectl wait"))) {
          assert.include(line, "--timeout", file)
        }
      }
    }
  })
})

describe("docs/images", () => {
  it.each(Object.entries(pictures()))("%s is what scripts/pictures/main.ts makes", (name, svg) => {
    assert.strictEqual(read(`docs/images/${name}`), svg)
  })

  it("the recording is of today's demo", () => {
    const titles = [...read("scripts/demo.ts").matchAll(/title\("([^"]+)"\)/g)].map(([, title = ""]) => title)
    assert.isAbove(titles.length, 5)
    const recording = read("docs/images/demo.json")
    for (const title of titles) assert.include(recording, title)
    assert.notInclude(recording, "LOST")
    assert.include(recording, "none failed")
  })
})

describe("docs/reference.md", () => {
  const sources = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts")).map((file) => read(`src/${file}`))

  it("has every command", () => {
    const commands = [
      "run",
      "version",
      ...[status, why, withdraw, restore, traffic, doctor, installCni].map(({ name }) => name)
    ]
    const documented = rows("docs/reference.md", "Commands").flatMap(([cell = ""]) =>
      cell.match(/[a-z-]+(?=[` ])/g) ?? []
    )
    assert.deepStrictEqual(documented.toSorted(), commands.toSorted())
  })

  it("shows what status prints", () => {
    const sample = renderStatus(STATUS)
    assert.isTrue(read("docs/reference.md").includes(`\`\`\`\n${sample}\n\`\`\``), `it should have:\n${sample}`)
  })

  it("has every metric with its type, and no other", () => {
    const registered = sources.flatMap((text) =>
      [...text.matchAll(/Metric\.(counter|gauge|histogram)\(\s*"([a-z_]+)"/g)].map(([, type, name]) =>
        `${name} ${type}`
      )
    )
    assert.isAbove(registered.length, 10)
    const documented = rows("docs/reference.md", "Metrics").map(([name, type]) => `${word(name)} ${type}`)
    assert.deepStrictEqual(documented.toSorted(), registered.toSorted())
  })

  it("has only messages of the log that an agent writes, with their level", () => {
    const messages = rows("docs/reference.md", "Logs").map(([text, level]) => [word(text), word(level)] as const)
    assert.isAbove(messages.length, 10)
    const levels: Readonly<Record<string, RegExp>> = {
      ERROR: /logError|"Error"/,
      WARN: /logWarning|"Warn"/
    }
    // Of another file, or of a level that depends: test/bgp/metrics.test.ts reads them in an agent's log.
    const elsewhere = ["is not valid", "refused: ", "NetworkUnavailable="]
    for (const [text, level] of messages.filter(([text]) => !elsewhere.includes(text))) {
      // The level stands where the words do, a few lines before or after.
      const found = sources.flatMap((source) => {
        const at = source.indexOf(text)
        return at < 0 ? [] : source.slice(Math.max(0, at - 250), at + 150)
      })
      assert.isTrue(found.some((near) => levels[level]?.test(near)), `${level}: ${text}`)
    }
  })

  it("has every CNI error code and the supported versions", () => {
    const section = read("docs/reference.md").split("\n## CNI error codes\n")[1]?.split("\n## ")[0] ?? ""
    const documented = [...section.matchAll(/^\| (\d+) \|/gm)].map(([, code]) => Number(code))
    assert.deepStrictEqual(documented, Object.values(Code).toSorted((a, b) => a - b))
    assert.include(section, SUPPORTED_VERSIONS.join(", "))
  })

  it("has every check of doctor, and no other", () => {
    const checks = new Set(
      sources.flatMap((text) => [...text.matchAll(/ check: "([a-z0-9-]+)"/g)].map(([, name]) => name))
    )
    assert.isAbove(checks.size, 10)
    const documented = rows("docs/reference.md", "What doctor looks for").map(([name]) => word(name))
    assert.deepStrictEqual(documented.toSorted(), [...checks].toSorted())
  })

  it("has no Event that is never told", () => {
    for (const [reason] of rows("docs/reference.md", "Events")) {
      assert.isTrue(sources.some((text) => text.includes(`"${word(reason)}"`)), word(reason))
    }
  })

  const documented = rows("docs/reference.md", "Flags of `flock-agent run`")
  /** What the flag is if it is not given, in an environment, as JSON. */
  const valueOf = (flag: Flag.Flag<unknown>, env: Record<string, string>) =>
    flag.parse({ flags: {}, arguments: [] }).pipe(
      Effect.map(([, value]) => JSON.stringify(value)),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env })),
      Effect.provide(NodeServices.layer)
    )
  const camel = (flag: string) => flag.slice(2).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())

  it("has every flag of `run`, and no other", () => {
    assert.deepStrictEqual(documented.map(([flag]) => camel(word(flag))), Object.keys(runFlags))
  })

  it.effect.each(Object.entries(runFlags))(
    "says %s's environment variable and default",
    ([name, flag]) =>
      Effect.gen(function*() {
        const [, variable, fallback = ""] = documented.find(([cell]) => camel(word(cell)) === name) ?? []
        const unset = yield* valueOf(flag, {})
        assert.include(yield* valueOf(flag, { [word(variable)]: "true" }), "true")
        if (word(fallback) === "") assert.include(unset, "None")
        else assert.strictEqual(String(JSON.parse(unset)), word(fallback))
      })
  )
})

describe.each(DOCUMENTS)("%s", (file) => {
  const text = read(file)
  const slug = (heading: string) => heading.trim().toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")

  it("links only to files and headings that are there", () => {
    for (const [, target = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [path = "", anchor] = target.split("#")
      const absolute = path === "" ? join(ROOT, file) : join(ROOT, dirname(file), path)
      assert.isTrue(existsSync(absolute), `${target} is not there`)
      if (anchor === undefined) continue
      const headings = [...readFileSync(absolute, "utf8").matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
        slug(heading)
      )
      assert.include(headings, anchor, target)
    }
  })

  it("shows only NodeConfigs that the agent takes", () => {
    for (const [, block = ""] of text.matchAll(/^ *```yaml\n([\s\S]*?)^ *```/gm)) {
      for (const document of parseAllDocuments(block)) {
        const object = document.toJS() as
          | { readonly kind?: string; readonly metadata?: { readonly name: string } }
          | null
        if (object?.kind !== "NodeConfig") continue
        const decoded = decode(object.metadata?.name ?? "", object)
        assert.isTrue(Result.isSuccess(decoded), Result.isFailure(decoded) ? decoded.failure.message : "")
      }
    }
  })
})
