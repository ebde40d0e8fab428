/**
 * NodeConfig's status. Callers say what is true as often as they like; it is written when it differs from what was written
 * last, at once after a quiet time and else at most every 5 s, and until the API server has taken it.
 */
import { Clock, Effect, Queue, Random, Ref } from "effect"
import { API_VERSION } from "../domain/NodeConfig.ts"
import { oneLine } from "../domain/quote.ts"
import { record, records } from "../domain/record.ts"
import type { Client } from "./client.ts"
import type { NodeConfigStatus, StatusCondition } from "./KubeApi.ts"
import { timeOf } from "./nodeCondition.ts"

const INTERVAL_MILLIS = 5000
/** Up to half as much again by chance: what one server refuses to many nodes, they had asked together. */
const RETRY_MILLIS = 30_000

/** What was last said of a condition or an address, and since when. */
interface Said {
  readonly value: string
  /** RFC 3339; empty: not known. */
  readonly since: string
}

export interface Transitions {
  /** By type; of the value of `status`. */
  readonly conditions: ReadonlyMap<string, Said>
  /** By address; of its state. */
  readonly addresses: ReadonlyMap<string, Said>
}

const said = (list: unknown, [key, value, since]: readonly [key: string, value: string, since: string]) =>
  new Map(
    records(list).map((it) => [
      String(it[key]),
      { value: String(it[value]), since: String(it[since] ?? "") }
    ])
  )

/** From a NodeConfig object, so that an agent's restart is no transition. */
export const transitionsOf = (object: unknown): Transitions => {
  const { anycast, conditions } = record(record(object)["status"])
  return {
    conditions: said(conditions, ["type", "status", "lastTransitionTime"]),
    addresses: said(anycast, ["address", "state", "since"])
  }
}

/** The time that stands where nothing changed, else `now`. */
const sinceOf = (before: Said | undefined, value: string, now: string): string =>
  before?.value === value && before.since !== "" ? before.since : now

/** An int64 that every JSON reader reads exactly: a /64 has more addresses than that. */
const count = (n: number) => Math.min(n, Number.MAX_SAFE_INTEGER)

const counts = (family: { readonly used: number; readonly free: number } | undefined) =>
  family === undefined ? null : { used: count(family.used), free: count(family.free) }

const anycastPatch = (
  { anycast, truncated }: NodeConfigStatus,
  addresses: Transitions["addresses"],
  now: string
) =>
  anycast === undefined ? {} : {
    anycast: anycast.length === 0
      ? null
      : anycast.map((it) => ({ ...it, since: sinceOf(addresses.get(it.address), it.state, now) })),
    truncated: truncated ?? null
  }

/** A JSON merge patch (RFC 7396): null removes what no longer applies, arrays are replaced. */
export const patchOf = (status: NodeConfigStatus, transitions: Transitions, now: string): unknown => ({
  status: {
    observedGeneration: status.observedGeneration,
    conditions: status.conditions.map((condition: StatusCondition) => ({
      ...condition,
      message: oneLine(condition.message),
      observedGeneration: status.observedGeneration,
      lastTransitionTime: sinceOf(transitions.conditions.get(condition.type), condition.status, now)
    })),
    addresses: { ipv6: counts(status.addresses.ipv6), ipv4: counts(status.addresses.ipv4) },
    sessions: status.sessions ?? null,
    peers: status.peers.map((peer) => peer.problem === undefined ? peer : { ...peer, problem: oneLine(peer.problem) }),
    ...anycastPatch(status, transitions.addresses, now)
  }
})

/** What is to be written, and what the API server has. */
export interface State {
  readonly wanted: NodeConfigStatus | undefined
  /** The status that was written last, as text; empty: none, or it was lost. */
  readonly written: string
  /** Of the NodeConfig; empty: there is none. */
  readonly uid: string
  readonly transitions: Transitions
}

export const initial: State = { wanted: undefined, written: "", uid: "", transitions: transitionsOf(undefined) }

/**
 * A NodeConfig object came; `undefined`: it is gone. The status of a new one (by UID), or of one whose status was lost, is
 * written anew.
 */
export const observe = (state: State, object: unknown): State => {
  const { metadata, status } = record(object)
  const uid = String(record(metadata)["uid"] ?? "")
  if (uid === state.uid && uid !== "" && Array.isArray(record(status)["conditions"])) return state
  return { ...state, uid, written: "", ...(uid === state.uid ? {} : { transitions: transitionsOf(object) }) }
}

/** The status to write, if there is one and it is not written yet. */
export const due = ({ uid, wanted, written }: State): NodeConfigStatus | undefined =>
  uid === "" || JSON.stringify(wanted) === written ? undefined : wanted

export interface StatusWriter {
  readonly set: (status: NodeConfigStatus) => Effect.Effect<void>
  /** Every NodeConfig object that the watch brings, `undefined` when it is gone. */
  readonly observe: (object: unknown) => Effect.Effect<void>
  readonly run: Effect.Effect<never>
}

export const make = Effect.fnUntraced(function*(client: Client, nodeName: string): Effect.fn.Return<StatusWriter> {
  const state = yield* Ref.make(initial)
  /** Something may be due. */
  const wake = yield* Queue.sliding<void>(1)

  const update = (change: (before: State) => State) =>
    Effect.andThen(Ref.update(state, change), Effect.asVoid(Queue.offer(wake, undefined)))

  const write = Effect.fnUntraced(function*(status: NodeConfigStatus) {
    const { transitions, uid } = yield* Ref.get(state)
    const object = yield* client.request({
      verb: "patch",
      resource: "nodeconfigs/status",
      path: `/apis/${API_VERSION}/nodeconfigs/${nodeName}/status`,
      patch: "application/merge-patch+json",
      body: patchOf(status, transitions, timeOf(yield* Clock.currentTimeMillis))
    })
    yield* Ref.update(state, (before) =>
      // another one took its place meanwhile: its status is not written yet
      before.uid !== uid
        ? before
        : { ...before, transitions: transitionsOf(object), written: JSON.stringify(status) })
  })

  const writeNext = Effect.gen(function*() {
    yield* Queue.take(wake)
    const status = due(yield* Ref.get(state))
    if (status === undefined) return
    yield* write(status)
    yield* Effect.sleep(INTERVAL_MILLIS)
  })

  return {
    set: (wanted) => update((before) => ({ ...before, wanted })),
    observe: (object) => update((before) => observe(before, object)),
    run: writeNext.pipe(
      Effect.catch(Effect.fnUntraced(function*(e) {
        const millis = RETRY_MILLIS * (1 + (yield* Random.next) / 2)
        yield* Effect.logWarning(
          `NodeConfig status not written, will be in ${Math.round(millis / 1000)} s: ${e.message}`
        )
        yield* Effect.sleep(millis)
        yield* Queue.offer(wake, undefined)
      })),
      Effect.forever
    )
  }
})
