import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { encodeError, encodeResult, type Request } from "../../src/domain/Wire.ts"
import { bin, errorOf, fakeAgent, makePlace, reply, run } from "./harness.ts"

const RUNS = { numRuns: 150 }

/** First and last of each length, and next to them: too long, surrogates, beyond U+10FFFF, cut off (RFC 3629). */
const EDGES = ["c080", "c1bf", "c280", "dfbf", "e09fbf", "e0a080", "ed9fbf", "eda080", "edbfbf", "ee8080", "efbfbf"]
  .concat(["f08fbfbf", "f0908080", "f48fbfbf", "f4908080", "f5808080", "ff", "80", "e282", "f09f98", "efbbbf"])
  .map((hex) => Buffer.from(hex, "hex"))

/** Random bytes, most of them near UTF-8, with all that JSON must escape. */
const bytes = (options: { readonly nul: boolean }) =>
  fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ unit: "binary", maxLength: 100 }).map((text) => new TextEncoder().encode(text)),
    fc.array(fc.constantFrom(...EDGES, ...["a", "\"", "\\", "\n", "{"].map((text) => Buffer.from(text))))
      .map((parts) => new Uint8Array(Buffer.concat(parts)))
  ).map((all) => options.nul ? all : all.filter((byte) => byte !== 0))

/** The text, or undefined if it is not UTF-8 (or holds a code point that is no scalar value). */
const textOf = (all: Uint8Array): string | undefined => {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(all)
  } catch {
    return undefined
  }
}

const octal = (all: Uint8Array) => Array.from(all, (byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("")

/** A shell command that sets a variable to any bytes but zero; the `x` saves trailing newlines. */
const setBytes = (name: string, all: Uint8Array) => `${name}=$(printf '${octal(all)}x'); export ${name}="\${${name}%x}"`

const FIELDS = [
  ["CNI_CONTAINERID", "containerId"],
  ["CNI_NETNS", "netns"],
  ["CNI_IFNAME", "ifName"],
  ["CNI_ARGS", "args"],
  ["CNI_PATH", "path"]
] as const

describe("for any bytes", () => {
  it("in stdin and environment, the agent gets one JSON line that says the same", async () => {
    const { socket } = makePlace()
    await using agent = await fakeAgent(socket, reply(encodeResult(null)))
    const env = fc.tuple(...FIELDS.map(() => bytes({ nul: false })))
    const stdin = bytes({ nul: true }).filter((all) => all.length > 0)
    await fc.assert(
      fc.asyncProperty(env, stdin, async (values, config) => {
        agent.lines.length = 0
        const script = FIELDS.map(([name], i) => setBytes(name, values[i] ?? new Uint8Array())).join("; ")
        const via = ["sh", "-c", `${script}; exec "$0"`]
        assert.deepStrictEqual(await run(bin, { op: "ADD", socket, stdin: config, via }), { code: 0, stdout: "" })
        assert.lengthOf(agent.lines, 1)
        const [line = ""] = agent.lines
        assert.strictEqual(line.indexOf("\n"), line.length - 1)
        const request: Request = JSON.parse(line)
        const all = [
          ...FIELDS.map(([, key], i) => [request[key], values[i]] as const),
          [request.config, config] as const
        ]
        for (const [got, sent = new Uint8Array()] of all) {
          const text = textOf(sent)
          if (text === undefined) assert.include(got, "\ufffd")
          else assert.strictEqual(got, text)
        }
      }),
      RUNS
    )
  })

  it("of an answer, the plugin prints the agent's object or one error of its own", async () => {
    const { socket } = makePlace()
    let answer: Uint8Array = new Uint8Array()
    await using _ = await fakeAgent(socket, (peer) => {
      peer.end(answer)
    })
    await fc.assert(
      fc.asyncProperty(bytes({ nul: true }), async (all) => {
        answer = all
        assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket })).code, 11)
      }),
      RUNS
    )
    const lines = fc.object({ maxDepth: 3 }).chain((value) =>
      fc.constantFrom(encodeResult(value), encodeError({ cniVersion: "1.0.0", code: 7, msg: JSON.stringify(value) }))
    )
    await fc.assert(
      fc.asyncProperty(lines, fc.nat(), async (line, at) => {
        const whole = Buffer.from(line)
        const { error, result } = JSON.parse(line)
        answer = whole
        assert.deepStrictEqual(await run(bin, { op: "ADD", socket }), {
          code: error === undefined ? 0 : 1,
          stdout: `${JSON.stringify(result ?? error)}\n`
        })
        answer = whole.subarray(0, at % whole.length)
        assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket })).code, 11)
        answer = Buffer.concat([answer, Buffer.from("\n")])
        if (at % whole.length < whole.length - 1) {
          assert.strictEqual(errorOf(await run(bin, { op: "ADD", socket })).code, 11)
        }
      }),
      RUNS
    )
  })

  it("of a configuration, errors carry its own cniVersion or else 1.1.0", async () => {
    const { socket } = makePlace()
    const versions = fc.oneof(fc.constantFrom("0.3.1", "1.0.0", "1.1.0"), fc.string(), fc.integer(), fc.constant(null))
    const configs = fc.record({
      a: fc.object({ maxDepth: 2 }),
      cniVersion: versions,
      prevResult: fc.record({ cniVersion: versions }),
      b: fc.string()
    }, { requiredKeys: [] })
    await fc.assert(
      fc.asyncProperty(configs, fc.constantFrom(0, 2), async (config, indent) => {
        const { cniVersion } = config
        const usable = typeof cniVersion === "string" && /^[0-9.]{1,15}$/.test(cniVersion)
        const outcome = await run(bin, { op: "CHECK", socket, stdin: JSON.stringify(config, null, indent) })
        assert.strictEqual(errorOf(outcome).cniVersion, usable ? cniVersion : "1.1.0")
      }),
      RUNS
    )
  })
})
