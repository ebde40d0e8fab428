/** Turns any number of requests into few reloads: the first at once, later ones together at the end of the window. */
import { type Duration, Effect, Queue, Semaphore } from "effect"

export interface Coalescer {
  /** Returns at once. A request is never lost: it is followed by a whole reload that began after it. */
  readonly request: Effect.Effect<void>
  /** The loop that reloads; run it once, in the foreground. */
  readonly run: Effect.Effect<never>
}

/**
 * `reload` runs at most once per `window`, counted from start to start and never two at a time; a request while one
 * runs, or before the window ends, becomes one more reload at the end of the window. One that fails is repeated after
 * the window, until it succeeds.
 */
export const makeCoalescer = Effect.fn("Bird.makeCoalescer")(function*<E>(options: {
  readonly reload: Effect.Effect<void, E>
  readonly window: Duration.Input
}): Effect.fn.Return<Coalescer> {
  // Holds one token at most: requests while one is waiting are that one.
  const due = yield* Queue.sliding<void>(1)
  const lock = yield* Semaphore.make(1)
  const request = Effect.asVoid(Queue.offer(due, undefined))
  const once = Effect.fnUntraced(function*() {
    yield* Queue.take(due)
    const attempt = options.reload.pipe(
      Effect.catchCause((cause) =>
        Effect.logWarning("BIRD reload failed, will be repeated", cause).pipe(Effect.andThen(request))
      )
    )
    yield* Effect.all([lock.withPermit(attempt), Effect.sleep(options.window)], {
      concurrency: "unbounded",
      discard: true
    })
  })
  return { request, run: Effect.forever(once()) }
})
