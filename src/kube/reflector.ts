/**
 * List and watch, as one endless Stream per resource: list, watch from the list's version with bookmarks, resume where a
 * watch ended, list again when the server has forgotten that version (410), back off with jitter while it does not answer.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
import { Clock, Effect, Random, Stream } from "effect"
import { record } from "../domain/record.ts"
import { ApiError } from "./access.ts"
import type { Client, WatchEvent } from "./client.ts"

/** `A` is what flock keeps of an object; the rest is let go at once. */
export type Signal<A> =
  /** Everything there is: whatever is not in `items` is gone. */
  | { readonly _tag: "Listed"; readonly items: ReadonlyArray<A> }
  | { readonly _tag: "Changed"; readonly item: A }
  | { readonly _tag: "Removed"; readonly item: A }
  /** Emitted once per failed attempt, before the back-off. */
  | { readonly _tag: "Failed"; readonly error: ApiError }

export interface Resource<A> {
  /** Of RBAC, such as `pods`. */
  readonly name: string
  /** Of the collection, such as `/api/v1/pods`. */
  readonly path: string
  /** Evaluated by the server, such as `spec.nodeName=host001`. */
  readonly fieldSelector: string
  /** `undefined`: not an object of this kind; left out. */
  readonly decode: (object: unknown) => A | undefined
}

/** Milliseconds. */
export interface BackOff {
  readonly first: number
  readonly most: number
}

export const backOff: BackOff = { first: 200, most: 30_000 }

/** Exponential, half of it random: a thousand agents must not return to a restarted API server in one instant. */
export const delayOf = (attempt: number, random: number, { first, most }: BackOff = backOff): number =>
  Math.min(most, first * 2 ** Math.min(attempt - 1, 20)) * (0.5 + random / 2)

const versionOf = (object: unknown): string | undefined => {
  const version = record(record(object)["metadata"])["resourceVersion"]
  return typeof version === "string" && version !== "" ? version : undefined
}

const PAGE = 500

/** How a list may be served: `"0"`: from the server's cache; a version: not older than that; `""`: from etcd. */
type Floor = string

const list = Effect.fnUntraced(function*<A>(client: Client, resource: Resource<A>, floor: Floor) {
  const items: Array<A> = []
  let token = ""
  while (true) {
    const page = record(
      yield* client.request({
        verb: "list",
        resource: resource.name,
        path: resource.path,
        query: {
          fieldSelector: resource.fieldSelector,
          limit: String(PAGE),
          ...(token !== "" ? { continue: token } : floor !== "" ? { resourceVersion: floor } : {})
        }
      })
    )
    for (const object of Array.isArray(page["items"]) ? page["items"] : []) {
      const item = resource.decode(object)
      if (item !== undefined) items.push(item)
    }
    const next = record(page["metadata"])["continue"]
    if (typeof next !== "string" || next === "") {
      const version = versionOf(page)
      if (version !== undefined) return { items, version }
      return yield* new ApiError({ message: `GET ${resource.path}: a list without a resourceVersion`, status: 0 })
    }
    token = next
  }
})

/** An `ERROR` event's object is a meta/v1 Status. */
const codeOf = (status: unknown): number => Number(record(status)["code"] ?? 0)

export const signals = <A>(
  client: Client,
  resource: Resource<A>,
  times: BackOff = backOff
): Stream.Stream<Signal<A>> =>
  Stream.suspend(() => {
    let resume: string | undefined
    let floor: Floor = "0"
    let attempt = 0
    /** Least number of milliseconds to wait before the next request; `undefined`: none. */
    let pause: number | undefined

    const failed = (error: ApiError): Signal<A> => {
      attempt++
      pause = (error.retryAfterSeconds ?? 0) * 1000
      return { _tag: "Failed", error }
    }

    const signalOf = ({ object, type }: WatchEvent): Signal<A> | undefined => {
      if (type === "ERROR") {
        resume = undefined
        if (codeOf(object) === 410) floor = ""
        attempt++
        pause = 0
        return undefined
      }
      const version = versionOf(object)
      if (version !== undefined) floor = resume = version
      attempt = 0
      const item = type === "BOOKMARK" ? undefined : resource.decode(object)
      return item === undefined ? undefined : { _tag: type === "DELETED" ? "Removed" : "Changed", item }
    }

    const relist = Effect.gen(function*() {
      const { items, version } = yield* list(client, resource, floor)
      floor = resume = version
      return Stream.succeed<Signal<A>>({ _tag: "Listed", items })
    }).pipe(Effect.catch((error) => {
      // 410: page or version expired; 504: the version is ahead of the server's cache (an etcd restored from backup)
      if (error.status === 410 || error.status === 504 || error.status === 400) floor = ""
      return Effect.succeed(Stream.succeed(failed(error)))
    }))

    const watch = (version: string, began: number, seconds: number): Stream.Stream<Signal<A>> =>
      client.watch({
        verb: "watch",
        resource: resource.name,
        path: resource.path,
        query: {
          watch: "true",
          allowWatchBookmarks: "true",
          fieldSelector: resource.fieldSelector,
          resourceVersion: version,
          timeoutSeconds: String(seconds)
        }
      }).pipe(
        Stream.takeUntil((event) => event.type === "ERROR"),
        Stream.map(signalOf),
        Stream.filter((signal) => signal !== undefined),
        Stream.onEnd(Effect.map(Clock.currentTimeMillis, (now) => {
          // a server that ends watches at once must not be asked in a loop
          if (now - began < 1000 && pause === undefined) {
            attempt++
            pause = 0
          }
        })),
        Stream.catch((error) => {
          const lost = error.status === 0 || error.status === 429 || error.status >= 500
          if (!lost) resume = undefined
          if (error.status === 410) floor = ""
          return Stream.succeed(failed(error))
        })
      )

    const cycle = Stream.unwrap(Effect.gen(function*() {
      if (pause !== undefined) yield* Effect.sleep(Math.max(pause, delayOf(attempt, yield* Random.next, times)))
      pause = undefined
      if (resume === undefined) return yield* relist
      const seconds = 240 + Math.floor(240 * (yield* Random.next))
      return watch(resume, yield* Clock.currentTimeMillis, seconds)
    }))
    return Stream.forever(cycle)
  })
