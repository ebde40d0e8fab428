/**
 * Events (core/v1) on Pods and the Node, as client-go's recorder writes them. The same thing said again raises `count` of
 * the Event written before; writing is rate-limited and done by {@link Recorder.run}, so that recording never waits, never
 * fails and never floods the API.
 */
import { Clock, Effect, Queue, Random, Ref } from "effect"
import { oneLine } from "../domain/quote.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import type { ApiError } from "./access.ts"
import type { Client } from "./client.ts"
import type { EventOn } from "./KubeApi.ts"
import { timeOf } from "./nodeCondition.ts"
import * as TokenBucket from "./tokenBucket.ts"

/** Different Events remembered; the one recorded longest ago is forgotten first. */
const REMEMBERED = 512
const LIMIT: TokenBucket.Limit = { burst: 25, refillMillis: 5000 }
const RETRY_MILLIS = 5000
/** The API server forgets Events after an hour (`--event-ttl`); what could not be written for so long is not news. */
const STALE_MILLIS = 600_000
const MESSAGE_LIMIT = 1024

export interface Recorder {
  readonly record: (event: EventOn) => Effect.Effect<void>
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

/** How often something was said, and when: Unix milliseconds, for people. */
export interface Series {
  readonly first: number
  readonly last: number
  readonly count: number
}

export const objectOf = (event: EventOn, nodeName: string, name: string, series: Series) => ({
  apiVersion: "v1",
  kind: "Event",
  metadata: { name, namespace: namespaceOf(event) },
  involvedObject: involved(event, nodeName),
  type: event.type,
  reason: event.reason,
  message: oneLine(event.message).slice(0, MESSAGE_LIMIT),
  count: series.count,
  firstTimestamp: timeOf(series.first),
  lastTimestamp: timeOf(series.last),
  source: { component: "flock-agent", host: nodeName },
  reportingComponent: "flock-agent",
  reportingInstance: nodeName
})

/** One thing that was said, however often. */
class Entry {
  readonly event: EventOn
  /** Name of the Event object, once it is written. */
  name: string | undefined
  queued = false
  /** When it was said last, of `monotonicMillis`. */
  recordedAt = 0
  #series: Series

  constructor(event: EventOn, now: number) {
    this.event = event
    this.#series = { first: now, last: now, count: 0 }
  }

  get series(): Series {
    return this.#series
  }

  repeat(now: number): void {
    this.#series = { ...this.#series, last: now, count: this.#series.count + 1 }
  }
}

/** Which Events are the same. */
class Correlator {
  readonly #entries = new Map<string, Entry>()
  readonly #nodeName: string

  constructor(nodeName: string) {
    this.#nodeName = nodeName
  }

  observe(event: EventOn, now: number): Entry {
    const key = JSON.stringify([involved(event, this.#nodeName), event.type, event.reason, event.message])
    const entry = this.#entries.get(key) ?? new Entry(event, now)
    entry.repeat(now)
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    if (this.#entries.size > REMEMBERED) this.#entries.delete(this.#entries.keys().next().value ?? key)
    return entry
  }
}

const makeWriter = (client: Client, nodeName: string) => {
  const create = Effect.fnUntraced(function*(entry: Entry): Effect.fn.Return<void, ApiError> {
    const { event } = entry
    const subject = event.on.kind === "Pod" ? event.on.pod.name : nodeName
    const random = Math.floor((yield* Random.next) * 2 ** 48).toString(16).padStart(12, "0")
    // A DNS subdomain: 253 characters, and none of its labels ends in a hyphen or is empty.
    const name = `${subject.slice(0, 230).replace(/[-.]+$/, "")}.${random}`
    const body = objectOf(event, nodeName, name, entry.series)
    yield* client.request({ verb: "create", resource: "events", path: collection(event), body }).pipe(
      // it was sent twice, and the first one's answer was lost
      Effect.catchIf((e) => e.status === 409, () => Effect.void)
    )
    entry.name = name
  })

  return (entry: Entry): Effect.Effect<unknown, ApiError> =>
    entry.name === undefined
      ? create(entry)
      : client.request({
        verb: "patch",
        resource: "events",
        path: `${collection(entry.event)}/${entry.name}`,
        patch: "application/merge-patch+json",
        body: { count: entry.series.count, lastTimestamp: timeOf(entry.series.last) }
      }).pipe(
        // its time to live is over
        Effect.catchIf((e) => e.status === 404, () => create(entry))
      )
}

export const make = Effect.fnUntraced(function*(client: Client, nodeName: string): Effect.fn.Return<Recorder> {
  const correlator = new Correlator(nodeName)
  const write = makeWriter(client, nodeName)
  const due = yield* Queue.unbounded<Entry>()
  const bucket = yield* Ref.make(TokenBucket.full(LIMIT, yield* monotonicMillis))

  const enqueue = (entry: Entry) => {
    if (entry.queued) return Effect.void
    entry.queued = true
    return Queue.offer(due, entry)
  }

  const token = Effect.gen(function*() {
    const now = yield* monotonicMillis
    const wait = yield* Ref.modify(bucket, (before) => {
      const [after, millis] = TokenBucket.take(LIMIT, before, now)
      return [millis, after]
    })
    if (wait > 0) yield* Effect.sleep(wait)
  })

  const retryLater = (entry: Entry) =>
    Effect.fnUntraced(function*(e: ApiError) {
      yield* Effect.logDebug(`Event not written yet: ${e.message}`)
      yield* Effect.sleep(RETRY_MILLIS)
      if ((yield* monotonicMillis) - entry.recordedAt <= STALE_MILLIS) yield* enqueue(entry)
    })

  const writeNext = Effect.gen(function*() {
    const entry = yield* Queue.take(due)
    yield* token
    entry.queued = false
    yield* write(entry).pipe(
      Effect.catchIf((e) => e.status === 0 || e.status === 429 || e.status >= 500, retryLater(entry)),
      Effect.catch((e) => Effect.logWarning(`Event ${entry.event.reason} not written: ${e.message}`))
    )
  })

  return {
    record: (event) =>
      Effect.gen(function*() {
        const entry = correlator.observe(event, yield* Clock.currentTimeMillis)
        entry.recordedAt = yield* monotonicMillis
        if ((yield* Queue.size(due)) < REMEMBERED) yield* enqueue(entry)
      }),
    run: Effect.forever(writeNext)
  }
})
