import { Effect, Metric } from "effect"

type Any = Metric.Metric<never, unknown>

/** One series for each combination of the labels' values. */
export const seriesOf = <Input, State>(
  metric: Metric.Metric<Input, State>,
  labels: Readonly<Record<string, ReadonlyArray<string>>>
): ReadonlyArray<Metric.Metric<Input, State>> =>
  Object.entries(labels).reduce<ReadonlyArray<Record<string, string>>>(
    (all, [label, values]) => all.flatMap((attributes) => values.map((value) => ({ ...attributes, [label]: value }))),
    [{}]
  ).map((attributes) => Metric.withAttributes(metric, attributes))

/**
 * Series that are there, with 0, before their first event. Prometheus' `increase` and `rate` see no step from nothing to
 * 1, so an alert on a series that begins with its first event misses that event.
 */
export const fromZero = (series: ReadonlyArray<Any>): Effect.Effect<void> =>
  Effect.forEach(series, (metric) => Metric.value(metric), { discard: true })
