/** What was dropped. */
import { Metric } from "effect"

export const dropped = Metric.counter("flock_dropped_packets_total", {
  description: "Packets of a pod that were dropped as they entered the node"
})
