/** What plugin and agent must agree on is written in C and in TypeScript: here it is compared. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Result } from "effect"
import * as fc from "fast-check"
import { readFileSync } from "node:fs"
import { mkdir, readdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { DEFAULT_SOCKET } from "../../src/cli/flags.ts"
import {
  Code,
  MAX_CONTAINER_ID,
  MAX_IFNAME,
  NEWEST,
  requireAttachment,
  SUPPORTED_VERSIONS,
  VERBS
} from "../../src/cni/spec.ts"
import { aliasOf } from "../../src/domain/Allocation.ts"
import { MAX_LINE } from "../../src/domain/Wire.ts"
import { directoryOf, drain, MAX_INTENT, readIntents } from "../../src/socket/DelQueue.ts"
import { Allocations } from "../../src/state/Allocations.ts"
import { bin, errorOf, makePlace, run, SOURCES } from "./harness.ts"

const source = (file: string): string => readFileSync(join(SOURCES, file), "utf8")

/** The one match of a pattern's first group. */
const one = (file: string, pattern: RegExp): string => {
  const found = [...source(file).matchAll(new RegExp(pattern, "g"))]
  assert.lengthOf(found, 1, `${pattern} in ${file}`)
  return found[0]?.[1] ?? ""
}

const product = (text: string): number => text.split("*").map(Number).reduce((a, b) => a * b)

const NAME_MAX = 255

describe("limits", () => {
  it("of a line, of a queued DEL and of names are the same", () => {
    assert.strictEqual(product(one("text.h", /MAX_LINE = ([\d *]+)/)), MAX_LINE)
    assert.strictEqual(Number(one("queue.h", /define MAX_INTENT_KIB (\d+)/)) * 1024, MAX_INTENT)
    assert.strictEqual(Number(one("queue.h", /define MAX_CONTAINER_ID (\d+)/)), MAX_CONTAINER_ID)
    assert.strictEqual(Number(one("queue.h", /define MAX_IFNAME (\d+)/)), MAX_IFNAME)
  })

  const [containerId, ifName] = ["c".repeat(MAX_CONTAINER_ID), "i".repeat(MAX_IFNAME)]

  it("let the longest names be a link's alias, whatever the pod is called", () => {
    const pod = { namespace: "n".repeat(63), name: "p".repeat(253), uid: "" }
    assert.isAtMost(Buffer.byteLength(aliasOf({ pod, containerId, ifName })), 255)
  })

  it("let the longest names be files, set aside as well", () =>
    Effect.runPromise(
      Effect.gen(function*() {
        const { dir: place, queue } = makePlace()
        const name = `${containerId}@${ifName}.json`
        assert.isAtMost(`${name}.unreadable`.length, NAME_MAX)
        for (const folder of [place, queue]) {
          yield* Effect.promise(() => mkdir(folder, { recursive: true }))
          yield* Effect.promise(() => writeFile(join(folder, name), "{"))
        }
        const context = yield* Layer.build(Allocations.layer({ directory: place, bootId: "boot" }))
        assert.strictEqual((yield* Allocations.pipe(Effect.provideContext(context))).unreadable, 1)
        for (let times = 1; times <= 3; times++) {
          assert.strictEqual((yield* readIntents(queue)).unreadable, times)
          yield* Effect.promise(() => writeFile(join(queue, name), "{"))
        }
      }).pipe(Effect.scoped, Effect.provide([NodeServices.layer, Logger.layer([])]))
    ))
})

describe("the specification's words", () => {
  it("versions: the plugin answers for an agent that is away as the agent would", async () => {
    const { socket } = makePlace()
    const { code, stdout } = await run(bin, { op: "VERSION", socket, stdin: "" })
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(JSON.parse(stdout), { cniVersion: NEWEST, supportedVersions: [...SUPPORTED_VERSIONS] })
  })

  it("error codes: the plugin's are the agent's under shorter names", () => {
    const codes = Object.fromEntries(
      one("flock.c", /enum code \{ ([^}]+) \}/).split(", ").map((entry) => entry.split(" = "))
        .map(([name, value]) => [name, Number(value)])
    )
    assert.deepStrictEqual(codes, {
      BAD_ENVIRONMENT: Code.INVALID_ENVIRONMENT,
      IO_FAILURE: Code.IO_FAILURE,
      BAD_CONTENT: Code.DECODE_FAILURE,
      BAD_CONFIG: Code.INVALID_NETWORK_CONFIG,
      TRY_AGAIN: Code.TRY_AGAIN_LATER,
      UNAVAILABLE: Code.NOT_AVAILABLE
    })
  })

  it("verbs: the plugin passes on those that the agent knows, and no other", async () => {
    const { socket } = makePlace()
    for (const op of VERBS) {
      const { stdout } = await run(bin, { op, socket })
      assert.notInclude(stdout, "CNI_COMMAND must be", op)
    }
    const { msg } = errorOf(await run(bin, { op: "FROB", socket }))
    assert.deepStrictEqual(msg.match(/[A-Z]{2,}(?=,| or |, not)/g)?.filter((word) => word !== "CNI_COMMAND"), [
      ...VERBS
    ])
  })
})

describe("places", () => {
  it("the socket is looked for where the agent listens unless told otherwise", () => {
    assert.strictEqual(one("flock.c", /define DEFAULT_SOCKET "([^"]+)"/), DEFAULT_SOCKET)
  })

  it("a DEL is left where the agent looks for it", async () => {
    const { queue, socket } = makePlace()
    await run(bin, { op: "DEL", socket })
    assert.strictEqual(directoryOf(socket), queue)
    assert.deepStrictEqual((await readdir(directoryOf(socket))).toSorted(), ["c1@eth0.json", "lock"])
  })
})

describe("names of a container and of its interface", () => {
  /** Whether a DEL is taken: by the plugin without an agent, by the agent that reads the queue, by the agent itself. */
  const verdicts = async (containerId: string, ifName: string) => {
    const { socket } = makePlace()
    const { code } = await run(bin, { op: "DEL", socket, env: { CNI_CONTAINERID: containerId, CNI_IFNAME: ifName } })
    const drained = await Effect.runPromise(
      (code === 0 ? drain(directoryOf(socket), () => Effect.void) : Effect.succeed({ done: 0 })).pipe(
        Effect.provide(NodeServices.layer)
      )
    )
    const agent = Result.isSuccess(requireAttachment({ containerId, ifName }))
    return { plugin: code === 0, queue: drained.done === 1, agent }
  }

  it.each([
    ["c".repeat(MAX_CONTAINER_ID), "i".repeat(MAX_IFNAME), true],
    ["c".repeat(MAX_CONTAINER_ID + 1), "eth0", false],
    ["c", "i".repeat(MAX_IFNAME + 1), false],
    ["c", "ü".repeat(MAX_IFNAME), false],
    ["c", "ü", false],
    ["c", "a b", false],
    ["c", "a\u00a0b", false],
    ["c", "a\u0001b", false],
    ["c", "a\u007f", false],
    ["c", ".", false],
    ["c", "..", false],
    ["c", "...", true],
    ["c", "a:0", false],
    ["c", "\"\\@.json{}%d", true],
    ["0", "0", true],
    ["_c", "eth0", false],
    ["c\n", "eth0", false],
    ["é", "eth0", false]
  ])("%j with %j: %s", async (containerId, ifName, expected) => {
    assert.deepStrictEqual(await verdicts(containerId, ifName), { plugin: expected, queue: expected, agent: expected })
  })

  it("of any kind are judged alike", () => {
    const alphabet = fc.constantFrom(..."a0Z-_.@/:% \t\n\u0001\u007f\u00a0ü\u3000")
    const id = fc.oneof(
      fc.string({ unit: alphabet, maxLength: 8 }),
      fc.integer({ min: MAX_CONTAINER_ID - 1, max: MAX_CONTAINER_ID + 1 }).map((n) => "c".repeat(n))
    )
    const name = fc.oneof(
      fc.string({ unit: alphabet, maxLength: 8 }),
      fc.integer({ min: MAX_IFNAME - 1, max: MAX_IFNAME + 1 }).map((n) => "i".repeat(n))
    )
    const property = fc.asyncProperty(id, name, async (containerId, ifName) => {
      const { agent, plugin, queue } = await verdicts(containerId, ifName)
      assert.deepStrictEqual({ plugin, queue }, { plugin: agent, queue: agent }, JSON.stringify([containerId, ifName]))
    })
    return fc.assert(property, { numRuns: 300 })
  }, 60_000)
})
