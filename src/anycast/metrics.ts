/** What anycast counts and times. */
import { Metric } from "effect"
import { fromZero } from "../process/fromZero.ts"

const seconds = [0.001, 0.002, 0.004, 0.008, 0.016, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

export const installed = Metric.gauge("flock_anycast_installed", {
  description: "Anycast and operator-chosen addresses with a route of protocol 201 in the kernel, which BIRD may export"
})

export const announced = Metric.gauge("flock_anycast_announced", {
  description: "Anycast and operator-chosen addresses that BIRD exports to an Established session, asked at the scrape"
})

const transitions = Metric.counter("flock_anycast_transitions_total", {
  description: "Routes of protocol 201 installed in the kernel or removed from it since the agent started",
  incremental: true
})

export const transitionsTo = {
  installed: Metric.withAttributes(transitions, { to: "installed" }),
  removed: Metric.withAttributes(transitions, { to: "removed" })
}

export const failures = Metric.counter("flock_anycast_failures_total", {
  description: "Routes that the kernel refused to add or delete; each is tried again",
  incremental: true
})

/** Seconds. */
export const kernelSeconds = Metric.histogram("flock_anycast_kernel_seconds", {
  description: "From the moment the agent saw a pod's transition to the change in the kernel's routes",
  boundaries: seconds
})

/** Seconds; a sample: one address at a time is followed. */
export const exportSeconds = Metric.histogram("flock_anycast_export_seconds", {
  description: "From the moment the agent saw a pod's transition to BIRD's export of it (sampled)",
  boundaries: seconds
})

export const started = fromZero([
  installed,
  announced,
  ...Object.values(transitionsTo),
  failures,
  kernelSeconds,
  exportSeconds
])
