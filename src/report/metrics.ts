/** What the node has given out. */
import { Metric } from "effect"

export const addresses = Metric.gauge("flock_addresses", { description: "Addresses of the node's prefixes" })
export const allocated = Metric.gauge("flock_allocations", { description: "Committed allocations" })
