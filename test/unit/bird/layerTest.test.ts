import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { Bird } from "../../../src/bird/Bird.ts"
import { BirdTest, layerTest } from "../../../src/bird/BirdTest.ts"
import { address, hostCidr } from "../../../src/domain/Ip.ts"

const V6 = address("2001:db8:a::1")

const PEER = {
  address: "2001:db8:ffff::1",
  asn: 65000,
  protocol: "peer_1",
  state: "Established",
  since: "",
  lastError: "",
  ipv6: { announced: 1, learned: 0 },
  ipv4: { announced: 0, learned: 0 }
}

describe("Bird.layerTest", () => {
  it.effect("keeps what it was given and says what it was told", () =>
    Effect.gen(function*() {
      const bird = yield* Bird
      const test = yield* BirdTest
      yield* bird.setExportSet([V6])
      yield* bird.setExportSet([])
      yield* bird.requestReload
      assert.deepStrictEqual(yield* test.exportSets, [[V6], []])
      assert.strictEqual(yield* test.reloadRequests, 1)
      assert.isFalse(yield* bird.exportedTo(hostCidr(V6), "peer_1"))
      yield* test.setExported(address("2001:db8:a:0::1"), ["peer_1"])
      assert.isTrue(yield* bird.exportedTo(hostCidr(V6), "peer_1"))
      assert.isFalse(yield* bird.exportedTo(hostCidr(V6), "peer_2"))
      assert.strictEqual(yield* test.exportQuestions, 3)
      assert.strictEqual((yield* bird.status).version, "2.1")
    }).pipe(Effect.provide(layerTest({ version: "2.1" }))))

  it.effect("emits changes of the status, and no repetition", () =>
    Effect.gen(function*() {
      const bird = yield* Bird
      const test = yield* BirdTest
      const seen = yield* bird.statusChanges.pipe(Stream.take(3), Stream.runCollect, Effect.forkChild)
      for (const change of [{}, { peers: [PEER] }, {}, { up: false }]) {
        yield* Effect.yieldNow
        yield* test.setStatus(change)
      }
      const states = (yield* Fiber.join(seen)).map(({ peers, up }) => [up, peers.length])
      assert.deepStrictEqual(states, [[true, 0], [true, 1], [false, 1]])
    }).pipe(Effect.provide(layerTest())))

  it.effect("withdraws and restores, unless BIRD is down", () =>
    Effect.gen(function*() {
      const bird = yield* Bird
      const test = yield* BirdTest
      assert.deepStrictEqual(yield* bird.withdrawAll(false), ["peer_1: disabled"])
      assert.isTrue((yield* bird.lastStatus).drained)
      assert.deepStrictEqual(yield* bird.restoreAll, ["peer_1: enabled"])
      assert.isFalse((yield* bird.lastStatus).drained)
      yield* test.setStatus({ up: false })
      assert.strictEqual((yield* Effect.flip(bird.withdrawAll(true)))._tag, "BirdUnavailable")
    }).pipe(Effect.provide(layerTest({ peers: [PEER] }))))
})
