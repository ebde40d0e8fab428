/** How late the event loop runs while calls are served. Idle agents measure nothing: sampling wakes the process. */
import { Effect, Metric } from "effect"

/** Milliseconds between samples; what is beyond is the delay. */
const INTERVAL = 1

/** Sampling goes on for this many milliseconds after the last call. */
const LINGER = 1000

export const delays = Metric.histogram("flock_event_loop_delay_seconds", {
  description: "How late the event loop ran, sampled every millisecond while calls were served",
  boundaries: [0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1000].map((ms) => ms / 1000)
})

export interface LoopDelay {
  /** A call came in. */
  readonly busy: () => void
}

export const make: Effect.Effect<LoopDelay> = Effect.gen(function*() {
  const context = yield* Effect.context<never>()
  yield* Metric.value(delays)
  const sampler: { timer?: NodeJS.Timeout; before: number; until: number } = { before: 0, until: 0 }
  const sample = () => {
    const now = performance.now()
    delays.updateUnsafe(Math.max(0, now - sampler.before - INTERVAL) / 1000, context)
    sampler.before = now
    if (now > sampler.until) {
      clearInterval(sampler.timer)
      delete sampler.timer
    }
  }
  return {
    busy: () => {
      const now = performance.now()
      sampler.until = now + LINGER
      if (sampler.timer !== undefined) return
      sampler.before = now
      sampler.timer = setInterval(sample, INTERVAL).unref()
    }
  }
})
