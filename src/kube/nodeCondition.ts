/**
 * The Node's `NetworkUnavailable` condition. A strategic merge patch with `type` as merge key (core/v1 NodeCondition) says
 * nothing of other conditions, so kubelet and others write theirs at the same time.
 *
 * The transition time changes only with the status. It is left out of the patch when the status seems unchanged; the
 * answer then shows whether another writer (a CNI that leaves) had changed it meanwhile, and only then a second patch
 * corrects the time. So the steady state is one request a minute and no read.
 */
import { Clock, Effect, Option, Ref, Semaphore } from "effect"
import { oneLine } from "../domain/quote.ts"
import { record } from "../domain/record.ts"
import type { ApiError } from "./access.ts"
import type { Client } from "./client.ts"
import type { NodeCondition } from "./KubeApi.ts"

const TYPE = "NetworkUnavailable"

/** What the API server has. */
export interface Known {
  readonly status: string
  readonly lastTransitionTime: string
}

/** Of a Node object; empty strings where the condition is not there. */
export const knownOf = (node: unknown): Known => {
  const conditions = record(record(node)["status"])["conditions"]
  const condition = record((Array.isArray(conditions) ? conditions : []).find((c) => record(c)["type"] === TYPE))
  return {
    status: String(condition["status"] ?? ""),
    lastTransitionTime: String(condition["lastTransitionTime"] ?? "")
  }
}

/** meta/v1 Time: RFC 3339, whole seconds. */
export const timeOf = (millis: number): string => `${new Date(millis).toISOString().slice(0, 19)}Z`

export const patchOf = (condition: NodeCondition, now: string, transition: boolean): unknown => ({
  status: {
    conditions: [{
      type: TYPE,
      status: condition.status,
      reason: condition.reason,
      message: oneLine(condition.message),
      lastHeartbeatTime: now,
      ...(transition ? { lastTransitionTime: now } : {})
    }]
  }
})

export type SetNodeCondition = (condition: NodeCondition) => Effect.Effect<void, ApiError>

export const make = Effect.fnUntraced(function*(client: Client, nodeName: string): Effect.fn.Return<SetNodeCondition> {
  const path = `/api/v1/nodes/${nodeName}`
  /** Two patches out of order would leave the older status. */
  const lock = yield* Semaphore.make(1)
  /** What the last answer had; none after a failure: it may have been done. */
  const known = yield* Ref.make(Option.none<Known>())

  const patch = (condition: NodeCondition, transition: boolean) =>
    Effect.gen(function*() {
      const now = timeOf(yield* Clock.currentTimeMillis)
      return knownOf(
        yield* client.request({
          verb: "patch",
          resource: "nodes/status",
          path: `${path}/status`,
          patch: "application/strategic-merge-patch+json",
          body: patchOf(condition, now, transition)
        })
      )
    })

  const read = Effect.map(client.request({ verb: "get", resource: "nodes", path }), knownOf)

  return Effect.fnUntraced(
    function*(condition) {
      const before = yield* Effect.flatMap(Ref.get(known), Option.match({ onNone: () => read, onSome: Effect.succeed }))
      const transition = before.status !== condition.status
      const after = yield* patch(condition, transition)
      const flipped = !transition && after.lastTransitionTime !== before.lastTransitionTime
      yield* Ref.set(known, Option.some(flipped ? yield* patch(condition, true) : after))
    },
    Effect.tapError(() => Ref.set(known, Option.none())),
    lock.withPermit
  )
})
