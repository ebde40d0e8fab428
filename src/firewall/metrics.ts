/** What was dropped. */
import { Effect, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { fromZero, seriesOf } from "../process/fromZero.ts"
import { type Reason, REASONS } from "./ruleset.ts"

const dropped = Metric.counter("flock_dropped_packets_total", {
  description: "Packets of a pod that were dropped as they entered the node"
})

/**
 * The text of a scrape: what was dropped, and for each of `pods` that nothing was. Series of pods that are gone must go too,
 * so they live in a registry of this scrape's own.
 */
export const format = (
  pods: ReadonlyArray<{ readonly namespace: string; readonly name: string }>,
  drops: ReadonlyArray<
    { readonly namespace: string; readonly pod: string; readonly reason: Reason; readonly packets: number }
  >
): Effect.Effect<string> =>
  Effect.suspend(() =>
    Effect.gen(function*() {
      for (const { name, namespace } of pods) {
        yield* fromZero(seriesOf(dropped, { namespace: [namespace], pod: [name], reason: REASONS }))
      }
      for (const { namespace, packets, pod, reason } of drops) {
        yield* Metric.update(Metric.withAttributes(dropped, { namespace, pod, reason }), packets)
      }
      return yield* PrometheusMetrics.format()
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
