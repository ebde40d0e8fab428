/** Counters are there before their first event. */
import { assert, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { fromZero, seriesOf } from "../../../src/process/fromZero.ts"

it.effect("has each combination of labels at 0, and keeps what was counted before", () =>
  Effect.gen(function*() {
    const counter = Metric.counter("test_total", { incremental: true })
    const histogram = Metric.histogram("test_seconds", { boundaries: [1] })
    yield* Metric.update(Metric.withAttributes(counter, { a: "1", b: "x" }), 3)
    yield* fromZero([...seriesOf(counter, { a: ["1", "2"], b: ["x", "y"] }), histogram])
    const text = yield* PrometheusMetrics.format()
    for (const line of ["{a=\"1\",b=\"x\"} 3", "{a=\"1\",b=\"y\"} 0", "{a=\"2\",b=\"x\"} 0", "{a=\"2\",b=\"y\"} 0"]) {
      assert.include(text, `test_total${line}\n`)
    }
    assert.include(text, "test_seconds_bucket{le=\"+Inf\"} 0\ntest_seconds_sum 0\ntest_seconds_count 0\n")
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
