import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Anycast } from "../../../src/anycast/Anycast.ts"
import { formatCidr } from "../../../src/domain/Ip.ts"
import { podKey } from "../../../src/domain/Pod.ts"
import { allocation, linkOf, pod, route, show, World } from "./fakes.ts"

const SHARED = "2001:db8:a::ffff"

const Step = Schema.Struct({
  what: Schema.Literals([
    "ready",
    "notReady",
    "deleting",
    "replaced",
    "gone",
    "add",
    "del",
    "routeRemoved",
    "routeRemovedSilently",
    "strayRoute",
    "linkReplaced",
    "batchFails",
    "overrun",
    "time"
  ]),
  n: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 3 }))),
  /** Whether the reconciler gets to run before the next step. */
  pause: Schema.Boolean
})
type Step = typeof Step.Type

const settle = Effect.repeat(Effect.yieldNow, { times: 60 })

const allocationOf = (n: number) => allocation(n, { anycast: [`2001:db8:a::${n}`, SHARED] })

const perform = (world: World, { n, what }: Step): Effect.Effect<void> => {
  const own = formatCidr(route(`2001:db8:a::${n}`).destination)
  switch (what) {
    case "ready":
      return world.setPods(pod(n))
    case "notReady":
      return world.setPods(pod(n, { ready: false }))
    case "deleting":
      return world.setPods(pod(n, { deleting: true }))
    case "replaced":
      return world.setPods(pod(n, { uid: "another" }))
    case "gone":
      return world.removePod(pod(n))
    case "add":
      return world.commit(allocationOf(n))
    case "del":
      return world.remove(allocationOf(n))
    case "routeRemoved": {
      const removed = world.kernel.get(own)
      world.kernel.delete(own)
      return removed === undefined ? Effect.void : world.notify({ _tag: "RouteRemoved", route: removed })
    }
    case "routeRemovedSilently":
      return Effect.sync(() => {
        world.kernel.delete(own)
      })
    case "strayRoute":
      return Effect.sync(() => {
        world.kernel.set(own, route(`2001:db8:a::${n}`, [9]))
      })
    case "linkReplaced": {
      const before = world.links.get(linkOf(n))
      if (before === undefined) return Effect.void
      world.links.set(linkOf(n), before + 100)
      world.kernel.delete(own)
      return world.notify({ _tag: "LinkRemoved", ifName: linkOf(n), ifIndex: before })
    }
    case "batchFails":
      return Effect.sync(() => {
        world.failNext.push("ENOBUFS")
      })
    case "overrun":
      return world.notify({ _tag: "Overrun" })
    case "time":
      return TestClock.adjust("300 millis")
  }
}

/** What the kernel should have, by the plainest rule. */
const expected = (world: World): ReadonlyArray<string> => {
  const serving = [1, 2, 3].filter((n) => {
    const info = world.pods.get(podKey(pod(n)))
    return [...world.allocations.values()].some((a) => a.hostIfName === linkOf(n)) &&
      info?.uid === `uid-${n}` && info.ready && !info.deleting
  })
  const hop = (n: number) => [world.links.get(linkOf(n)) ?? 0, `2001:db8:1::${n}`] as const
  return [
    ...serving.map((n) => show(route(`2001:db8:a::${n}`, hop(n)))),
    ...(serving.length > 0 ? [show(route(SHARED, ...serving.map(hop)))] : [])
  ].toSorted()
}

describe("Anycast, whatever happens in whatever order", () => {
  it.effect.prop(
    "the kernel is right 3 s after the last event, and so is BIRD's export set",
    [Schema.Array(Step).pipe(Schema.check(Schema.isMinLength(10), Schema.isMaxLength(40)))],
    ([steps]) =>
      Effect.gen(function*() {
        const world = yield* World.make
        yield* world.commit(allocationOf(1), allocationOf(2))
        yield* Effect.gen(function*() {
          const anycast = yield* Anycast
          yield* Effect.forkChild(anycast.run)
          yield* settle
          for (const step of steps) {
            yield* perform(world, step)
            if (step.pause) yield* settle
          }
          yield* settle
          world.failNext.length = 0
          for (let i = 0; i < 6; i++) yield* Effect.andThen(TestClock.adjust("500 millis"), settle)
          assert.deepStrictEqual(world.installed(), expected(world))
          assert.deepStrictEqual(world.stillReached(), expected(world))
          const held = [...world.allocations.values()].map((a) => `2001:db8:a::${a.hostIfName.slice(-1)}`)
          assert.sameMembers([...world.exportSets.at(-1) ?? []], held.length === 0 ? [] : [...held, SHARED])
        }).pipe(Effect.provide(world.layer), Effect.provideService(Metric.MetricRegistry, new Map()))
      }),
    { arbitrary: { runs: 200 }, timeout: 60_000 }
  )
})
