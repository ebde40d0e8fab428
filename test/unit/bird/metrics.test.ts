/** BIRD's state as series: what is gone has none. */
import { assert, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { PrometheusMetrics } from "effect/observability"
import type { BirdStatus } from "../../../src/bird/birdStatus.ts"
import { publish, started } from "../../../src/bird/metrics.ts"

const peer = (address: string, asn = 65000) => ({
  address,
  asn,
  protocol: "p",
  state: "Established",
  since: "",
  lastError: "",
  ipv6: { announced: 2, learned: 1 },
  ipv4: { announced: 0, learned: 0 }
})
const status = (reloads: number, peers: BirdStatus["peers"], drained = false): BirdStatus => ({
  enabled: true,
  up: true,
  version: "2",
  peers,
  stale: false,
  configError: "",
  reloads,
  drained
})
const isolated = <A>(effect: Effect.Effect<A>) =>
  Effect.provideService(Effect.suspend(() => effect), Metric.MetricRegistry, new Map())

it.effect("counts reloads from 0, by the difference of two states", () =>
  isolated(Effect.gen(function*() {
    yield* started
    assert.include(yield* PrometheusMetrics.format(), "flock_bird_reloads_total 0\n")
    yield* publish(status(2, []), status(0, []))
    yield* publish(status(2, []), status(2, []))
    yield* publish(status(3, []), status(2, []))
    assert.include(yield* PrometheusMetrics.format(), "flock_bird_reloads_total 3\n")
  })))

it.effect("a peer that is gone has no series, one with another AS the new one's only", () =>
  isolated(Effect.gen(function*() {
    const before = status(0, [peer("192.0.2.1"), peer("192.0.2.2")])
    yield* publish(before, status(0, []))
    assert.include(
      yield* PrometheusMetrics.format(),
      "flock_bgp_prefixes{peer=\"192.0.2.2\",asn=\"65000\",family=\"ipv6\",direction=\"announced\"} 2\n"
    )
    yield* publish(status(0, [peer("192.0.2.1", 65001)]), before)
    const text = yield* PrometheusMetrics.format()
    assert.notInclude(text, "192.0.2.2")
    assert.notInclude(text, "65000")
    assert.include(text, "flock_bgp_session_established{peer=\"192.0.2.1\",asn=\"65001\"} 1\n")
  })))

it.effect("a peer has a series of BFD while it is to have BFD", () =>
  isolated(Effect.gen(function*() {
    const withBfd = (state: string) => ({ ...peer("192.0.2.1"), bfd: { state, timeoutMilliseconds: 900 } })
    const series = "flock_bfd_session_up{peer=\"192.0.2.1\",asn=\"65000\"}"
    yield* publish(status(0, [withBfd("Up")]), status(0, []))
    assert.include(yield* PrometheusMetrics.format(), `${series} 1\n`)
    yield* publish(status(0, [withBfd("Init")]), status(0, [withBfd("Up")]))
    assert.include(yield* PrometheusMetrics.format(), `${series} 0\n`)
    yield* publish(status(0, [peer("192.0.2.1")]), status(0, [withBfd("Init")]))
    const text = yield* PrometheusMetrics.format()
    assert.notInclude(text, "flock_bfd_session_up{")
    assert.include(text, "flock_bgp_session_established{peer=\"192.0.2.1\",asn=\"65000\"} 1\n")
  })))

it.effect("says that an operator withdrew the node", () =>
  isolated(Effect.gen(function*() {
    yield* publish(status(0, [], true), status(0, []))
    assert.include(yield* PrometheusMetrics.format(), "flock_bird_withdrawn 1\n")
    yield* publish(status(0, []), status(0, [], true))
    assert.include(yield* PrometheusMetrics.format(), "flock_bird_withdrawn 0\n")
  })))

it.effect("an unnumbered peer keeps its series, whatever router and AS are found", () =>
  isolated(Effect.gen(function*() {
    const unnumbered = (address: string, asn: number) => ({
      ...peer(address, asn),
      interface: "eth0",
      asnIs: "external" as const
    })
    yield* publish(status(0, [unnumbered("", 0)]), status(0, []))
    yield* publish(status(0, [unnumbered("fe80::1%eth0", 65100)]), status(0, [unnumbered("", 0)]))
    const text = yield* PrometheusMetrics.format()
    assert.deepStrictEqual(text.match(/^flock_bgp_session_established\{.*$/gm), [
      "flock_bgp_session_established{peer=\"eth0\",asn=\"external\"} 1"
    ])
  })))
