import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, Metric } from "effect"
import { TestClock } from "effect/testing"
import { Anycast } from "../../../src/anycast/Anycast.ts"
import * as metrics from "../../../src/anycast/metrics.ts"
import { formatCidr } from "../../../src/domain/Ip.ts"
import { allocation, idleBird, pod, route, show, World } from "./fakes.ts"

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

/** Runs the service against a world; `before` is the state it starts in. */
const scenario = (
  before: (world: World) => Effect.Effect<void>,
  body: (world: World, anycast: Anycast["Service"]) => Effect.Effect<void>
) =>
  Effect.gen(function*() {
    const world = yield* World.make
    yield* before(world)
    yield* Effect.gen(function*() {
      const anycast = yield* Anycast
      yield* Effect.forkChild(anycast.run)
      yield* settle
      yield* body(world, anycast)
    }).pipe(Effect.provide(world.layer), Effect.provideService(Metric.MetricRegistry, new Map()))
  })

const oneReady = (world: World) => Effect.andThen(world.commit(allocation(1, { anycast: [V6] })), world.setPods(pod(1)))

describe("Anycast", () => {
  it.effect("announces what is Ready at start and withdraws what is not", () =>
    scenario(
      (world) => {
        const old = route("2001:db8:a::2", [102, "2001:db8:1::2"])
        world.kernel.set(formatCidr(old.destination), old)
        return Effect.andThen(
          world.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: ["2001:db8:a::2"] })),
          world.setPods(pod(1), pod(2, { ready: false }))
        )
      },
      (world) =>
        Effect.sync(() => {
          assert.deepStrictEqual(world.installed(), [ROUTE])
          assert.isTrue(world.calls[0]?.[0]?.startsWith("delete "), "the withdrawal comes first")
        })
    ))

  it.effect("follows Ready without reading the kernel's table and without a reload", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        const { dumps, reloads } = world
        for (let i = 0; i < 100; i++) {
          yield* world.setPods(pod(1, { ready: i % 2 === 1 }))
          yield* settle
          assert.deepStrictEqual(world.installed(), i % 2 === 1 ? [ROUTE] : [])
        }
        assert.deepStrictEqual([world.dumps, world.reloads, world.exportSets], [dumps, reloads, [[V6]]])
      })))

  it.effect("withdraws at deletionTimestamp and when the pod is gone", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        yield* world.setPods(pod(1, { deleting: true }))
        yield* settle
        assert.deepStrictEqual(world.installed(), [])
        yield* world.setPods(pod(1))
        yield* settle
        yield* world.removePod(pod(1))
        yield* settle
        assert.deepStrictEqual(world.installed(), [])
      })))

  it.effect("does not announce the old allocation for a new pod of the same name", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        yield* world.setPods(pod(1, { uid: "uid-new" }))
        yield* settle
        assert.deepStrictEqual(world.installed(), [])
      })))

  it.effect("gives BIRD the export set at ADD, before the pod is Ready, and takes it back at DEL", () =>
    scenario(() => Effect.void, (world) =>
      Effect.gen(function*() {
        const a = allocation(1, { anycast: [V6] })
        yield* world.setPods(pod(1, { ready: false }))
        yield* world.commit(a)
        yield* settle
        assert.deepStrictEqual([world.exportSets.at(-1), world.installed()], [[V6], []])
        yield* world.setPods(pod(1))
        yield* settle
        assert.deepStrictEqual(world.installed(), [ROUTE])
        const reloads = world.reloads
        yield* world.commit(allocation(2))
        yield* settle
        assert.strictEqual(world.reloads, reloads, "an allocation without announced addresses changes nothing")
        yield* world.remove(a)
        yield* settle
        assert.deepStrictEqual([world.exportSets.at(-1), world.installed()], [[], []])
      })))

  it.effect("handles 200 pods that flip in the same instant as one batch", () =>
    scenario((world) => {
      const ns = Array.from({ length: 200 }, (_, i) => i + 1)
      return Effect.andThen(
        world.commit(...ns.map((n) => allocation(n, { anycast: [`2001:db8:a::${n.toString(16)}`] }))),
        world.setPods(...ns.map((n) => pod(n)))
      )
    }, (world) =>
      Effect.gen(function*() {
        assert.strictEqual(world.installed().length, 200)
        const batches = world.calls.length
        yield* world.setPods(...Array.from({ length: 200 }, (_, i) => pod(i + 1, { ready: false })))
        yield* settle
        assert.strictEqual(world.installed().length, 0)
        assert.strictEqual(world.calls.length - batches, 1)
      })))

  it.effect("handles flips that arrive during an apply right after it; the latest state wins", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        const flips = [true, false, true, false, true]
        world.during = Effect.suspend(() => {
          world.during = Effect.void
          return Effect.forEach(flips, (ready) => world.setPods(pod(1, { ready })), { discard: true })
        })
        const before = world.calls.length
        yield* world.setPods(pod(1, { ready: false }))
        yield* settle
        assert.deepStrictEqual(world.installed(), [ROUTE])
        assert.deepStrictEqual(world.calls.slice(before), [[`delete ${ROUTE}`], [`put ${ROUTE}`]])
      })))

  it.effect("heals a route that someone removed, at once", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        world.kernel.clear()
        yield* world.notify({ _tag: "RouteRemoved", route: route(V6, VIA) })
        yield* settle
        assert.deepStrictEqual(world.installed(), [ROUTE])
      })))

  it.effect("does not put back what it removed itself", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        yield* world.setPods(pod(1, { ready: false }))
        yield* settle
        yield* world.notify({ _tag: "RouteRemoved", route: route(V6, VIA) })
        yield* settle
        assert.deepStrictEqual(world.installed(), [])
      })))

  it.effect("heals stray edits that nobody told of within 2 s", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        world.kernel.clear()
        const stray = route("2001:db8:a::bad", [9])
        world.kernel.set(formatCidr(stray.destination), stray)
        yield* pass("2 seconds")
        assert.deepStrictEqual(world.installed(), [ROUTE])
      })))

  it.effect("looks at everything after an overrun", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        world.kernel.clear()
        yield* world.notify({ _tag: "Overrun" })
        yield* settle
        assert.deepStrictEqual(world.installed(), [ROUTE])
      })))

  it.effect("follows a link that came back with another index", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        const { hostIfName } = allocation(1)
        world.kernel.clear()
        world.links.set(hostIfName, 777)
        yield* world.notify({ _tag: "LinkRemoved", ifName: hostIfName, ifIndex: 101 })
        yield* settle
        assert.deepStrictEqual(world.installed(), [show(route(V6, [777, "2001:db8:1::1"]))])
      })))

  it.effect("one of two pods behind one address leaves: one replacement, never a deletion", () =>
    scenario((world) =>
      Effect.andThen(
        world.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: [V6] })),
        world.setPods(pod(1), pod(2))
      ), (world) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(world.installed(), [show(route(V6, VIA, [102, "2001:db8:1::2"]))])
        const before = world.calls.length
        yield* world.setPods(pod(2, { ready: false }))
        yield* settle
        assert.deepStrictEqual(world.calls.slice(before), [[`put ${ROUTE}`]])
      })))

  it.effect("a batch that fails is tried again after 100 ms", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        world.failNext.push("ENOBUFS", "ENOBUFS")
        yield* world.setPods(pod(1, { ready: false }))
        yield* settle
        assert.deepStrictEqual(world.installed(), [ROUTE])
        yield* pass("100 millis")
        assert.deepStrictEqual(world.installed(), [ROUTE])
        yield* pass("100 millis")
        assert.deepStrictEqual(world.installed(), [])
      })))

  it.effect("one refused route holds up no other", () =>
    scenario((world) => {
      world.refused.set(`${V6}/128`, "EINVAL")
      return Effect.andThen(
        world.commit(allocation(1, { anycast: [V6, "192.0.2.1"] })),
        world.setPods(pod(1))
      )
    }, (world, anycast) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(world.installed(), [show(route("192.0.2.1", [101, "10.42.1.2"]))])
        const states = (yield* anycast.status).map(({ address, state }) => [address, state])
        assert.sameDeepMembers(states, [[V6, "pending"], ["192.0.2.1", "announced"]])
        world.refused.clear()
        yield* pass("100 millis")
        assert.strictEqual(world.installed().length, 2)
      })))

  it.effect("restart while the API is away: keeps announcing until the cache is complete", () =>
    scenario((world) => {
      world.synced = false
      world.kernel.set(`${V6}/128`, route(V6, VIA))
      return world.commit(allocation(1, { anycast: [V6] }))
    }, (world) =>
      Effect.gen(function*() {
        assert.deepStrictEqual([world.installed(), world.calls], [[ROUTE], []])
        world.synced = true
        yield* pass("2 seconds")
        assert.deepStrictEqual(world.installed(), [])
      })))

  it.effect("says who holds what, and why it is not announced", () =>
    scenario((world) =>
      Effect.andThen(
        world.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: [V6] })),
        world.setPods(pod(1), pod(2, { deleting: true }))
      ), (_, anycast) =>
      Effect.gen(function*() {
        const [only] = yield* anycast.status
        assert.strictEqual(only?.state, "announced")
        assert.deepStrictEqual(only?.holders.map(({ gate, owner, pod }) => [owner, pod, gate]), [
          ["container1/eth0", "web-1", "Ready"],
          ["container2/eth0", "web-2", "Deleting"]
        ])
      })))
})

describe("Anycast after a withdrawal", () => {
  it.effect("late packets reach the pod for half a second, and no longer", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(world.stillReached(), [ROUTE])
        yield* world.setPods(pod(1, { ready: false }))
        yield* settle
        assert.deepStrictEqual([world.installed(), world.stillReached()], [[], [ROUTE]])
        yield* pass("499 millis")
        assert.deepStrictEqual(world.stillReached(), [ROUTE])
        yield* pass("1 millis")
        assert.deepStrictEqual(world.stillReached(), [])
      })))

  it.effect("each of two withdrawals has its own half second", () =>
    scenario((world) =>
      Effect.andThen(
        world.commit(allocation(1, { anycast: [V6] }), allocation(2, { anycast: ["192.0.2.1"] })),
        world.setPods(pod(1), pod(2))
      ), (world) =>
      Effect.gen(function*() {
        yield* world.setPods(pod(1, { ready: false }))
        yield* pass("300 millis")
        yield* world.setPods(pod(2, { ready: false }))
        yield* pass("200 millis")
        assert.deepStrictEqual(world.stillReached(), [show(route("192.0.2.1", [102, "10.42.1.3"]))])
        yield* pass("1 second")
        assert.deepStrictEqual(world.stillReached(), [])
      })))

  it.effect("a pod that is Ready again keeps its route", () =>
    scenario(oneReady, (world) =>
      Effect.gen(function*() {
        yield* world.setPods(pod(1, { ready: false }))
        yield* pass("300 millis")
        yield* world.setPods(pod(1))
        yield* pass("1 second")
        assert.deepStrictEqual([world.installed(), world.stillReached()], [[ROUTE], [ROUTE]])
      })))

  it.effect("what a killed agent left behind goes", () =>
    scenario((world) => {
      world.lingering.set(`${V6}/128`, { ...route(V6, VIA), protocol: 202 })
      return Effect.void
    }, (world) =>
      Effect.gen(function*() {
        yield* pass("500 millis")
        assert.deepStrictEqual(world.stillReached(), [])
      })))

  it.effect("a chosen address needs none: it is the pod's own", () =>
    scenario(
      (world) => Effect.andThen(world.commit(allocation(1, { chosen: [V6], ipv6: V6 })), world.setPods(pod(1))),
      (world) =>
        Effect.sync(() => {
          assert.deepStrictEqual([world.installed(), world.stillReached()], [[show(route(V6, [101]))], []])
        })
    ))
})

describe("Anycast metrics", () => {
  it.effect("count and time transitions, the export by sampling", () =>
    scenario((world) => {
      world.birdStatus = { ...idleBird, peers: [PEER] }
      world.exported.add(V6)
      return oneReady(world)
    }, (world) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* Metric.value(metrics.announced)).value, 1)
        yield* world.setPods(pod(1, { ready: false }))
        yield* settle
        assert.strictEqual((yield* Metric.value(metrics.announced)).value, 0)
        assert.strictEqual((yield* Metric.value(metrics.transitionsTo.announced)).count, 1)
        assert.strictEqual((yield* Metric.value(metrics.transitionsTo.withdrawn)).count, 1)
        assert.strictEqual((yield* Metric.value(metrics.kernelSeconds)).count, 1)
        assert.strictEqual((yield* Metric.value(metrics.exportSeconds)).count, 0)
        yield* pass("3 millis")
        world.exported.delete(V6)
        yield* pass("4 millis")
        const exported = yield* Metric.value(metrics.exportSeconds)
        assert.strictEqual(exported.count, 1)
        assert.closeTo(exported.max, 0.007, 1e-9)
      })))

  it.effect("a sample is given up when BIRD does not follow, and never asks for ever", () =>
    scenario((world) => {
      world.birdStatus = { ...idleBird, peers: [PEER] }
      world.exported.add(V6)
      return oneReady(world)
    }, (world) =>
      Effect.gen(function*() {
        yield* world.setPods(pod(1, { ready: false }))
        yield* pass("1 minute")
        const questions = world.exportQuestions
        assert.isAtMost(questions, 10)
        yield* pass("1 minute")
        assert.strictEqual(world.exportQuestions, questions)
        yield* world.setPods(pod(1))
        yield* settle
        assert.strictEqual((yield* Metric.value(metrics.exportSeconds)).count, 1)
      })))
})
