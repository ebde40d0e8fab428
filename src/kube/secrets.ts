/**
 * BGP passwords. A Secret is watched, by name and in flock's own namespace only, from the first time it is asked for until
 * it was not asked for in a while. Values are Redacted: no log, metric, status or error message can show them.
 */
import { Deferred, Effect, FiberMap, Option, PubSub, Redacted, Ref, type Scope, Stream } from "effect"
import type { SecretKeyRef } from "../domain/NodeConfig.ts"
import { record } from "../domain/record.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { sayChanges } from "../process/sayOnce.ts"
import type { Client } from "./client.ts"
import { KubeUnavailable } from "./KubeApi.ts"
import { listAndWatch, type Signal } from "./reflector.ts"
import { type BackOff, backOff } from "./reflectorState.ts"

/** A Secret that nobody asked for in this time is no longer watched. */
const FORGET_MILLIS = 3_600_000
const ANSWER_MILLIS = 12_000
const FORBIDDEN = 403

/** manifests/rbac.yaml grants Secrets by name. */
const grantHint = (name: string): string => `add "${name}" to resourceNames of the Role flock-agent`

type Values = Readonly<Record<string, Redacted.Redacted>>

/** What is known of one Secret. */
interface Known {
  /** Undefined until the API server said what there is; stays through later outages. */
  readonly values: Values | undefined
  /** Keys that were asked for. */
  readonly keys: ReadonlySet<string>
  /** When it was asked for last, of `monotonicMillis`. */
  readonly requestedAt: number
  readonly lastError: string
}

interface Watched {
  /** Once per reason. */
  readonly say: (reason: string) => Effect.Effect<void>
  readonly known: Ref.Ref<Known>
  readonly listed: Deferred.Deferred<void>
}

export const valuesOf = (object: unknown): Values =>
  Object.fromEntries(
    Object.entries(record(record(object)["data"]))
      .map(([key, value]) => [key, Redacted.make(Buffer.from(String(value), "base64").toString("utf8"))])
  )

const equal = (a: Redacted.Redacted | undefined, b: Redacted.Redacted | undefined): boolean =>
  a === undefined || b === undefined ? a === b : Redacted.value(a) === Redacted.value(b)

export interface Secrets {
  readonly get: (ref: SecretKeyRef) => Effect.Effect<Option.Option<Redacted.Redacted>, KubeUnavailable>
  readonly changes: Stream.Stream<SecretKeyRef>
}

const valuesIn = (signal: Exclude<Signal<Values>, { readonly _tag: "Failed" | "Resumed" }>): Values =>
  signal._tag === "Listed" ? signal.items[0] ?? {} : signal._tag === "Changed" ? signal.item : {}

/** Keys asked for whose value is another now; none at first, when whoever asked gets the value itself. */
export const changedKeys = ({ keys, values }: Pick<Known, "keys" | "values">, next: Values): ReadonlyArray<string> =>
  values === undefined ? [] : [...keys].filter((key) => !equal(values[key], next[key]))

export const make = Effect.fnUntraced(
  function*(
    client: Client,
    namespace: string,
    times: BackOff = backOff
  ): Effect.fn.Return<Secrets, never, Scope.Scope> {
    const watched = new Map<string, Watched>()
    const fibers = yield* FiberMap.make<string>()
    const changes = yield* PubSub.unbounded<SecretKeyRef>()

    const handle = Effect.fnUntraced(function*({ known, listed, say }: Watched, name: string, signal: Signal<Values>) {
      if (signal._tag === "Failed") {
        const { status } = signal.error
        const lastError = status === FORBIDDEN ? `${signal.error.message}; ${grantHint(name)}` : signal.error.message
        yield* Ref.update(known, (before) => ({ ...before, lastError }))
        // an answer as well: whoever waits for one need not wait longer
        if (status === FORBIDDEN) yield* Deferred.succeed(listed, undefined)
        return yield* say(lastError)
      }
      yield* say("")
      if (signal._tag === "Resumed") return
      const values = valuesIn(signal)
      const keys = changedKeys(yield* Ref.get(known), values)
      yield* Ref.update(known, (before) => ({ ...before, values }))
      yield* Deferred.succeed(listed, undefined)
      yield* PubSub.publishAll(changes, keys.map((key) => ({ name, key })))
    })

    const watch = Effect.fnUntraced(function*(name: string, now: number) {
      const secret: Watched = {
        known: Ref.makeUnsafe<Known>({
          values: undefined,
          keys: new Set(),
          requestedAt: now,
          lastError: "no answer yet"
        }),
        listed: Deferred.makeUnsafe(),
        say: sayChanges((reason) => Effect.logWarning(`Secret ${namespace}/${name}: ${reason}`))
      }
      watched.set(name, secret)
      const resource = {
        name: "secrets",
        object: name,
        path: `/api/v1/namespaces/${namespace}/secrets`,
        fieldSelector: `metadata.name=${name}`,
        decode: valuesOf
      }
      yield* FiberMap.run(
        fibers,
        name,
        Stream.runForEach(listAndWatch(client, resource, times), (signal) => handle(secret, name, signal))
      )
      return secret
    })

    const forget = Effect.fnUntraced(function*(now: number) {
      for (const [name, { known }] of watched) {
        if (now - (yield* Ref.get(known)).requestedAt < FORGET_MILLIS) continue
        watched.delete(name)
        yield* FiberMap.remove(fibers, name)
      }
    })

    const get = Effect.fnUntraced(function*(ref: SecretKeyRef) {
      const now = yield* monotonicMillis
      yield* forget(now)
      const { known, listed } = watched.get(ref.name) ?? (yield* watch(ref.name, now))
      yield* Ref.update(known, (before) => ({ ...before, requestedAt: now, keys: new Set([...before.keys, ref.key]) }))
      const unavailable = Effect.flatMap(Ref.get(known), ({ lastError }) =>
        Effect.fail(
          new KubeUnavailable({ message: `Secret ${namespace}/${ref.name} cannot be read: ${lastError}` })
        ))
      yield* Effect.timeoutOrElse(Deferred.await(listed), { duration: ANSWER_MILLIS, orElse: () => unavailable })
      const { values } = yield* Ref.get(known)
      return values === undefined ? yield* unavailable : Option.fromUndefinedOr(values[ref.key])
    })

    return { get, changes: Stream.fromPubSub(changes) }
  }
)
