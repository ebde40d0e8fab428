/**
 * The Node's `NetworkUnavailable` condition. A strategic merge patch with `type` as merge key (core/v1 NodeCondition) says
 * nothing of other conditions, so kubelet and others write theirs at the same time.
 *
 * The transition time changes only with the status. It is left out of the patch when the status seems unchanged; the
 * answer then shows whether another writer (a CNI that leaves) had changed it meanwhile, and only then a second patch
 * corrects the time. So the steady state is one request a minute and no read.
 */
import { Clock, Effect, Semaphore } from "effect"
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
      message: condition.message,
      lastHeartbeatTime: now,
      ...(transition ? { lastTransitionTime: now } : {})
    }]
  }
})

export const make = (client: Client, nodeName: string) => {
  const path = `/api/v1/nodes/${nodeName}`
  const lock = Semaphore.makeUnsafe(1)
  let known: Known | undefined

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

  /** Serialised: two patches out of order would leave the older status. */
  return Effect.fnUntraced(
    function*(condition: NodeCondition): Effect.fn.Return<void, ApiError> {
      const before = known ?? knownOf(yield* client.request({ verb: "get", resource: "nodes", path }))
      const transition = before.status !== condition.status
      const after = yield* patch(condition, transition)
      const flipped = !transition && after.lastTransitionTime !== before.lastTransitionTime
      known = flipped ? yield* patch(condition, true) : after
    },
    Effect.tapError(() =>
      Effect.sync(() => {
        known = undefined
      })
    ),
    lock.withPermit
  )
}
