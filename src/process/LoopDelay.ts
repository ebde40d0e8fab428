/** How late the event loop runs while calls are served. Idle agents measure nothing: sampling wakes the process. */
import { Effect, Metric } from "effect"

/** Milliseconds between samples; what is beyond is the delay. Each is a wake-up, some 15 us of a processor. */
const INTERVAL = 4

export const delays = Metric.histogram("flock_event_loop_delay_seconds", {
  description: "How late the event loop ran, sampled every 4 ms while calls were served",
  boundaries: [0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1000].map((ms) => ms / 1000)
})

export interface LoopDelay {
  /** A call came in; to be called, once, when it has ended. */
  readonly busy: () => () => void
}

export const make: Effect.Effect<LoopDelay> = Effect.gen(function*() {
  const context = yield* Effect.context<never>()
  yield* Metric.value(delays)
  const sampler: { timer?: NodeJS.Timeout; before: number; calls: number } = { before: 0, calls: 0 }
  const sample = () => {
    const now = performance.now()
    delays.updateUnsafe(Math.max(0, now - sampler.before - INTERVAL) / 1000, context)
    sampler.before = now
  }
  const ended = () => {
    if (--sampler.calls > 0) return
    clearInterval(sampler.timer)
  }
  return {
    busy: () => {
      if (sampler.calls++ === 0) {
        sampler.before = performance.now()
        sampler.timer = setInterval(sample, INTERVAL).unref()
      }
      return ended
    }
  }
})
