import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { AnycastTest, layerTest as anycastTest } from "../../../src/anycast/AnycastTest.ts"
import { Attachments } from "../../../src/attachments/Attachments.ts"
import { BirdTest, layerTest as birdTest } from "../../../src/bird/BirdTest.ts"
import { address } from "../../../src/domain/Ip.ts"
import { AntiSpoofing } from "../../../src/firewall/AntiSpoofing.ts"
import { Ipam } from "../../../src/ipam/Ipam.ts"
import { KubeApiTest, layerTest as kubeTest } from "../../../src/kube/KubeApiTest.ts"
import { layerTest as netlinkTest } from "../../../src/netlink/NetlinkTest.ts"
import { NodeNetwork } from "../../../src/netlink/NodeNetwork.ts"
import { NodeReporter } from "../../../src/report/NodeReporter.ts"
import { layerTest as allocationsTest } from "../../../src/state/AllocationsTest.ts"
import { nodeConfig } from "../fixtures.ts"

const world = NodeReporter.layer.pipe(
  Layer.provideMerge(Attachments.layer),
  Layer.provideMerge(Layer.orDie(NodeNetwork.layer)),
  Layer.provideMerge(Layer.mergeAll(
    AntiSpoofing.layerTest(),
    anycastTest(),
    birdTest(),
    Ipam.layer,
    kubeTest(),
    allocationsTest(),
    netlinkTest()
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
      yield* kube.setNodeConfig({})
      yield* settle
      assert.deepStrictEqual(yield* reasons, ["FlockReady", "FlockCannotServe"])
      yield* bird.setStatus({ reloads: 7 })
      yield* settle
      assert.strictEqual((yield* reasons).length, 2, "nothing that the condition says changed")
      yield* TestClock.adjust("60 seconds")
      yield* settle
      assert.deepStrictEqual(yield* reasons, ["FlockReady", "FlockCannotServe", "FlockCannotServe"])
    }).pipe(Effect.provide(world)))

  it.effect("lists anycast addresses in NodeConfig's status a second after they change, the first hundred", () =>
    Effect.gen(function*() {
      const { kube } = yield* started
      const anycast = yield* AnycastTest
      const held = (n: number, state: "announced" | "withdrawn") => ({
        address: `192.0.2.${String(n).padStart(3, "0")}`,
        state,
        installed: state === "announced",
        exportedTo: [],
        holders: [1, 2].map((pod) => ({
          owner: `c${pod}/eth0`,
          namespace: "shop",
          pod: `web-${pod}`,
          hostIfName: `flock0000000${pod}`,
          kind: "anycast" as const,
          gate: "Ready" as const
        }))
      })
      const latest = Effect.map(kube.statuses, (all) => all.at(-1))
      assert.notProperty(yield* latest, "anycast")
      yield* anycast.setStatus([held(2, "withdrawn"), held(1, "announced")])
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual((yield* latest)?.anycast, [
        { address: "192.0.2.001", state: "announced", pods: ["shop/web-1", "shop/web-2"] },
        { address: "192.0.2.002", state: "withdrawn", pods: ["shop/web-1", "shop/web-2"] }
      ])
      yield* anycast.setStatus(Array.from({ length: 101 }, (_, i) => held(i, "announced")))
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* settle
      const status = yield* latest
      assert.deepStrictEqual([status?.anycast?.length, status?.truncated], [100, true])
    }).pipe(Effect.provide(world)))

  it.effect("says that sessions are lost after 30 s, not of a restart; that they are back, at once", () =>
    Effect.gen(function*() {
      const { bird, kube } = yield* started
      const reasons = Effect.map(kube.conditions, (all) => all.map(({ reason }) => reason))
      yield* bird.setStatus({ up: false })
      yield* settle
      yield* TestClock.adjust("20 seconds")
      yield* bird.setStatus({ up: true })
      yield* settle
      const restart = yield* kube.conditions
      assert.deepStrictEqual([...new Set(restart.map(({ reason }) => reason))], ["FlockReady"], "a restart")
      assert.match(restart[1]?.message ?? "", /for less than 30 s: BIRD does not answer/)

      yield* bird.setStatus({ up: false })
      yield* settle
      yield* TestClock.adjust("29 seconds")
      yield* bird.setStatus({ reloads: 8 })
      yield* settle
      assert.strictEqual((yield* reasons).at(-1), "FlockReady")
      yield* TestClock.adjust("1 seconds")
      yield* settle
      assert.strictEqual((yield* reasons).at(-1), "FlockNoRoute", "whatever else changed meanwhile")
      yield* bird.setStatus({ up: true })
      yield* settle
      assert.strictEqual((yield* reasons).at(-1), "FlockReady")
    }).pipe(Effect.provide(world)))

  it.effect("a full prefix is one Event on the Node each time it becomes full, whatever else changes; the node stays ready", () =>
    Effect.gen(function*() {
      const { bird, kube, reporter } = yield* started
      const ipam = yield* Ipam
      yield* kube.setNodeConfig({ current: Option.some(nodeConfig({ cidr4: "10.42.1.0/30" })) })
      for (const told of [1, 2]) {
        yield* ipam.markInUse("c1/eth0", [address("10.42.1.2")])
        yield* bird.setStatus({ reloads: told * 10 })
        yield* settle
        yield* bird.setStatus({ reloads: told * 10 + 1 })
        yield* settle
        yield* TestClock.adjust("60 seconds")
        const events = yield* kube.events
        assert.strictEqual(events.length, told)
        assert.deepInclude(events.at(-1), { on: { kind: "Node" }, type: "Warning", reason: "AddressesExhausted" })
        assert.match(events.at(-1)?.message ?? "", /no free address is left in 10\.42\.1\.0\/30/)
        assert.strictEqual((yield* kube.conditions).at(-1)?.reason, "FlockReady")
        assert.isUndefined(yield* reporter.notReady)
        assert.isUndefined(yield* reporter.notServing, "or the conflist of a full node would not be written")
        yield* ipam.release("c1/eth0")
        yield* bird.setStatus({ reloads: told * 10 + 2 })
        yield* settle
      }
    }).pipe(Effect.provide(world)))

  it.effect("what the API server did not take is reported again at the next change", () =>
    Effect.gen(function*() {
      const { bird, fiber, kube } = yield* started
      yield* kube.setUnavailable("connection refused")
      yield* kube.setNodeConfig({})
      yield* settle
      assert.strictEqual((yield* kube.conditions).length, 1)
      yield* kube.setUnavailable(undefined)
      yield* bird.setStatus({ reloads: 7 })
      yield* settle
      assert.strictEqual((yield* kube.conditions).at(-1)?.reason, "FlockCannotServe")
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
