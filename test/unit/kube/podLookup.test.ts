import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Stream } from "effect"
import { ApiError } from "../../../src/kube/access.ts"
import type { Client } from "../../../src/kube/client.ts"
import { OpenWatches } from "../../../src/kube/openWatches.ts"
import * as PodLookup from "../../../src/kube/podLookup.ts"

const ref = { namespace: "default", name: "web", uid: "" }

const fixture = Effect.gen(function*() {
  const answer = yield* Deferred.make<unknown, ApiError>()
  const paths: Array<string> = []
  const client: Client = {
    watches: new OpenWatches(),
    outage: { end: () => Effect.void },
    latency: Effect.succeed(0),
    health: Effect.succeed({ watches: [], refused: [] }),
    request: ({ path }) =>
      Effect.suspend(() => {
        paths.push(path)
        return Deferred.await(answer)
      }),
    list: () => Effect.never,
    watch: () => Stream.never
  }
  return { answer, paths, lookUp: yield* PodLookup.make(client) }
})

describe("a pod's lookup", () => {
  it.effect("is one request however many ask at once, and whoever of them goes", () =>
    Effect.gen(function*() {
      const { answer, lookUp, paths } = yield* fixture
      const first = yield* Effect.forkChild(lookUp(ref))
      const others = yield* Effect.forkChild(
        Effect.all(Array.from({ length: 20 }, () => lookUp(ref)), { concurrency: "unbounded" })
      )
      const elsewhere = yield* Effect.forkChild(lookUp({ ...ref, namespace: "a/b" }))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(answer, { metadata: { name: "web", uid: "u" } })
      assert.isTrue((yield* Fiber.join(others)).every((found) => Option.getOrThrow(found).uid === "u"))
      yield* Fiber.join(elsewhere)
      assert.deepStrictEqual(paths, ["/api/v1/namespaces/default/pods/web", "/api/v1/namespaces/a%2Fb/pods/web"])
      yield* lookUp(ref)
      assert.strictEqual(paths.length, 3, "asked again once it was answered")
    }).pipe(Effect.scoped))

  it.effect("fails for all who ask; 404 is an answer", () =>
    Effect.gen(function*() {
      const { answer, lookUp } = yield* fixture
      yield* Deferred.fail(answer, new ApiError({ message: "answered 404", status: 404 }))
      assert.isTrue(Option.isNone(yield* lookUp(ref)))
      const refused = yield* fixture
      yield* Deferred.fail(refused.answer, new ApiError({ message: "answered 403", status: 403 }))
      const exits = yield* Effect.all([Effect.exit(refused.lookUp(ref)), Effect.exit(refused.lookUp(ref))], {
        concurrency: "unbounded"
      })
      assert.isTrue(exits.every(Exit.isFailure))
    }).pipe(Effect.scoped))
})
