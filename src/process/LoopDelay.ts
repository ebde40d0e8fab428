/** How late the event loop runs while calls are served. Idle agents measure nothing: sampling wakes the process. */
import { Effect, Metric } from "effect"
import { createHistogram } from "node:perf_hooks"

/** Milliseconds between samples; what is beyond is the delay. */
const INTERVAL = 1

/** Sampling goes on for this many milliseconds after the last call. */
const LINGER = 1000

const gauge = Metric.gauge("flock_event_loop_delay_seconds", {
  description: "Event loop delay while calls were served, since the last scrape"
})

export interface LoopDelay {
  /** A call came in. */
  readonly busy: () => void
  /** Sets the gauges, and starts a new window. */
  readonly publish: Effect.Effect<void>
}

export const make = (): LoopDelay => {
  /** Nanoseconds. */
  const window = createHistogram()
  let sampler: NodeJS.Timeout | undefined
  let before = 0
  let until = 0
  const sample = () => {
    const now = performance.now()
    window.record(Math.max(1, Math.round((now - before - INTERVAL) * 1e6)))
    before = now
    if (now > until) {
      clearInterval(sampler)
      sampler = undefined
    }
  }
  return {
    busy: () => {
      const now = performance.now()
      until = now + LINGER
      if (sampler !== undefined) return
      before = now
      sampler = setInterval(sample, INTERVAL).unref()
    },
    publish: Effect.gen(function*() {
      for (const quantile of [0.5, 0.99, 1]) {
        const nanoseconds = window.count === 0
          ? 0
          : quantile === 1
          ? window.max
          : window.percentile(quantile * 100)
        yield* Metric.update(Metric.withAttributes(gauge, { quantile: String(quantile) }), nanoseconds / 1e9)
      }
      window.reset()
    })
  }
}
