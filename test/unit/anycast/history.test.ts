import { assert, describe, it } from "@effect/vitest"
import { Effect, Metric, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Anycast } from "../../../src/anycast/Anycast.ts"
import { podKey } from "../../../src/domain/Pod.ts"
import { KubeApi } from "../../../src/kube/KubeApi.ts"
import { routeKey } from "../../../src/netlink/NetlinkTest.ts"
import { allocation, layer, linkOf, pod, route, Scene, show } from "./fakes.ts"

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

const perform = (scene: Scene, { n, what }: Step): Effect.Effect<void> => {
  const own = route(`2001:db8:a::${n}`)
  switch (what) {
    case "ready":
      return scene.setPods(pod(n))
    case "notReady":
      return scene.setPods(pod(n, { ready: false }))
    case "deleting":
      return scene.setPods(pod(n, { deleting: true }))
    case "replaced":
      return scene.setPods(pod(n, { uid: "another" }))
    case "gone":
      return scene.removePod(pod(n))
    case "add":
      return scene.commit(allocationOf(n))
    case "del":
      return scene.remove(allocationOf(n))
    case "routeRemoved":
      return Effect.sync(() => scene.kernel.removeRoute(own))
    case "routeRemovedSilently":
      return Effect.sync(() => scene.kernel.routes.delete(routeKey(own)))
    case "strayRoute":
      return Effect.sync(() => scene.kernel.putRoute(route(`2001:db8:a::${n}`, [9])))
    case "linkReplaced": {
      const before = scene.kernel.links.get(linkOf(n))
      if (before === undefined) return Effect.void
      return Effect.sync(() => {
        scene.kernel.removeLink(linkOf(n))
        scene.kernel.addLink(linkOf(n), before.ifIndex + 100)
      })
    }
    case "batchFails":
      return Effect.sync(() => {
        scene.failNext.push("ENOBUFS")
      })
    case "overrun":
      return scene.notify({ _tag: "Overrun" })
    case "time":
      return TestClock.adjust("300 millis")
  }
}

/** What the kernel should have, by the plainest rule. */
const expected = Effect.fnUntraced(function*(scene: Scene) {
  const pods = yield* (yield* KubeApi).pods
  const held = yield* scene.allocations.list
  const serving = [1, 2, 3].filter((n) => {
    const info = pods.get(podKey(pod(n)))
    return held.some((a) => a.hostIfName === linkOf(n)) &&
      info?.uid === `uid-${n}` && info.ready && !info.deleting
  })
  const hop = (n: number) => [scene.kernel.links.get(linkOf(n))?.ifIndex ?? 0, `2001:db8:1::${n}`] as const
  return [
    ...serving.map((n) => show(route(`2001:db8:a::${n}`, hop(n)))),
    ...(serving.length > 0 ? [show(route(SHARED, ...serving.map(hop)))] : [])
  ].toSorted()
})

describe("Anycast, whatever happens in whatever order", () => {
  it.effect.prop(
    "the kernel is right 3 s after the last event, and so is BIRD's export set",
    [Schema.Array(Step).pipe(Schema.check(Schema.isMinLength(10), Schema.isMaxLength(40)))],
    ([steps]) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        yield* scene.commit(allocationOf(1), allocationOf(2))
        const anycast = yield* Anycast
        yield* Effect.forkChild(anycast.run)
        yield* settle
        for (const step of steps) {
          yield* perform(scene, step)
          if (step.pause) yield* settle
        }
        yield* settle
        scene.failNext.length = 0
        for (let i = 0; i < 6; i++) yield* Effect.andThen(TestClock.adjust("500 millis"), settle)
        const wanted = yield* expected(scene)
        assert.deepStrictEqual(scene.installed(), wanted)
        assert.deepStrictEqual(scene.stillReached(), wanted)
        const held = (yield* scene.allocations.list).map((a) => `2001:db8:a::${a.hostIfName.slice(-1)}`)
        const exportSet = (yield* scene.exportSets).at(-1) ?? []
        assert.sameMembers([...exportSet], held.length === 0 ? [] : [...held, SHARED])
      }).pipe(Effect.provide(layer), Effect.provideService(Metric.MetricRegistry, new Map())),
    { arbitrary: { runs: 200 }, timeout: 60_000 }
  )
})
