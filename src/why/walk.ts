/**
 * Why an address is announced by this node, or what stops it: every step between a pod's annotation and the router, in
 * order, each with its own evidence. Pure: it judges one {@link Snapshot}.
 */
import { Schema } from "effect"
import { formatAddress, type IpAddress } from "../domain/Ip.ts"
import { birdSteps } from "./birdSteps.ts"
import { kernelSteps } from "./kernelSteps.ts"
import { demandSteps, holderSteps } from "./podSteps.ts"
import { Kind, ownersOf, prefixFor, type Snapshot } from "./snapshot.ts"
import { failed, passed, Step } from "./step.ts"

export const WhyReport = Schema.Struct({
  address: Schema.String,
  node: Schema.String,
  kind: Kind,
  /** Packets to it are drawn to this node now: no step failed. */
  announced: Schema.Boolean,
  /** One sentence. */
  answer: Schema.String,
  steps: Schema.Array(Step)
})
export interface WhyReport extends Schema.Schema.Type<typeof WhyReport> {}

const KIND_WORDS = {
  anycast: "an anycast address",
  chosen: "a pod's address that its operator chose",
  pod: "a pod's own address, announced within the node's prefix",
  none: "no pod's address"
} as const

export const walk = (address: IpAddress, snapshot: Snapshot): WhyReport => {
  const text = formatAddress(address)
  const { holders, kind, primary } = ownersOf(address, snapshot.allocations)
  const about = passed("address", `IPv${address.family}, ${KIND_WORDS[kind]}`)

  const steps: Array<Step> = snapshot.spec === undefined
    ? [about, failed("config", "the agent has no NodeConfig for this node")]
    : [about]
  if (kind === "none") {
    steps.push(...demandSteps(address, snapshot))
  } else {
    const pod = holderSteps(address, holders, primary, snapshot)
    const serving = pod.serving.length > 0 || kind === "pod"
    steps.push(...pod.steps)
    steps.push(...kernelSteps(address, kind, pod.serving, primary, serving, snapshot))
    steps.push(...birdSteps(address, kind, serving, prefixFor(address, kind, snapshot.spec), snapshot))
  }
  const stop = steps.find((step) => step.ok === false)
  const last = steps.findLast((step) => step.ok === true)
  return {
    address: text,
    node: snapshot.node,
    kind,
    announced: stop === undefined,
    answer: stop === undefined
      ? `${text} is announced: ${last?.detail ?? ""}`
      : `${text} is not announced: ${stop.detail}`,
    steps
  }
}
