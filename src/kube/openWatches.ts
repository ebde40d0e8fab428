/** The watches: which are open, and when something last came for each list and watch, over all its connections. */
import { Deferred, Effect, type Scope } from "effect"
import { monotonicMillis } from "../process/monotonic.ts"
import type { WatchStatus } from "./apiHealth.ts"

/** What is listed and watched. */
export interface Subject {
  /** Of RBAC, such as `pods`. */
  readonly resource: string
  /** The only object, such as a Secret's name. */
  readonly object?: string
}

export interface OpenWatch {
  /** Something came. */
  readonly heard: Effect.Effect<void>
  /** Ends when the watch is given up. */
  readonly givenUp: Effect.Effect<void>
}

interface Heard {
  /** Of `monotonicMillis`: the last answer, or when it began to be asked for. */
  readonly at: number
  readonly ever: boolean
}

export class OpenWatches {
  /** Of connections; values of `monotonicMillis`. */
  readonly #heardAt = new Map<Deferred.Deferred<void>, number>()
  readonly #followed = new Map<Subject, Heard>()

  /** Its silence is counted until the scope ends. */
  follow(subject: Subject): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.map(monotonicMillis, (at) => void this.#followed.set(subject, { at, ever: false })),
      () => Effect.sync(() => this.#followed.delete(subject))
    )
  }

  /** A list was answered, a watch opened, or something came on it. */
  heard(subject: Subject | undefined): Effect.Effect<void> {
    return Effect.map(monotonicMillis, (at) => {
      if (subject !== undefined && this.#followed.has(subject)) this.#followed.set(subject, { at, ever: true })
    })
  }

  /** A connection, until the scope ends. */
  open(subject: Subject | undefined): Effect.Effect<OpenWatch, never, Scope.Scope> {
    return Effect.suspend(() => {
      const end = Deferred.makeUnsafe<void>()
      const heard = Effect.andThen(
        this.heard(subject),
        Effect.map(monotonicMillis, (now) => void this.#heardAt.set(end, now))
      )
      return Effect.acquireRelease(heard, () => Effect.sync(() => this.#heardAt.delete(end))).pipe(
        Effect.as({ heard, givenUp: Deferred.await(end) })
      )
    })
  }

  /** Gives up the connections on which nothing came for so long. */
  giveUpSilent(millis: number): Effect.Effect<void> {
    return Effect.flatMap(monotonicMillis, (now) =>
      Effect.forEach(
        [...this.#heardAt].filter(([, last]) => now - last >= millis),
        ([end]) => Deferred.succeed(end, undefined),
        { discard: true }
      ))
  }

  readonly status: Effect.Effect<ReadonlyArray<WatchStatus>> = Effect.map(
    monotonicMillis,
    (now) =>
      [...this.#followed].map(([subject, { at, ever }]) => ({
        ...subject,
        ever,
        silentSeconds: Math.floor((now - at) / 1000)
      }))
  )
}
