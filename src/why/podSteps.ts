/** The steps that a pod and its allocation decide. */
import { type Gate, gateOf, type Holder } from "../anycast/gate.ts"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import {
  type Cidr,
  contains,
  equalAddress,
  formatAddress,
  formatCidr,
  type IpAddress,
  parseAddress
} from "../domain/Ip.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { primariesOf, primaryOf } from "../domain/PodAddresses.ts"
import type { Snapshot } from "./snapshot.ts"
import { check, failed, passed, skipped, type Step } from "./step.ts"

const nameOf = (allocation: Allocation): string =>
  allocation.pod.name === "" ? `container ${allocation.containerId}` : `pod ${podKey(allocation.pod)}`

const allowedWords = (snapshot: Snapshot): string => {
  const cidrs = snapshot.spec?.anycast.allowedCIDRs ?? []
  return cidrs.length === 0 ? "spec.anycast.allowedCIDRs is empty" : `only ${cidrs.map(formatCidr).join(", ")} may be`
}

const isAllowed = (address: IpAddress, snapshot: Snapshot): boolean =>
  (snapshot.spec?.anycast.allowedCIDRs ?? []).some((cidr) => contains(cidr, address))

const GATE_WORDS: Readonly<Record<Gate, string>> = {
  Ready: "is Ready",
  Deleting: "is being deleted",
  NotReady: "is not Ready",
  NoPod: "does not exist (any more)",
  OtherPod: "is another pod now: its UID is not the allocation's",
  NoFamily: "has no address of this family to reach it by",
  Unknown: "is not known yet: the pods were not listed since the agent started"
}

/** Steps for an address that allocations hold; `serving`: the holders that should have it announced. */
export const holderSteps = (
  address: IpAddress,
  holders: ReadonlyArray<Holder>,
  primary: Allocation | undefined,
  snapshot: Snapshot
): { readonly steps: ReadonlyArray<Step>; readonly serving: ReadonlyArray<Holder> } => {
  if (holders.length === 0) {
    const owner = primary === undefined ? "nobody" : `${nameOf(primary)} (${attachmentKey(primary)})`
    const reason = "a pod's own address needs no permission and no readiness"
    return {
      serving: [],
      steps: [
        passed("allocated", `to ${owner}`),
        ...(["allowed", "family", "ready", "deleting"] as const).map((step) => skipped(step, reason))
      ]
    }
  }
  const cache = { pods: snapshot.pods, synced: snapshot.podsListed }
  const gated = holders.map((holder) => ({ holder, gate: gateOf(holder, cache) }))
  const say = (list: typeof gated): string =>
    list.map(({ gate, holder }) => `${nameOf(holder.allocation)} ${GATE_WORDS[gate]}`).join("; ")
  const rightFamily = gated.filter(({ gate }) => gate !== "NoFamily")
  const ready = rightFamily.filter(({ gate }) => gate === "Ready" || gate === "Deleting")
  const serving = ready.filter(({ gate }) => gate === "Ready")
  return {
    serving: serving.map(({ holder }) => holder),
    steps: [
      passed(
        "allocated",
        `to ${holders.map(({ allocation }) => `${nameOf(allocation)} (${attachmentKey(allocation)})`).join("; ")}`
      ),
      passed(
        "allowed",
        isAllowed(address, snapshot)
          ? "it lies in spec.anycast.allowedCIDRs"
          : `it was when the pod was added, and stays so; for new pods, ${allowedWords(snapshot)}`
      ),
      rightFamily.length > 0
        ? passed("family", `reached via the pod's IPv${address.family} address`)
        : failed("family", say(gated)),
      rightFamily.length === 0
        ? skipped("ready", "no pod with this family")
        : check(ready.length > 0, "ready", say(ready.length > 0 ? rightFamily : gated)),
      ready.length === 0
        ? skipped("deleting", "no pod is Ready")
        : check(serving.length > 0, "deleting", serving.length > 0 ? "no deletionTimestamp" : say(ready))
    ]
  }
}

const asksFor = (pod: PodInfo, address: IpAddress): string | undefined =>
  ["anycast", "addresses"].find((name) =>
    (pod.annotations[name] ?? "").split(",").some((text) => {
      const asked = parseAddress(text.trim())
      return asked !== undefined && equalAddress(asked, address)
    })
  )

/** Steps for an address that no allocation holds: did a pod ask for it, and what became of that? */
export const demandSteps = (
  address: IpAddress,
  snapshot: Snapshot,
  aggregate: Cidr | undefined
): ReadonlyArray<Step> => {
  const asking = [...snapshot.pods.values()].find((pod) => asksFor(pod, address) !== undefined)
  if (asking === undefined) {
    return [
      failed(
        "allocated",
        aggregate === undefined
          ? `no pod on node ${snapshot.node} holds it or asks for it`
          : `no pod holds it; the node announces ${
            formatCidr(aggregate)
          }, and drops what comes for unused addresses of it`
      )
    ]
  }
  const name = `pod ${podKey(asking)}`
  const asked = `${name} asks for it (annotation ${asksFor(asking, address)})`
  if (!isAllowed(address, snapshot)) {
    return [
      skipped("allocated", `${asked}, but has not got it`),
      failed("allowed", `${asked} and was refused: ${allowedWords(snapshot)}`)
    ]
  }
  const allocation = snapshot.allocations.find((a) => podKey(a.pod) === podKey(asking))
  if (allocation === undefined) {
    return [failed("allocated", `${asked}, but has no network of flock's on this node yet`)]
  }
  if (primaryOf(allocation.addresses, address.family) === undefined) {
    const has = primariesOf(allocation.addresses).map(formatAddress)
    return [
      skipped("allocated", asked),
      passed("allowed", "it lies in spec.anycast.allowedCIDRs"),
      failed("family", `${name} has no IPv${address.family} address to reach it by, only ${has.join(", ")}`)
    ]
  }
  return [
    failed("allocated", `${asked}, but did not when it was added: annotations are read once, when the pod starts`)
  ]
}
