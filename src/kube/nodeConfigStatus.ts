/**
 * NodeConfig's status. Callers say what is true as often as they like; it is written when it differs from what was written
 * last, at once after a quiet time and else at most every 5 s, and until the API server has taken it.
 */
import { Clock, Effect, Queue } from "effect"
import { API_VERSION } from "../domain/NodeConfig.ts"
import { record } from "../domain/record.ts"
import type { Client } from "./client.ts"
import type { NodeConfigStatus, StatusCondition } from "./KubeApi.ts"
import { timeOf } from "./nodeCondition.ts"

const INTERVAL_MILLIS = 5000
const RETRY_MILLIS = 30_000

/** Transition times by condition type. */
export type Transitions = ReadonlyMap<string, { readonly status: string; readonly lastTransitionTime: string }>

/** From a NodeConfig object, so that an agent's restart is no transition. */
export const transitionsOf = (object: unknown): Transitions => {
  const conditions = record(record(object)["status"])["conditions"]
  return new Map(
    (Array.isArray(conditions) ? conditions : []).map(record).map((c) => [
      String(c["type"]),
      { status: String(c["status"]), lastTransitionTime: String(c["lastTransitionTime"]) }
    ])
  )
}

/** An int64 that every JSON reader reads exactly: a /64 has more addresses than that. */
const count = (n: number) => Math.min(n, Number.MAX_SAFE_INTEGER)

const counts = (family: { readonly used: number; readonly free: number } | undefined) =>
  family === undefined ? null : { used: count(family.used), free: count(family.free) }

/** A JSON merge patch (RFC 7396): null removes what no longer applies, arrays are replaced. */
export const patchOf = (status: NodeConfigStatus, transitions: Transitions, now: string): unknown => ({
  status: {
    observedGeneration: status.observedGeneration,
    conditions: status.conditions.map((condition: StatusCondition) => {
      const before = transitions.get(condition.type)
      return {
        ...condition,
        observedGeneration: status.observedGeneration,
        lastTransitionTime: before?.status === condition.status ? before.lastTransitionTime : now
      }
    }),
    addresses: { ipv6: counts(status.addresses.ipv6), ipv4: counts(status.addresses.ipv4) },
    peers: status.peers
  }
})

export interface StatusWriter {
  readonly set: (status: NodeConfigStatus) => Effect.Effect<void>
  /**
   * Every NodeConfig object that the watch brings, `undefined` when it is gone: the status of a new one (by UID), or of
   * one whose status was lost, is written anew.
   */
  readonly seen: (object: unknown) => Effect.Effect<void>
  readonly run: Effect.Effect<never>
}

export const make = Effect.fnUntraced(function*(client: Client, nodeName: string): Effect.fn.Return<StatusWriter> {
  const due = yield* Queue.sliding<void>(1)
  let wanted: NodeConfigStatus | undefined
  let written = ""
  let uid = ""
  let transitions: Transitions = new Map()

  const write = Effect.fnUntraced(function*(status: NodeConfigStatus, text: string) {
    const body = patchOf(status, transitions, timeOf(yield* Clock.currentTimeMillis))
    const path = `/apis/${API_VERSION}/nodeconfigs/${nodeName}/status`
    const patch = "application/merge-patch+json"
    const object = yield* client.request({ verb: "patch", resource: "nodeconfigs/status", path, patch, body })
    transitions = transitionsOf(object)
    written = text
  })

  const turn = Effect.gen(function*() {
    yield* Queue.take(due)
    const status = wanted
    const text = JSON.stringify(status)
    if (status === undefined || uid === "" || text === written) return
    yield* write(status, text)
    yield* Effect.sleep(INTERVAL_MILLIS)
  })

  return {
    set: (status) =>
      Effect.suspend(() => {
        wanted = status
        return Effect.asVoid(Queue.offer(due, undefined))
      }),
    seen: (object) =>
      Effect.suspend(() => {
        const { metadata, status } = record(object)
        const seenUid = String(record(metadata)["uid"] ?? "")
        if (seenUid === uid && uid !== "" && Array.isArray(record(status)["conditions"])) return Effect.void
        if (seenUid !== uid) transitions = transitionsOf(object)
        uid = seenUid
        written = ""
        if (uid === "") return Effect.void
        return Effect.asVoid(Queue.offer(due, undefined))
      }),
    run: turn.pipe(
      Effect.catch((e) =>
        Effect.logWarning(`NodeConfig status not written, will be in ${RETRY_MILLIS / 1000} s: ${e.message}`).pipe(
          Effect.andThen(Effect.sleep(RETRY_MILLIS)),
          Effect.andThen(Queue.offer(due, undefined))
        )
      ),
      Effect.forever
    )
  }
})
