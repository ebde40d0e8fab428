/** What the node has given out, and since when it hears of what is wanted. */
import { Effect, Metric } from "effect"
import type { ApiHealth } from "../kube/apiHealth.ts"
import { VERSION } from "../process/version.ts"
import type { Facts } from "./health.ts"

/** Its value is always 1. */
const build = Metric.withAttributes(
  Metric.gauge("flock_build_info", { description: "The agent's version and that of the Node that runs it; always 1" }),
  { version: VERSION, runtime: process.version }
)
const addresses = Metric.gauge("flock_addresses", { description: "Addresses of the node's prefixes" })
const allocated = Metric.gauge("flock_allocations", { description: "Committed allocations" })

const silence = Metric.gauge("flock_kube_watch_silent_seconds", {
  description: "Since the API server was last heard of a resource: an answer, an event or a bookmark"
})

/** Secrets come and go with passwords: where none is watched, none is silent. */
const WATCHED = ["nodeconfigs", "pods", "secrets"]

const publishSilence = ({ watches }: ApiHealth): Effect.Effect<void> =>
  Effect.forEach(WATCHED, (resource) =>
    Metric.update(
      Metric.withAttributes(silence, { resource }),
      Math.max(0, ...watches.filter((watch) => watch.resource === resource).map(({ silentSeconds }) => silentSeconds))
    ), { discard: true })

/** Sets the gauges of the node. `allocations`: how many are committed. */
export const publish = Effect.fnUntraced(function*({ api, usage }: Facts, allocations: number) {
  if (api !== undefined) yield* publishSilence(api)
  yield* Metric.update(build, 1)
  for (const family of ["ipv6", "ipv4"] as const) {
    const pool = usage[family]
    for (const state of ["used", "free", "held"] as const) {
      const series = Metric.withAttributes(addresses, { family, state })
      // A family without a prefix has no series: 0 free would look like a full prefix.
      yield* pool === undefined ? Metric.remove(series) : Metric.update(series, pool[state] ?? 0)
    }
  }
  yield* Metric.update(allocated, allocations)
})
