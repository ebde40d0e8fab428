/** An API server and a folder mean the same: one set of scenarios, run against both layers. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import type { KubeApi } from "../../../src/kube/KubeApi.ts"
import { eventually, start } from "./agent.ts"
import { apiServer, folder, nodeConfig, pod, type Source } from "./sources.ts"

const A = "10.42.1.0/24"
const B = "10.42.2.0/24"
const BAD = "10.42.1.1/24"

const listed = (kube: KubeApi["Service"]) =>
  Effect.repeat(kube.podsListed, { until: (it) => it, schedule: Schedule.spaced("10 millis") })

const put = (source: Source, cidr4: string) => Effect.sync(() => source.putNodeConfig(nodeConfig(cidr4)))

describe.each([["an API server", apiServer], ["a folder", folder]] as const)("what %s says", (_, make) => {
  it.live("is in force when it is valid, stays when a newer one is not, and goes when it is deleted", () =>
    Effect.gen(function*() {
      const source = yield* make
      const { kube, states, until } = yield* start(source.layer)
      yield* until("none")
      yield* put(source, A)
      yield* until(A)
      yield* listed(kube)
      assert.isTrue(yield* kube.synced)
      yield* put(source, BAD)
      yield* until(`${A} !`)
      yield* put(source, A)
      yield* until(A)
      yield* put(source, B)
      yield* until(B)
      yield* Effect.sync(source.removeNodeConfig)
      yield* until("none")
      yield* put(source, BAD)
      yield* until("none !")
      yield* Effect.sync(source.removeNodeConfig)
      yield* until("none")
      yield* put(source, A)
      yield* until(A)
      assert.deepStrictEqual(states, ["none", A, `${A} !`, A, B, "none", "none !", "none", A])
      assert.isTrue(yield* kube.synced)
    }).pipe(Effect.scoped))

  it.live("is unknown while it is silent at the start, and kept while it is silent later", () =>
    Effect.gen(function*() {
      const source = yield* make
      yield* Effect.sync(source.silence)
      const { kube, states, until } = yield* start(source.layer)
      yield* until("none ?")
      assert.isFalse(yield* kube.synced)
      assert.isFalse(yield* kube.podsListed)
      yield* Effect.sync(source.mend)
      yield* until("none")
      yield* put(source, A)
      yield* until(A)
      yield* listed(kube)
      yield* Effect.sync(source.silence)
      yield* Effect.sleep(1500)
      assert.strictEqual(states.at(-1), A)
      yield* Effect.sync(source.mend)
      yield* put(source, B)
      yield* until(B)
      yield* Effect.sync(source.removeNodeConfig)
      yield* until("none")
    }).pipe(Effect.scoped))

  it.live("serves from its copy after a restart: while it is silent, and while what it says is wrong", () =>
    Effect.gen(function*() {
      const source = yield* make
      yield* put(source, A)
      yield* Effect.scoped(Effect.flatMap(start(source.layer), ({ until }) => until(A)))
      yield* Effect.sync(source.silence)
      yield* Effect.scoped(Effect.gen(function*() {
        const { kube, until } = yield* start(source.layer)
        yield* until(`${A} ?`)
        assert.isTrue(yield* kube.synced)
        assert.isFalse(yield* kube.podsListed)
      }))
      yield* Effect.sync(source.mend)
      yield* put(source, BAD)
      yield* Effect.scoped(Effect.flatMap(start(source.layer), ({ until }) => until(`${A} !`)))
      yield* Effect.sync(source.removeNodeConfig)
      yield* Effect.scoped(Effect.flatMap(start(source.layer), ({ until }) => until("none")))
      yield* put(source, BAD)
      yield* Effect.scoped(Effect.flatMap(start(source.layer), ({ until }) => until("none !")))
    }).pipe(Effect.scoped))

  it.live("has pods: their changes come out once each, a new one of the same name as an end and a beginning", () =>
    Effect.gen(function*() {
      const source = yield* make
      yield* put(source, A)
      yield* Effect.sync(() => source.putPod(pod("before", "u0", true)))
      const { changes, kube, until } = yield* start(source.layer)
      yield* until(A)
      const seen = (what: string) =>
        eventually(() => `${what}, seen: ${changes.join(", ")}`, () => changes.at(-1) === what)
      const does = (action: () => void, what: string) => Effect.andThen(Effect.sync(action), seen(what))
      yield* listed(kube)
      yield* does(() => source.putPod(pod("web", "u1", false)), "Changed u1")
      yield* does(() => source.putPod(pod("web", "u1", true)), "Changed u1 ready")
      yield* Effect.sync(() => source.putPod(pod("web", "u1", true)))
      yield* does(() => source.putPod(pod("web", "u2", false)), "Changed u2")
      yield* does(() => source.removePod("web"), "Removed u2")
      assert.deepStrictEqual(changes.filter((change) => !change.includes("u0")), [
        "Changed u1",
        "Changed u1 ready",
        "Removed u1 ready",
        "Changed u2",
        "Removed u2"
      ])
      assert.deepStrictEqual([...(yield* kube.pods).keys()], ["default/before"])
    }).pipe(Effect.scoped))
})
