/** How late the event loop runs while calls are served. Idle agents measure nothing: sampling wakes the process. */
import { Effect, Metric } from "effect"
import { monitorEventLoopDelay } from "node:perf_hooks"

/** Milliseconds between samples; a sample's value is this much plus the delay. */
const RESOLUTION = 1

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
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION })
  let timer: NodeJS.Timeout | undefined
  const seconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e9 - RESOLUTION / 1000)
  return {
    busy: () => {
      if (timer === undefined) {
        histogram.enable()
        timer = setTimeout(() => {
          histogram.disable()
          timer = undefined
        }, LINGER).unref()
      } else {
        timer.refresh()
      }
    },
    publish: Effect.gen(function*() {
      const empty = histogram.count === 0
      for (const quantile of [0.5, 0.99, 1]) {
        const value = empty ? 0 : seconds(quantile === 1 ? histogram.max : histogram.percentile(quantile * 100))
        yield* Metric.update(Metric.withAttributes(gauge, { quantile: String(quantile) }), value)
      }
      histogram.reset()
    })
  }
}
