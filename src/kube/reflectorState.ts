/**
 * Where a reflector stands: from which version it lists or watches, and how long it waits before. Pure: what the API server
 * said goes in, the next state comes out.
 */
import { record } from "../domain/record.ts"
import type { ApiError } from "./access.ts"
import type { WatchEvent } from "./watchEvents.ts"

/** Milliseconds. */
export interface BackOff {
  readonly first: number
  readonly most: number
}

export const backOff: BackOff = { first: 200, most: 30_000 }

/** Exponential, half of it random: a thousand agents must not return to a restarted API server in one instant. */
export const delayOf = (attempt: number, random: number, { first, most }: BackOff = backOff): number =>
  Math.min(most, first * 2 ** Math.min(attempt - 1, 20)) * (0.5 + random / 2)

export interface State {
  /** Version to watch from; undefined: list first. */
  readonly watchFrom: string | undefined
  /**
   * How a list may be served: `"0"`: from the server's cache; a version: not older than that; `""`: from etcd.
   * https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
   */
  readonly minimumVersion: string
  /** Attempts in a row that came to nothing. */
  readonly failures: number
  /** Least number of milliseconds to wait before the next request; undefined: none. */
  readonly pause: number | undefined
  /** The last request had no answer, or a proxy's: whoever waits, waits for the server's end of that. */
  readonly away: boolean
}

export type Input =
  | { readonly _tag: "Listed"; readonly version: string }
  | { readonly _tag: "ListFailed"; readonly error: ApiError }
  | { readonly _tag: "Event"; readonly event: WatchEvent }
  | { readonly _tag: "WatchFailed"; readonly error: ApiError }
  | { readonly _tag: "WatchEnded"; readonly lastedMillis: number }
  /** Nothing came for long, not even a bookmark. */
  | { readonly _tag: "WatchSilent" }

export const initial: State = { watchFrom: undefined, minimumVersion: "0", failures: 0, pause: undefined, away: false }

/** A server that ends watches sooner must not be asked in a loop. */
const SHORT_MILLIS = 1000

export const versionOf = (object: unknown): string | undefined => {
  const version = record(record(object)["metadata"])["resourceVersion"]
  return typeof version === "string" && version !== "" ? version : undefined
}

const failed = (state: State, pause = 0, away = false): State => ({
  ...state,
  failures: state.failures + 1,
  pause,
  away
})

/** No answer; or that of a proxy with nothing behind it, and of a server that starts. */
const AWAY: ReadonlySet<number> = new Set([0, 502, 503])

const refused = (state: State, { retryAfterSeconds = 0, status }: ApiError): State =>
  failed(state, retryAfterSeconds * 1000, AWAY.has(status))

const onEvent = (state: State, { object, type }: WatchEvent): State => {
  if (type === "ERROR") return failed({ ...state, watchFrom: undefined })
  const version = versionOf(object)
  return { ...state, failures: 0, ...(version === undefined ? {} : { watchFrom: version, minimumVersion: version }) }
}

export const step = (state: State, input: Input): State => {
  switch (input._tag) {
    case "Listed":
      return { ...state, watchFrom: input.version, minimumVersion: input.version }
    case "ListFailed": {
      // 410: page or version expired; 504: the version is ahead of the server's cache (an etcd restored from backup)
      const fromEtcd = [400, 410, 504].includes(input.error.status)
      return refused(fromEtcd ? { ...state, minimumVersion: "" } : state, input.error)
    }
    case "Event":
      return onEvent(state, input.event)
    case "WatchFailed": {
      const { status } = input.error
      const mayResume = status === 0 || status === 429 || status >= 500
      // 410 too is followed by a list that the cache can answer: after its restart a server has forgotten what all watches of
      // all nodes go on from, and their lists come at once.
      return refused({ ...state, watchFrom: mayResume ? state.watchFrom : undefined }, input.error)
    }
    case "WatchEnded":
      return input.lastedMillis < SHORT_MILLIS && state.pause === undefined ? failed(state) : state
    case "WatchSilent":
      // No failure: its end came at a time by chance already, and a server that is away shows when it is asked.
      return state
  }
}

/** Milliseconds to wait before the next request; `random` from 0 to 1. */
export const waitOf = ({ failures, pause }: State, random: number, times: BackOff): number =>
  pause === undefined ? 0 : Math.max(pause, delayOf(failures, random, times))
