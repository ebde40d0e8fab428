/**
 * The Node's `NetworkUnavailable` condition. A strategic merge patch with `type` as merge key (core/v1 NodeCondition) says
 * nothing of other conditions, so kubelet and others write theirs at the same time.
 *
 * The transition time changes only with the status. It is left out of the patch when the status seems unchanged; the
 * answer then shows whether another writer (a CNI that leaves) had changed it meanwhile, and only then a second patch
 * corrects the time.
 *
 * Every write of a Node goes to everybody in the cluster who watches Nodes. What is said again is compared with what the API
 * server's cache has, and written only if that is another, or for the heartbeat, as seldom as kubelet does it.
 */
import { Clock, Effect, Option, Random, Ref, Semaphore } from "effect"
import { oneLine } from "../domain/quote.ts"
import { record, records } from "../domain/record.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import type { ApiError } from "./access.ts"
import type { Client } from "./client.ts"
import type { NodeCondition } from "./KubeApi.ts"

const TYPE = "NetworkUnavailable"

/** As kubelet's `nodeStatusReportFrequency`; up to a fifth earlier by chance, so that nodes which start together part. */
const HEARTBEAT_MILLIS = 300_000
const HEARTBEAT_JITTER = 0.2

/** What the API server has. */
export interface Known {
  readonly status: string
  readonly reason: string
  readonly message: string
  readonly lastTransitionTime: string
  /** Of the Node. */
  readonly resourceVersion: string
}

/** Of a Node object; empty strings where the condition is not there. */
export const knownOf = (node: unknown): Known => {
  const { metadata, status } = record(node)
  const { conditions } = record(status)
  const condition = record(records(conditions).find(({ type }) => type === TYPE))
  return {
    status: String(condition["status"] ?? ""),
    reason: String(condition["reason"] ?? ""),
    message: String(condition["message"] ?? ""),
    lastTransitionTime: String(condition["lastTransitionTime"] ?? ""),
    resourceVersion: String(record(metadata)["resourceVersion"] ?? "")
  }
}

/** meta/v1 Time: RFC 3339, whole seconds. */
export const timeOf = (millis: number): string => `${new Date(millis).toISOString().slice(0, 19)}Z`

const says = (known: Known, { message, reason, status }: NodeCondition): boolean =>
  known.status === status && known.reason === reason && known.message === oneLine(message)

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
  /** When the next heartbeat is due, of `monotonicMillis`. */
  const due = yield* Ref.make(0)

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

  /** Not older than that version, from the server's cache; without one, from etcd. */
  const read = (resourceVersion?: string) =>
    Effect.map(
      client.request({
        verb: "get",
        resource: "nodes",
        path,
        ...(resourceVersion === undefined ? {} : { query: { resourceVersion } })
      }),
      knownOf
    )

  const write = Effect.fnUntraced(function*(condition: NodeCondition, before: Known) {
    const transition = before.status !== condition.status
    const after = yield* patch(condition, transition)
    const flipped = !transition && after.lastTransitionTime !== before.lastTransitionTime
    yield* Ref.set(known, Option.some(flipped ? yield* patch(condition, true) : after))
    const share = 1 - HEARTBEAT_JITTER * (yield* Random.next)
    yield* Ref.set(due, (yield* monotonicMillis) + HEARTBEAT_MILLIS * share)
  })

  return Effect.fnUntraced(
    function*(condition) {
      const last = yield* Ref.get(known)
      if (Option.isNone(last)) return yield* write(condition, yield* read())
      if (!says(last.value, condition)) return yield* write(condition, last.value)
      const now = yield* read(last.value.resourceVersion)
      if (!says(now, condition) || (yield* monotonicMillis) >= (yield* Ref.get(due))) {
        return yield* write(condition, now)
      }
      yield* Ref.set(known, Option.some(now))
    },
    Effect.tapError(() => Ref.set(known, Option.none())),
    lock.withPermit
  )
})
