/**
 * BGP passwords. A Secret is watched, by name and in flock's own namespace only, from the first time it is asked for until
 * it was not asked for in a while. Values are Redacted: no log, metric, status or error message can show them.
 */
import { Clock, Deferred, Effect, FiberMap, Option, PubSub, Redacted, type Scope, Stream } from "effect"
import type { SecretKeyRef } from "../domain/NodeConfig.ts"
import { record } from "../domain/record.ts"
import type { Client } from "./client.ts"
import { KubeUnavailable } from "./KubeApi.ts"
import { type BackOff, backOff, type Signal, signals } from "./reflector.ts"

/** A Secret that nobody asked for in this time is no longer watched. */
const FORGET_MILLIS = 3_600_000
const ANSWER_MILLIS = 12_000

type Values = Readonly<Record<string, Redacted.Redacted>>

interface Watched {
  readonly listed: Deferred.Deferred<void>
  /** Whether `values` is what the API server said; stays true through later outages. */
  known: boolean
  values: Values
  readonly keys: Set<string>
  asked: number
  why: string
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

export const make = Effect.fnUntraced(
  function*(
    client: Client,
    namespace: string,
    times: BackOff = backOff
  ): Effect.fn.Return<Secrets, never, Scope.Scope> {
    const watched = new Map<string, Watched>()
    const fibers = yield* FiberMap.make<string>()
    const changes = yield* PubSub.unbounded<SecretKeyRef>()

    const handle = Effect.fnUntraced(function*(name: string, secret: Watched, signal: Signal<Values>) {
      if (signal._tag === "Failed") {
        secret.why = signal.error.message
        return yield* Effect.logWarning(`Secret ${namespace}/${name}: ${signal.error.message}`)
      }
      const before = secret.values
      const first = !secret.known
      secret.values = signal._tag === "Listed" ? signal.items[0] ?? {} : signal._tag === "Changed" ? signal.item : {}
      secret.known = true
      yield* Deferred.succeed(secret.listed, undefined)
      if (first) return
      for (const key of secret.keys) {
        if (!equal(before[key], secret.values[key])) yield* PubSub.publish(changes, { name, key })
      }
    })

    const watch = Effect.fnUntraced(function*(name: string, now: number) {
      const listed = Deferred.makeUnsafe<void>()
      const secret: Watched = { listed, known: false, values: {}, keys: new Set(), asked: now, why: "no answer yet" }
      watched.set(name, secret)
      const resource = {
        name: "secrets",
        path: `/api/v1/namespaces/${namespace}/secrets`,
        fieldSelector: `metadata.name=${name}`,
        decode: valuesOf
      }
      yield* FiberMap.run(
        fibers,
        name,
        Stream.runForEach(signals(client, resource, times), (signal) => handle(name, secret, signal))
      )
      return secret
    })

    const forget = Effect.fnUntraced(function*(now: number) {
      for (const [name, secret] of watched) {
        if (now - secret.asked < FORGET_MILLIS) continue
        watched.delete(name)
        yield* FiberMap.remove(fibers, name)
      }
    })

    const get = Effect.fnUntraced(function*(ref: SecretKeyRef) {
      const now = yield* Clock.currentTimeMillis
      yield* forget(now)
      const secret = watched.get(ref.name) ?? (yield* watch(ref.name, now))
      secret.asked = now
      secret.keys.add(ref.key)
      yield* Deferred.await(secret.listed).pipe(Effect.timeoutOrElse({
        duration: ANSWER_MILLIS,
        orElse: () =>
          Effect.fail(
            new KubeUnavailable({ message: `Secret ${namespace}/${ref.name} cannot be read: ${secret.why}` })
          )
      }))
      return Option.fromUndefinedOr(secret.values[ref.key])
    })

    return { get, changes: Stream.fromPubSub(changes) }
  }
)
