/**
 * Plugin and agent of different versions: a roll-out replaces the plugin on disk before the agent that it asks, and packages
 * may do it in any order. What each side may add is what the other skips.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type Request, RequestFromLine } from "../../src/domain/Wire.ts"
import { drain } from "../../src/socket/DelQueue.ts"
import { bin, CONFIG, errorOf, fakeAgent, makePlace, reply, run } from "./harness.ts"

const decode = Schema.decodeUnknownResult(RequestFromLine)

/** What flock 0.1.0's plugin sends: never to be edited, for plugins that send it stay on nodes. */
const FIRST = {
  op: "DEL",
  containerId: "c1",
  netns: "/run/netns/x",
  ifName: "eth0",
  args: "K8S_POD_NAME=a",
  path: "/opt/cni/bin",
  config: CONFIG
} satisfies Request

const NEWER = { ...FIRST, version: 2, deadline: { seconds: 90 } }

describe("an older or newer plugin", () => {
  it("sends what 0.1.0's did, and after that at most more", async () => {
    const { queue, socket } = makePlace()
    assert.strictEqual((await run(bin, { op: "DEL", socket })).code, 0)
    const sent = JSON.parse(readFileSync(join(queue, "c1@eth0.json"), "utf8"))
    assert.deepStrictEqual(Object.keys(sent).slice(0, Object.keys(FIRST).length), Object.keys(FIRST))
    assert.deepInclude(sent, FIRST)
  })

  it.each([["more", NEWER], ["the same", FIRST]])("is understood with %s", (_, request) => {
    assert.deepStrictEqual(Result.getOrThrow(decode(JSON.stringify(request))), FIRST)
  })

  it("leaves DELs that this agent does, with more in them or less", () => {
    const { queue } = makePlace()
    mkdirSync(queue, { recursive: true })
    const { containerId, ifName, op } = FIRST
    writeFileSync(join(queue, "more.json"), JSON.stringify(NEWER))
    writeFileSync(join(queue, "less.json"), JSON.stringify({ op, containerId, ifName }))
    const done: Array<string> = []
    return Effect.runPromise(
      drain(queue, (request) => Effect.sync(() => done.push(request.containerId))).pipe(
        Effect.provide(NodeServices.layer)
      )
    ).then((drained) => {
      assert.deepStrictEqual(drained, { done: 2, kept: 0, unreadable: 0 })
      assert.deepStrictEqual(done, [containerId, containerId])
    })
  })
})

describe("an older or newer agent", () => {
  const answer = async (line: string) => {
    const { socket } = makePlace()
    await using _ = await fakeAgent(socket, reply(line))
    return await run(bin, { op: "ADD", socket })
  }

  it("is passed on whole, whatever else it says", async () => {
    const result = "{\"cniVersion\":\"1.2.0\",\"ips\":[],\"news\":{\"a\":[1]}}"
    assert.deepStrictEqual(await answer(`{"result":${result}}\n`), { code: 0, stdout: `${result}\n` })
    const error = "{\"cniVersion\":\"1.2.0\",\"code\":142,\"msg\":\"m\",\"details\":\"d\",\"hint\":\"h\"}"
    assert.deepStrictEqual(await answer(`{"error":${error}}\n`), { code: 1, stdout: `${error}\n` })
  })

  it("with another frame is an error that kubelet shows and tries again, not a pod without a network", async () => {
    const { code, msg } = errorOf(await answer("{\"outcome\":{\"result\":null}}\n"))
    assert.strictEqual(code, 11)
    assert.match(msg, /neither a result nor an error/)
  })
})
