/**
 * List and watch, as one endless Stream per resource, as client-go's reflector does it: list, watch from the list's version
 * with bookmarks, resume where a watch ended, list again when the server has forgotten that version (410), back off with
 * jitter while it refuses, and while it does not answer wait for one who asks for all.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
import { Effect, MutableRef, Random, Stream } from "effect"
import { record } from "../domain/record.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { ApiError } from "./access.ts"
import { nameOf } from "./apiHealth.ts"
import type { Client } from "./client.ts"
import type { Subject } from "./openWatches.ts"
import { type BackOff, backOff, initial, type Input, step, versionOf, waitOf } from "./reflectorState.ts"
import type { WatchEvent } from "./watchEvents.ts"

/** `A` is what flock keeps of an object; the rest is let go at once. */
export type Signal<A> =
  /** Everything there is: whatever is not in `items` is gone. */
  | { readonly _tag: "Listed"; readonly items: ReadonlyArray<A> }
  | { readonly _tag: "Changed"; readonly item: A }
  | { readonly _tag: "Removed"; readonly item: A }
  /** Emitted once per failed attempt, before the back-off. */
  | { readonly _tag: "Failed"; readonly error: ApiError }
  /** After failures, a watch says something again; what changed meanwhile is said by itself. */
  | { readonly _tag: "Resumed" }

export interface Resource<A> {
  /** Of RBAC, such as `pods`. */
  readonly name: string
  /** Of the collection, such as `/api/v1/pods`. */
  readonly path: string
  /** The only object that is asked for, where that tells it from others of its kind. */
  readonly object?: string
  /** Evaluated by the server, such as `spec.nodeName=host001`. */
  readonly fieldSelector: string
  /** `undefined`: not an object of this kind; left out. */
  readonly decode: (object: unknown) => A | undefined
}

/** Objects of one page of a list from etcd: for the server's sake, not for ours. */
const PAGE = 100

/**
 * With a `limit` a server before 1.34 reads from etcd whatever `resourceVersion` says, but for "0": all pods of the cluster for
 * each node's. So pages only where etcd is meant, as client-go does.
 */
const from = (minimumVersion: string, token: string) =>
  token !== ""
    ? { limit: String(PAGE), continue: token }
    : minimumVersion === ""
    ? { limit: String(PAGE) }
    : { resourceVersion: minimumVersion }

const list = Effect.fnUntraced(function*<A>(
  client: Client,
  subject: Subject,
  resource: Resource<A>,
  minimumVersion: string
) {
  const items: Array<A> = []
  let token = ""
  while (true) {
    const page = record(
      yield* client.list({
        verb: "list",
        subject,
        resource: resource.name,
        path: resource.path,
        query: {
          fieldSelector: resource.fieldSelector,
          ...from(minimumVersion, token)
        }
      }, (object) => {
        const item = resource.decode(object)
        if (item !== undefined) items.push(item)
      })
    )
    const next = record(page["metadata"])["continue"]
    if (typeof next !== "string" || next === "") {
      const version = versionOf(page)
      if (version !== undefined) return { items, version }
      return yield* new ApiError({ message: `GET ${resource.path}: a list without a resourceVersion`, status: 0 })
    }
    token = next
  }
})

const watch = <A>(client: Client, subject: Subject, resource: Resource<A>, version: string, seconds: number) =>
  client.watch({
    verb: "watch",
    subject,
    resource: resource.name,
    path: resource.path,
    query: {
      watch: "true",
      allowWatchBookmarks: "true",
      fieldSelector: resource.fieldSelector,
      resourceVersion: version,
      timeoutSeconds: String(seconds)
    }
  })

const signalOf = <A>({ decode }: Resource<A>, { object, type }: WatchEvent): Signal<A> | undefined => {
  const item = type === "ERROR" || type === "BOOKMARK" ? undefined : decode(object)
  return item === undefined ? undefined : { _tag: type === "DELETED" ? "Removed" : "Changed", item }
}

export const listAndWatch = <A>(
  client: Client,
  resource: Resource<A>,
  times: BackOff = backOff
): Stream.Stream<Signal<A>> =>
  Stream.suspend(() => {
    const subject: Subject = {
      resource: resource.name,
      ...(resource.object === undefined ? {} : { object: resource.object })
    }
    const state = MutableRef.make(initial)
    const on = (input: Input) => MutableRef.update(state, (before) => step(before, input))
    /** A failure was told, and nothing since. */
    const silenced = MutableRef.make(false)
    const failed = (error: ApiError): Signal<A> => {
      MutableRef.set(silenced, true)
      return { _tag: "Failed", error }
    }

    const listed = (minimumVersion: string): Effect.Effect<Signal<A>> =>
      Effect.match(list(client, subject, resource, minimumVersion), {
        onSuccess: ({ items, version }) => {
          on({ _tag: "Listed", version })
          MutableRef.set(silenced, false)
          return { _tag: "Listed", items }
        },
        onFailure: (error) => {
          on({ _tag: "ListFailed", error })
          return failed(error)
        }
      })

    const watched = (version: string, began: number, seconds: number): Stream.Stream<Signal<A>> =>
      watch(client, subject, resource, version, seconds).pipe(
        Stream.takeUntil((event) => event.type === "ERROR"),
        Stream.map((event): Signal<A> | undefined => {
          on({ _tag: "Event", event })
          const resumed = event.type !== "ERROR" && MutableRef.getAndSet(silenced, false)
          return signalOf(resource, event) ?? (resumed ? { _tag: "Resumed" } : undefined)
        }),
        Stream.filter((signal) => signal !== undefined),
        Stream.onEnd(Effect.map(monotonicMillis, (now) => {
          on({ _tag: "WatchEnded", lastedMillis: now - began })
        })),
        Stream.catch((error) => {
          if (error._tag === "WatchSilent") {
            on({ _tag: "WatchSilent" })
            return Stream.fromEffectDrain(
              Effect.logDebug(`the watch of ${nameOf(subject)} was silent for ${error.millis} ms and is opened anew`)
            )
          }
          on({ _tag: "WatchFailed", error })
          return Stream.succeed(failed(error))
        })
      )

    const cycle = Stream.unwrap(Effect.gen(function*() {
      if (MutableRef.get(state).away) yield* client.outage.end(times.most * (0.5 + (yield* Random.next) / 2))
      const wait = waitOf(MutableRef.get(state), yield* Random.next, times)
      if (wait > 0) yield* Effect.sleep(wait)
      const { minimumVersion, watchFrom } =
        MutableRef.update(state, (before) => ({ ...before, pause: undefined, away: false })).current
      if (watchFrom === undefined) return Stream.fromEffect(listed(minimumVersion))
      const seconds = 240 + Math.floor(240 * (yield* Random.next))
      return watched(watchFrom, yield* monotonicMillis, seconds)
    }))
    return Stream.unwrap(Effect.as(client.watches.follow(subject), Stream.forever(cycle)))
  })
