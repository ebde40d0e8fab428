/** The watches that are open, and when something last came on each. */
import { Deferred, Effect, type Scope } from "effect"
import { monotonicMillis } from "../process/monotonic.ts"

export interface OpenWatch {
  /** Something came. */
  readonly heard: Effect.Effect<void>
  /** Ends when the watch is given up. */
  readonly givenUp: Effect.Effect<void>
}

export class OpenWatches {
  /** Of `monotonicMillis`. */
  readonly #heardAt = new Map<Deferred.Deferred<void>, number>()

  /** Until the scope ends. */
  readonly open: Effect.Effect<OpenWatch, never, Scope.Scope> = Effect.suspend(() => {
    const end = Deferred.makeUnsafe<void>()
    const heard = Effect.map(monotonicMillis, (now) => void this.#heardAt.set(end, now))
    return Effect.acquireRelease(heard, () => Effect.sync(() => this.#heardAt.delete(end))).pipe(
      Effect.as({ heard, givenUp: Deferred.await(end) })
    )
  })

  /** Those on which nothing came for so long. */
  giveUpSilent(millis: number): Effect.Effect<void> {
    return Effect.flatMap(monotonicMillis, (now) =>
      Effect.forEach(
        [...this.#heardAt].filter(([, last]) => now - last >= millis),
        ([end]) => Deferred.succeed(end, undefined),
        { discard: true }
      ))
  }
}
