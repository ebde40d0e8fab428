/**
 * Events (core/v1) on Pods and the Node. The same thing said again raises `count` of the Event written before; writing is
 * rate-limited and done by {@link Recorder.run}, so that telling never waits, never fails and never floods the API.
 */
import { Clock, Effect, Queue, Random } from "effect"
import type { Client } from "./client.ts"
import type { EventOn } from "./KubeApi.ts"
import { timeOf } from "./nodeCondition.ts"

/** Different Events remembered; the one told longest ago is forgotten first. */
const REMEMBERED = 512
/** At most this many writes at once, then one every {@link REFILL_MILLIS}. */
const BURST = 25
const REFILL_MILLIS = 5000
/** The API server forgets Events after an hour (`--event-ttl`); what could not be written for so long is not news. */
const STALE_MILLIS = 600_000
const MESSAGE_LIMIT = 1024

interface Told {
  readonly event: EventOn
  readonly first: number
  last: number
  count: number
  /** Name of the Event object, once it is written. */
  name: string | undefined
  queued: boolean
}

export interface Recorder {
  readonly tell: (event: EventOn) => Effect.Effect<void>
  readonly run: Effect.Effect<never>
}

const namespaceOf = (event: EventOn): string =>
  // as kubelet does for what has no namespace
  event.on.kind === "Pod" ? event.on.pod.namespace : "default"

const collection = (event: EventOn) => `/api/v1/namespaces/${namespaceOf(event)}/events`

const involved = ({ on }: EventOn, nodeName: string) =>
  on.kind === "Pod"
    ? { kind: "Pod", apiVersion: "v1", namespace: on.pod.namespace, name: on.pod.name, uid: on.pod.uid }
    // `kubectl describe node` looks for the name in `uid`, where kubelet puts it
    : { kind: "Node", apiVersion: "v1", name: nodeName, uid: nodeName }

export const objectOf = (
  event: EventOn,
  nodeName: string,
  name: string,
  told: Pick<Told, "first" | "last" | "count">
) => ({
  apiVersion: "v1",
  kind: "Event",
  metadata: { name, namespace: namespaceOf(event) },
  involvedObject: involved(event, nodeName),
  type: event.type,
  reason: event.reason,
  message: event.message.slice(0, MESSAGE_LIMIT),
  count: told.count,
  firstTimestamp: timeOf(told.first),
  lastTimestamp: timeOf(told.last),
  source: { component: "flock-agent", host: nodeName },
  reportingComponent: "flock-agent",
  reportingInstance: nodeName
})

export const make = Effect.fnUntraced(function*(client: Client, nodeName: string): Effect.fn.Return<Recorder> {
  const told = new Map<string, Told>()
  const due = yield* Queue.unbounded<Told>()
  let tokens = BURST
  let refilled = yield* Clock.currentTimeMillis

  const tell = (event: EventOn) =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const key = JSON.stringify([involved(event, nodeName), event.type, event.reason, event.message])
      const known = told.get(key)
      const entry: Told = known ?? { event, first: now, last: now, count: 0, name: undefined, queued: false }
      entry.count++
      entry.last = now
      told.delete(key)
      told.set(key, entry)
      if (told.size > REMEMBERED) told.delete(told.keys().next().value ?? key)
      if (entry.queued || (yield* Queue.size(due)) >= REMEMBERED) return
      entry.queued = true
      yield* Queue.offer(due, entry)
    })

  const token = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const more = Math.floor((now - refilled) / REFILL_MILLIS)
    if (tokens + more >= BURST) refilled = now
    else refilled += more * REFILL_MILLIS
    tokens = Math.min(BURST, tokens + more)
    if (tokens === 0) {
      yield* Effect.sleep(refilled + REFILL_MILLIS - now)
      refilled += REFILL_MILLIS
      tokens = 1
    }
    tokens--
  })

  const create = Effect.fnUntraced(function*(entry: Told) {
    const { event } = entry
    const subject = event.on.kind === "Pod" ? event.on.pod.name : nodeName
    const random = Math.floor((yield* Random.next) * 2 ** 48).toString(16).padStart(12, "0")
    const name = `${subject.slice(0, 230)}.${random}`
    const body = objectOf(event, nodeName, name, entry)
    yield* client.request({ verb: "create", resource: "events", path: collection(event), body })
    entry.name = name
  })

  const write = (entry: Told) =>
    entry.name === undefined
      ? create(entry)
      : client.request({
        verb: "patch",
        resource: "events",
        path: `${collection(entry.event)}/${entry.name}`,
        patch: "application/merge-patch+json",
        body: { count: entry.count, lastTimestamp: timeOf(entry.last) }
      }).pipe(
        // its time to live is over
        Effect.catchIf((e) => e.status === 404, () => create(entry))
      )

  const turn = Effect.gen(function*() {
    const entry = yield* Queue.take(due)
    yield* token
    entry.queued = false
    yield* write(entry).pipe(
      Effect.catchIf((e) => e.status === 0 || e.status === 429 || e.status >= 500, (e) =>
        Effect.gen(function*() {
          yield* Effect.logDebug(`Event not written yet: ${e.message}`)
          yield* Effect.sleep(REFILL_MILLIS)
          if ((yield* Clock.currentTimeMillis) - entry.last > STALE_MILLIS || entry.queued) return
          entry.queued = true
          yield* Queue.offer(due, entry)
        })),
      Effect.catch((e) => Effect.logWarning(`Event ${entry.event.reason} not written: ${e.message}`))
    )
  })

  return { tell, run: Effect.forever(turn) }
})
