/** One pod by name, from the API server: kubelet can be ahead of the watch. */
import { Effect, Fiber, FiberMap, Option, type Scope } from "effect"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import type { ApiError } from "./access.ts"
import type { Client } from "./client.ts"
import type { PodRef } from "./KubeApi.ts"
import { decodePod } from "./podCache.ts"

export type PodLookup = (ref: PodRef) => Effect.Effect<Option.Option<PodInfo>, ApiError>

/** Calls for one pod at one time share one request, which no caller's interruption ends for the others. */
export const make = Effect.fnUntraced(function*(client: Client): Effect.fn.Return<PodLookup, never, Scope.Scope> {
  const requests = yield* FiberMap.make<string, Option.Option<PodInfo>, ApiError>()

  const get = (ref: PodRef) =>
    client.request({
      verb: "get",
      resource: "pods",
      path: `/api/v1/namespaces/${encodeURIComponent(ref.namespace)}/pods/${encodeURIComponent(ref.name)}`
    }).pipe(
      Effect.map((object) => Option.fromUndefinedOr(decodePod(object))),
      Effect.catchIf((e) => e.status === 404, () => Effect.succeedNone)
    )

  return (ref) =>
    Effect.suspend(() =>
      Option.match(FiberMap.getUnsafe(requests, podKey(ref)), {
        onNone: () => FiberMap.run(requests, podKey(ref), get(ref)),
        onSome: Effect.succeed
      })
    ).pipe(Effect.flatMap(Fiber.join))
})
