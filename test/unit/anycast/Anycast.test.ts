import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import { Anycast } from "../../../src/anycast/Anycast.ts"
import * as metrics from "../../../src/anycast/metrics.ts"
import { address } from "../../../src/domain/Ip.ts"
import { allocation, layer, pod, route, Scene, show } from "./fakes.ts"

const V6 = "2001:db8:a::1"
const VIA = [101, "2001:db8:1::1"] as const
const ROUTE = show(route(V6, VIA))

const PEER = {
  address: "2001:db8:ffff::1",
  asn: 65000,
  protocol: "peer1",
  state: "Established",
  since: "",
  lastError: "",
  ipv6: { announced: 1, learned: 0 },
  ipv4: { announced: 1, learned: 0 }
}

/** Lets every fiber run until it waits, without moving the clock. */
const settle = Effect.repeat(Effect.yieldNow, { times: 100 })

const pass = (time: Duration.Input) => Effect.all([settle, TestClock.adjust(time), settle], { discard: true })

/** Runs the service in a scene; `before` is the state it starts in. */
const scenario = (
  before: (scene: Scene) => Effect.Effect<void>,
  body: (scene: Scene, anycast: Anycast["Service"]) => Effect.Effect<void>
) =>
  Effect.gen(function*() {
    const scene = yield* Scene.make
    yield* before(scene)
    const anycast = yield* Anycast
    yield* Effect.forkChild(anycast.run)
    yield* settle
    yield* body(scene, anycast)
  }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map()))

const oneReady = (scene: Scene) => Effect.andThen(scene.commit(allocation(1, { anycast: [V6] })), scene.setPods(pod(1)))

describe("Anycast", () => {
  it.effect("announces what is Ready at start and withdraws what is not", () =>
    scenario(
      (scene) => {
        const old = route("2001:db8:a::2", [102, "2001:db8:1::2"])
        scene.kernel.putRoute(old)
        return Effect.andThen(
          scene.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: ["2001:db8:a::2"] })),
          scene.setPods(pod(1), pod(2, { ready: false }))
        )
      },
      (scene) =>
        Effect.sync(() => {
          assert.deepStrictEqual(scene.installed(), [ROUTE])
          assert.isTrue(scene.calls[0]?.[0]?.startsWith("delete "), "the withdrawal comes first")
        })
    ))

  it.effect("follows Ready without reading the kernel's table and without a reload", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        const [dumps, reloads] = [scene.kernel.dumps, yield* scene.bird.reloadRequests]
        for (let i = 0; i < 100; i++) {
          yield* scene.setPods(pod(1, { ready: i % 2 === 1 }))
          yield* settle
          assert.deepStrictEqual(scene.installed(), i % 2 === 1 ? [ROUTE] : [])
        }
        assert.deepStrictEqual([scene.kernel.dumps, yield* scene.bird.reloadRequests], [dumps, reloads])
        assert.deepStrictEqual(yield* scene.exportSets, [[V6]])
      })))

  it.effect("withdraws at deletionTimestamp and when the pod is gone", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        yield* scene.setPods(pod(1, { deleting: true }))
        yield* settle
        assert.deepStrictEqual(scene.installed(), [])
        yield* scene.setPods(pod(1))
        yield* settle
        yield* scene.removePod(pod(1))
        yield* settle
        assert.deepStrictEqual(scene.installed(), [])
      })))

  it.effect("does not announce the old allocation for a new pod of the same name", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        yield* scene.setPods(pod(1, { uid: "uid-new" }))
        yield* settle
        assert.deepStrictEqual(scene.installed(), [])
      })))

  it.effect("gives BIRD the export set at ADD, before the pod is Ready, and takes it back at DEL", () =>
    scenario(() => Effect.void, (scene) =>
      Effect.gen(function*() {
        const a = allocation(1, { anycast: [V6] })
        yield* scene.setPods(pod(1, { ready: false }))
        yield* scene.commit(a)
        yield* settle
        assert.deepStrictEqual([(yield* scene.exportSets).at(-1), scene.installed()], [[V6], []])
        yield* scene.setPods(pod(1))
        yield* settle
        assert.deepStrictEqual(scene.installed(), [ROUTE])
        const reloads = yield* scene.bird.reloadRequests
        yield* scene.commit(allocation(2))
        yield* settle
        assert.strictEqual(
          yield* scene.bird.reloadRequests,
          reloads,
          "an allocation without announced addresses changes nothing"
        )
        yield* scene.remove(a)
        yield* settle
        assert.deepStrictEqual([(yield* scene.exportSets).at(-1), scene.installed()], [[], []])
      })))

  it.effect("handles 200 pods that flip in the same instant as one batch", () =>
    scenario((scene) => {
      const ns = Array.from({ length: 200 }, (_, i) => i + 1)
      return Effect.andThen(
        scene.commit(...ns.map((n) => allocation(n, { anycast: [`2001:db8:a::${n.toString(16)}`] }))),
        scene.setPods(...ns.map((n) => pod(n)))
      )
    }, (scene) =>
      Effect.gen(function*() {
        assert.strictEqual(scene.installed().length, 200)
        const batches = scene.calls.length
        yield* scene.setPods(...Array.from({ length: 200 }, (_, i) => pod(i + 1, { ready: false })))
        yield* settle
        assert.strictEqual(scene.installed().length, 0)
        assert.strictEqual(scene.calls.length - batches, 1)
      })))

  it.effect("handles flips that arrive during an apply right after it; the latest state wins", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        const flips = [true, false, true, false, true]
        scene.during = Effect.suspend(() => {
          scene.during = Effect.void
          return Effect.forEach(flips, (ready) => scene.setPods(pod(1, { ready })), { discard: true })
        })
        const before = scene.calls.length
        yield* scene.setPods(pod(1, { ready: false }))
        yield* settle
        assert.deepStrictEqual(scene.installed(), [ROUTE])
        assert.deepStrictEqual(scene.calls.slice(before), [[`delete ${ROUTE}`], [`put ${ROUTE}`]])
      })))

  it.effect("heals a route that someone removed, at once", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        scene.kernel.routes.clear()
        yield* scene.notify({ _tag: "RouteRemoved", route: route(V6, VIA) })
        yield* settle
        assert.deepStrictEqual(scene.installed(), [ROUTE])
      })))

  it.effect("does not put back what it removed itself", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        yield* scene.setPods(pod(1, { ready: false }))
        yield* settle
        yield* scene.notify({ _tag: "RouteRemoved", route: route(V6, VIA) })
        yield* settle
        assert.deepStrictEqual(scene.installed(), [])
      })))

  it.effect("heals stray edits that nobody told of within 2 s", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        scene.kernel.routes.clear()
        const stray = route("2001:db8:a::bad", [9])
        scene.kernel.putRoute(stray)
        yield* pass("2 seconds")
        assert.deepStrictEqual(scene.installed(), [ROUTE])
      })))

  it.effect("looks at everything after an overrun", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        scene.kernel.routes.clear()
        yield* scene.notify({ _tag: "Overrun" })
        yield* settle
        assert.deepStrictEqual(scene.installed(), [ROUTE])
      })))

  it.effect("follows a link that came back with another index", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        const { hostIfName } = allocation(1)
        scene.kernel.routes.clear()
        scene.kernel.addLink(hostIfName, 777)
        yield* scene.notify({ _tag: "LinkRemoved", ifName: hostIfName, ifIndex: 101 })
        yield* settle
        assert.deepStrictEqual(scene.installed(), [show(route(V6, [777, "2001:db8:1::1"]))])
      })))

  it.effect("one of two pods behind one address leaves: one replacement, never a deletion", () =>
    scenario((scene) =>
      Effect.andThen(
        scene.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: [V6] })),
        scene.setPods(pod(1), pod(2))
      ), (scene) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(scene.installed(), [show(route(V6, VIA, [102, "2001:db8:1::2"]))])
        const before = scene.calls.length
        yield* scene.setPods(pod(2, { ready: false }))
        yield* settle
        assert.deepStrictEqual(scene.calls.slice(before), [[`put ${ROUTE}`]])
      })))

  it.effect("a batch that fails is tried again after 100 ms, then after 200", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        scene.failNext.push("ENOBUFS", "ENOBUFS")
        yield* scene.setPods(pod(1, { ready: false }))
        yield* settle
        assert.deepStrictEqual(scene.installed(), [ROUTE])
        yield* pass("100 millis")
        assert.deepStrictEqual(scene.installed(), [ROUTE])
        yield* pass("200 millis")
        assert.deepStrictEqual(scene.installed(), [])
      })))

  it.effect("one refused route holds up no other", () =>
    scenario((scene) => {
      scene.kernel.refused.set(`${V6}/128`, "EINVAL")
      return Effect.andThen(
        scene.commit(allocation(1, { anycast: [V6, "192.0.2.1"] })),
        scene.setPods(pod(1))
      )
    }, (scene, anycast) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(scene.installed(), [show(route("192.0.2.1", [101, "10.42.1.2"]))])
        const states = (yield* anycast.status).map(({ address, state }) => [address, state])
        assert.sameDeepMembers(states, [[V6, "pending"], ["192.0.2.1", "installed"]])
        scene.kernel.refused.clear()
        yield* pass("100 millis")
        assert.strictEqual(scene.installed().length, 2)
      })))

  it.effect("restart while the API is away: keeps announcing until the cache is complete", () =>
    scenario((scene) => {
      scene.kernel.putRoute(route(V6, VIA))
      return Effect.andThen(
        scene.kube.setSynced({ podsListed: false }),
        scene.commit(allocation(1, { anycast: [V6] }))
      )
    }, (scene) =>
      Effect.gen(function*() {
        assert.deepStrictEqual([scene.installed(), scene.calls], [[ROUTE], []])
        yield* scene.kube.setSynced({ podsListed: true })
        yield* pass("2 seconds")
        assert.deepStrictEqual(scene.installed(), [])
      })))

  it.effect("says who holds what, and why it is not announced", () =>
    scenario((scene) =>
      Effect.andThen(
        scene.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: [V6] })),
        scene.setPods(pod(1), pod(2, { deleting: true }))
      ), (_, anycast) =>
      Effect.gen(function*() {
        const [only] = yield* anycast.status
        assert.strictEqual(only?.state, "installed")
        assert.deepStrictEqual(only?.holders.map(({ gate, owner, pod }) => [owner, pod, gate]), [
          ["container1/eth0", "web-1", "Ready"],
          ["container2/eth0", "web-2", "Deleting"]
        ])
      })))
})

describe("Anycast after a withdrawal", () => {
  it.effect("late packets reach the pod for half a second, and no longer", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(scene.stillReached(), [ROUTE])
        yield* scene.setPods(pod(1, { ready: false }))
        yield* settle
        assert.deepStrictEqual([scene.installed(), scene.stillReached()], [[], [ROUTE]])
        yield* pass("499 millis")
        assert.deepStrictEqual(scene.stillReached(), [ROUTE])
        yield* pass("1 millis")
        assert.deepStrictEqual(scene.stillReached(), [])
      })))

  it.effect("each of two withdrawals has its own half second", () =>
    scenario((scene) =>
      Effect.andThen(
        scene.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: ["192.0.2.1"] })),
        scene.setPods(pod(1), pod(2))
      ), (scene) =>
      Effect.gen(function*() {
        yield* scene.setPods(pod(1, { ready: false }))
        yield* pass("300 millis")
        yield* scene.setPods(pod(2, { ready: false }))
        yield* pass("200 millis")
        assert.deepStrictEqual(scene.stillReached(), [show(route("192.0.2.1", [102, "10.42.1.3"]))])
        yield* pass("1 second")
        assert.deepStrictEqual(scene.stillReached(), [])
      })))

  it.effect("a pod that is Ready again keeps its route", () =>
    scenario(oneReady, (scene) =>
      Effect.gen(function*() {
        yield* scene.setPods(pod(1, { ready: false }))
        yield* pass("300 millis")
        yield* scene.setPods(pod(1))
        yield* pass("1 second")
        assert.deepStrictEqual([scene.installed(), scene.stillReached()], [[ROUTE], [ROUTE]])
      })))

  it.effect("what a killed agent left behind goes", () =>
    scenario((scene) => {
      scene.kernel.putRoute({ ...route(V6, VIA), protocol: 202 })
      return Effect.void
    }, (scene) =>
      Effect.gen(function*() {
        yield* pass("500 millis")
        assert.deepStrictEqual(scene.stillReached(), [])
      })))

  it.effect("a chosen address needs none: it is the pod's own", () =>
    scenario(
      (scene) => Effect.andThen(scene.commit(allocation(1, { chosen: [V6], ipv6: V6 })), scene.setPods(pod(1))),
      (scene) =>
        Effect.sync(() => {
          assert.deepStrictEqual([scene.installed(), scene.stillReached()], [[show(route(V6, [101]))], []])
        })
    ))
})

describe("Anycast metrics", () => {
  const oneReadyAndExported = (scene: Scene) =>
    Effect.all([
      scene.bird.setStatus({ peers: [PEER] }),
      scene.bird.setExported(address(V6), [PEER.protocol]),
      oneReady(scene)
    ], { discard: true })

  it.effect("count and time transitions, the export by sampling", () =>
    scenario(oneReadyAndExported, (scene) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* Metric.value(metrics.installed)).value, 1)
        yield* scene.setPods(pod(1, { ready: false }))
        yield* settle
        assert.strictEqual((yield* Metric.value(metrics.installed)).value, 0)
        assert.strictEqual((yield* Metric.value(metrics.transitionsTo.installed)).count, 1)
        assert.strictEqual((yield* Metric.value(metrics.transitionsTo.removed)).count, 1)
        assert.strictEqual((yield* Metric.value(metrics.kernelSeconds)).count, 1)
        assert.strictEqual((yield* Metric.value(metrics.exportSeconds)).count, 0)
        yield* pass("3 millis")
        yield* scene.bird.setExported(address(V6), [])
        yield* pass("4 millis")
        const exported = yield* Metric.value(metrics.exportSeconds)
        assert.strictEqual(exported.count, 1)
        assert.closeTo(exported.max, 0.007, 1e-9)
      })))

  it.effect("a sample is given up when BIRD does not follow, and never asks for ever", () =>
    scenario(oneReadyAndExported, (scene) =>
      Effect.gen(function*() {
        yield* scene.setPods(pod(1, { ready: false }))
        yield* pass("1 minute")
        const questions = yield* scene.bird.exportQuestions
        assert.isAtMost(questions, 10)
        yield* pass("1 minute")
        assert.strictEqual(yield* scene.bird.exportQuestions, questions)
        yield* scene.setPods(pod(1))
        yield* settle
        assert.strictEqual((yield* Metric.value(metrics.exportSeconds)).count, 1)
      })))
})
