import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Redacted, Stream, SubscriptionRef } from "effect"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import { KubeApi } from "../../../src/kube/KubeApi.ts"
import { KubeApiTest, layerTest } from "../../../src/kube/KubeApiTest.ts"

const pod = (over: Partial<PodInfo> = {}): PodInfo => ({
  namespace: "default",
  name: "web",
  uid: "u1",
  ready: false,
  deleting: false,
  annotations: {},
  ...over
})

const ref = { namespace: "default", name: "web", uid: "" }

describe("the test layer", () => {
  it.effect("publishes what is set, and a repeat is no change", () =>
    Effect.gen(function*() {
      const kube = yield* KubeApi
      const test = yield* KubeApiTest
      const changes = yield* Effect.forkChild(Stream.runCollect(Stream.take(kube.podChanges, 3)))
      yield* Effect.yieldNow
      yield* test.setPods(pod(), pod(), pod({ ready: true }))
      yield* test.removePods(pod())
      assert.deepStrictEqual((yield* Fiber.join(changes)).map((c) => `${c._tag} ${c.pod.ready}`), [
        "Changed false",
        "Changed true",
        "Removed true"
      ])
      assert.strictEqual((yield* kube.pods).size, 0)
    }).pipe(Effect.provide(layerTest())))

  it.effect("fails as an API server that is away does, but for what is known", () =>
    Effect.gen(function*() {
      const kube = yield* KubeApi
      const test = yield* KubeApiTest
      yield* test.setPods(pod())
      yield* test.setSecret({ name: "tor", key: "password" }, "x")
      yield* test.setUnavailable("away")
      assert.isTrue(Option.isSome(yield* kube.pod(ref)))
      assert.strictEqual((yield* Effect.flip(kube.pod({ ...ref, uid: "another" }))).message, "away")
      assert.strictEqual((yield* Effect.flip(kube.secret({ name: "tor", key: "password" }))).message, "away")
      yield* test.setUnavailable(undefined)
      assert.isTrue(Option.isNone(yield* kube.pod({ ...ref, uid: "another" })))
      const secret = yield* kube.secret({ name: "tor", key: "password" })
      assert.strictEqual(Redacted.value(Option.getOrThrow(secret)), "x")
    }).pipe(Effect.provide(layerTest())))

  it.effect("records what flock writes; overrides stand in place of members", () =>
    Effect.gen(function*() {
      const kube = yield* KubeApi
      const test = yield* KubeApiTest
      yield* kube.setNodeCondition({ status: "False", reason: "R", message: "m" })
      yield* kube.event({ on: { kind: "Node" }, type: "Normal", reason: "E", message: "m" })
      assert.deepStrictEqual((yield* test.conditions).map((c) => c.reason), ["R"])
      assert.deepStrictEqual((yield* test.events).map((e) => e.reason), ["E"])
      yield* test.setSynced({ podsListed: false })
      assert.isTrue(yield* kube.synced)
      assert.isFalse(yield* kube.podsListed)
      yield* test.setNodeConfig({ unknown: "why" })
      assert.strictEqual((yield* SubscriptionRef.get(kube.nodeConfig)).unknown, "why")
      assert.deepStrictEqual(yield* kube.pod(ref), Option.some(pod()))
    }).pipe(Effect.provide(layerTest({ pod: () => Effect.succeedSome(pod()) }))))
})
