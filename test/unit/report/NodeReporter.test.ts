import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { BirdTest, layerTest as birdTest } from "../../../src/bird/BirdTest.ts"
import { AntiSpoofing } from "../../../src/firewall/AntiSpoofing.ts"
import { Ipam } from "../../../src/ipam/Ipam.ts"
import { KubeApiTest, layerTest as kubeTest } from "../../../src/kube/KubeApiTest.ts"
import { NodeReporter } from "../../../src/report/NodeReporter.ts"
import { layerTest as allocationsTest } from "../../../src/state/AllocationsTest.ts"
import { nodeConfig } from "../fixtures.ts"

const world = NodeReporter.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(
    AntiSpoofing.layerTest(),
    birdTest(),
    Ipam.layer,
    kubeTest(),
    allocationsTest()
  ))
)

/** Lets everything that waits for no clock run. */
const settle = Effect.repeat(Effect.yieldNow, { times: 200 })

const started = Effect.gen(function*() {
  const reporter = yield* NodeReporter
  const kube = yield* KubeApiTest
  yield* kube.setNodeConfig({ current: Option.some(nodeConfig()) })
  const fiber = yield* Effect.forkScoped(reporter.run)
  yield* settle
  return { bird: yield* BirdTest, fiber, kube, reporter }
})

describe("NodeReporter", () => {
  it.effect("reports at once, on change only once, and again every 60 s", () =>
    Effect.gen(function*() {
      const { bird, kube } = yield* started
      const reasons = Effect.map(kube.conditions, (all) => all.map(({ reason }) => reason))
      assert.deepStrictEqual(yield* reasons, ["FlockReady"])
      yield* bird.setStatus({ up: false })
      yield* settle
      assert.deepStrictEqual(yield* reasons, ["FlockReady", "FlockNoRoute"])
      yield* bird.setStatus({ reloads: 7 })
      yield* settle
      assert.deepStrictEqual(yield* reasons, ["FlockReady", "FlockNoRoute"], "nothing that the condition says changed")
      yield* TestClock.adjust("60 seconds")
      yield* settle
      assert.deepStrictEqual(yield* reasons, ["FlockReady", "FlockNoRoute", "FlockNoRoute"])
    }).pipe(Effect.provide(world)))

  it.effect("what the API server did not take is reported again at the next change", () =>
    Effect.gen(function*() {
      const { bird, fiber, kube } = yield* started
      yield* kube.setUnavailable("connection refused")
      yield* bird.setStatus({ up: false })
      yield* settle
      assert.strictEqual((yield* kube.conditions).length, 1)
      yield* kube.setUnavailable(undefined)
      yield* bird.setStatus({ reloads: 7 })
      yield* settle
      assert.strictEqual((yield* kube.conditions).at(-1)?.reason, "FlockNoRoute")
      assert.isUndefined(fiber.pollUnsafe())
    }).pipe(Effect.provide(world)))

  it.effect("no NodeConfig: no ADD can be served; BIRD away: pods that run are cut off", () =>
    Effect.gen(function*() {
      const { bird, kube, reporter } = yield* started
      assert.isUndefined(yield* reporter.notReady)
      yield* bird.setStatus({ up: false })
      assert.isUndefined(yield* reporter.notServing)
      assert.match((yield* reporter.notReady) ?? "", /BIRD does not answer/)
      yield* kube.setNodeConfig({})
      assert.match((yield* reporter.notServing) ?? "", /no NodeConfig/)
    }).pipe(Effect.provide(world)))
})
