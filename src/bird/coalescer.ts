/** Turns any number of requests into few reloads: the first at once, later ones together at the end of the window. */
import { type Duration, Effect, Fiber, Queue, Semaphore } from "effect"

export interface Coalescer {
  /** Returns at once. A request is never lost: it is followed by a whole reload that began after it. */
  readonly request: Effect.Effect<void>
  /** The loop that reloads; run it once, in the foreground. */
  readonly run: Effect.Effect<never>
}

/**
 * `reload` says whether it did anything. If so, or if it failed, the next one begins no earlier than `window` after
 * this one began: requests meanwhile become one more reload at the window's end. Never two at a time. One that fails is
 * repeated after the window, until it succeeds.
 */
export const makeCoalescer = Effect.fn("Bird.makeCoalescer")(function*<E>(options: {
  readonly reload: Effect.Effect<boolean, E>
  readonly window: Duration.Input
}): Effect.fn.Return<Coalescer> {
  // Holds one token at most: requests while one is waiting are that one.
  const due = yield* Queue.sliding<void>(1)
  const lock = yield* Semaphore.make(1)
  const request = Effect.asVoid(Queue.offer(due, undefined))
  const attempt = options.reload.pipe(
    Effect.catchCause((cause) =>
      Effect.logWarning("BIRD's configuration could not be applied, will be repeated", cause).pipe(
        Effect.andThen(request),
        Effect.as(true)
      )
    ),
    lock.withPermit
  )
  const once = Effect.gen(function*() {
    yield* Queue.take(due)
    const window = yield* Effect.forkChild(Effect.sleep(options.window))
    const reloaded = yield* attempt
    yield* reloaded ? Fiber.join(window) : Fiber.interrupt(window)
  })
  return { request, run: Effect.forever(once) }
})
