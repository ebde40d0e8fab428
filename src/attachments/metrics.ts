/** What the reconciler of attachments counts. */
import { Metric } from "effect"
import { fromZero, seriesOf } from "../process/fromZero.ts"

const repairs = Metric.counter("flock_repairs_total", {
  description: "Things of pods' links and of the node that something else had changed, and that were put right",
  incremental: true
})

/** `what`: `link`, `setting`, `address`, `neighbour`, `route`, or `node` for the node's settings. */
export const repairsOf = (what: string) => Metric.withAttributes(repairs, { what })

const unreachable = Metric.gauge("flock_unreachable_attachments", {
  description:
    "Attachments that packets do not reach: the pod has its interface down, or the host's part cannot be restored"
})

export const unreachableBy = {
  LinkDown: Metric.withAttributes(unreachable, { reason: "link-down" }),
  Cut: Metric.withAttributes(unreachable, { reason: "cut" }),
  Broken: Metric.withAttributes(unreachable, { reason: "pod" })
}

export const started = fromZero([
  ...seriesOf(repairs, { what: ["link", "setting", "address", "neighbour", "route", "node"] }),
  ...Object.values(unreachableBy)
])
