/**
 * Gives memory back that malloc holds on to. Compiling the bundle takes some 25 MB for a moment, and a burst of calls
 * takes more; glibc keeps freed memory of that kind until asked (malloc_trim(3)).
 */
import { Effect, Schedule } from "effect"
import koffi from "koffi"

/** Bytes of growth since the last time that make it worth the while: looking costs microseconds, trimming milliseconds. */
const WORTHWHILE = 8 * 1024 * 1024

/** Resolves on a pool thread; undefined where the C library has no such function (musl gives memory back by itself). */
const findTrim = (): ((done: () => void) => void) | undefined => {
  try {
    const call = koffi.load(null).func("int malloc_trim(size_t)")
    return (done) => void call.async(0, done)
  } catch {
    return undefined
  }
}

/** Trims two seconds after the start, and from then on every ten seconds where the process has grown. Never ends. */
export const keepTrimmed: Effect.Effect<never> = Effect.gen(function*() {
  const trim = findTrim()
  if (trim === undefined) return yield* Effect.never
  let least = 0
  const trimIfGrown = Effect.gen(function*() {
    if (process.memoryUsage.rss() < least + WORTHWHILE) return
    yield* Effect.callback<void>((resume) => trim(() => resume(Effect.void)))
    least = process.memoryUsage.rss()
  })
  return yield* trimIfGrown.pipe(
    Effect.delay("2 seconds"),
    Effect.andThen(Effect.repeat(trimIfGrown, Schedule.spaced("10 seconds"))),
    Effect.andThen(Effect.never)
  )
})
