/** The steps that a pod and its allocation decide. */
import { Result } from "effect"
import type { Holder } from "../anycast/holders.ts"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { allowedBy, heldBy, mayAnnounce, mayHave, occupiedNow, permission, words } from "../domain/announcement.ts"
import { equalAddress, equalCidr, formatAddress, formatCidr, type IpAddress, parseAddress } from "../domain/Ip.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { type AnnouncedKind, followsReadiness, primariesOf } from "../domain/PodAddresses.ts"
import { advertised, coveringPrefix } from "../domain/summaries.ts"
import { AddressTable } from "../ipam/AddressTable.ts"
import { plan } from "../ipam/choose.ts"
import { aggregateOf, type Snapshot } from "./snapshot.ts"
import { check, failed, passed, skipped, type Step } from "./step.ts"

const nameOf = (allocation: Allocation): string =>
  allocation.pod.name === "" ? `container ${allocation.containerId}` : `pod ${podKey(allocation.pod)}`

/** Of an address that holders have: what was allowed once stays, but not what the node or its network use. */
const allowedStep = (address: IpAddress, holders: ReadonlyArray<Holder>, { occupied, spec }: Snapshot): Step => {
  if (spec === undefined) return passed("allowed", "no NodeConfig says otherwise")
  const conflict = occupiedNow(address, spec, occupied)
  if (conflict !== undefined) return failed("allowed", `it ${words(conflict)}`)
  const refusal = holders.map(({ allocation: { pod: { namespace } } }) =>
    permission(address, { namespace, occupied, spec })
  ).find((no) => no !== undefined)
  return passed(
    "allowed",
    refusal === undefined
      ? `it ${allowedBy(address, spec)}`
      : `it was when the pod was added, and stays so; for new pods, it ${words(refusal)}`
  )
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
    const own = aggregateOf(snapshot.spec, address) !== undefined
    const conflict = own ? snapshot.occupied.conflicts[address.family] : undefined
    return {
      serving: [],
      steps: [
        passed("allocated", `to ${owner}`),
        conflict === undefined
          ? skipped("allowed", reason)
          : failed("allowed", `packets to it may go elsewhere: ${conflict}`),
        ...(["family", "ready", "deleting"] as const).map((step) => skipped(step, reason))
      ]
    }
  }
  const allowed = allowedStep(address, holders, snapshot)
  const { occupied, pods, podsListed: synced, spec, unreachable } = snapshot
  const cache = { pods, synced, occupied, spec, unreachable }
  const judged = holders.map((holder) => ({ holder, no: mayAnnounce(address, holder.allocation, cache) }))
  const say = (list: typeof judged): string =>
    list.map(({ holder, no }) => `${nameOf(holder.allocation)} ${no === undefined ? "is Ready" : words(no)}`).join("; ")
  const rightFamily = judged.filter(({ no }) => no?._tag !== "NoFamily")
  const ready = rightFamily.filter(({ no }) => no === undefined || no._tag === "Deleting")
  const serving = ready.filter(({ no }) => no === undefined)
  if (allowed.ok === false) {
    const reason = "it may not be announced"
    const allocated = passed("allocated", `to ${holders.map(({ allocation }) => nameOf(allocation)).join("; ")}`)
    return {
      serving: [],
      steps: [allocated, allowed, ...(["family", "ready", "deleting"] as const).map((step) => skipped(step, reason))]
    }
  }
  return {
    serving: serving.map(({ holder }) => holder),
    steps: [
      passed(
        "allocated",
        `to ${holders.map(({ allocation }) => `${nameOf(allocation)} (${attachmentKey(allocation)})`).join("; ")}`
      ),
      allowed,
      rightFamily.length > 0
        ? passed("family", `reached via the pod's IPv${address.family} address`)
        : failed("family", say(judged)),
      rightFamily.length === 0
        ? skipped("ready", "no pod with this family")
        : check(ready.length > 0, "ready", say(ready.length > 0 ? rightFamily : judged)),
      ready.length === 0
        ? skipped("deleting", "no pod is Ready")
        : check(serving.length > 0, "deleting", serving.length > 0 ? "no deletionTimestamp" : say(ready))
    ]
  }
}

const ANNOTATION = { anycast: "anycast", chosen: "addresses" } as const

/** How the pod asks for the address, if it does; annotations that ADD refuses as a whole are read as far as they go. */
const asksFor = (pod: PodInfo, address: IpAddress): AnnouncedKind | undefined =>
  (["anycast", "chosen"] as const).find((kind) =>
    (pod.annotations[ANNOTATION[kind]] ?? "").split(",").some((text) => {
      const asked = parseAddress(text.trim())
      return asked !== undefined && equalAddress(asked, address)
    })
  )

const nobodyAsks = (address: IpAddress, { node, spec }: Snapshot): Step => {
  const prefix = spec && coveringPrefix(spec, address)
  const served = spec && advertised(spec).others.some((cidr) => prefix !== undefined && equalCidr(cidr, prefix))
  return failed(
    "allocated",
    prefix === undefined
      ? `no pod on node ${node} holds it or asks for it`
      : `no pod holds it; the node announces ${formatCidr(prefix)}, and ${
        served
          ? "leaves it to others, such as kube-proxy (spec.bgp.advertise)"
          : "drops what comes for unused addresses of it"
      }`
  )
}

/** In the words of ADD, by its own rules: the pod's other annotations, a limit, or a prefix that is full. */
const addRefusal = (pod: PodInfo, { allocations, occupied, spec }: Snapshot): string | undefined => {
  if (spec === undefined) return undefined
  const table = new AddressTable()
  for (const { addresses, containerId, ifName, pod } of allocations) {
    const owner = attachmentKey({ containerId, ifName })
    const label = pod.name === "" ? owner : podKey(pod)
    for (const address of primariesOf(addresses)) table.takePrimary(owner, label, address)
    for (const address of addresses.anycast) table.takeAnycast(owner, label, address)
    table.announce(owner, label, pod.namespace, followsReadiness(addresses).map(({ address }) => address))
  }
  const planned = plan(table, { owner: "", containerId: "", pod, spec, occupied }, () => 2n)
  return Result.isFailure(planned) ? planned.failure.message : undefined
}

/** Steps for an address that no allocation holds: did a pod ask for it, and what became of that? */
export const demandSteps = (
  address: IpAddress,
  snapshot: Snapshot
): ReadonlyArray<Step> => {
  const asking = [...snapshot.pods.values()].find((pod) => asksFor(pod, address) !== undefined)
  const kind = asking && asksFor(asking, address)
  if (asking === undefined || kind === undefined) return [nobodyAsks(address, snapshot)]
  const name = `pod ${podKey(asking)}`
  const asked = `${name} asks for it (annotation ${ANNOTATION[kind]})`
  const allocation = snapshot.allocations.find((a) => podKey(a.pod) === podKey(asking))
  const { occupied, spec } = snapshot
  const nodes = [spec?.cidr6, spec?.cidr4].filter((cidr) => cidr !== undefined)
  const has = allocation && primariesOf(allocation.addresses)
  const refusal = spec && mayHave({
    address,
    kind,
    spec,
    namespace: asking.namespace,
    occupied,
    families: (has ?? nodes).map(({ family }) => family),
    anycast: [],
    holders: heldBy(snapshot.allocations)
  })
  if (refusal?._tag === "NoFamily") {
    const only = has === undefined ? "" : `, only ${has.map(formatAddress).join(", ")}`
    return [
      skipped("allocated", asked),
      passed("allowed", spec === undefined ? "" : `it ${allowedBy(address, spec)}`),
      failed("family", `${name} ${words(refusal)}${only}`)
    ]
  }
  if (refusal !== undefined) {
    return [
      skipped("allocated", `${asked}, but has not got it`),
      failed("allowed", `${asked} and was refused: it ${words(refusal)}`)
    ]
  }
  if (allocation === undefined) {
    const because = addRefusal(asking, snapshot)
    return [
      because === undefined
        ? failed("allocated", `${asked}, but has no network of flock's on this node yet`)
        : failed("allocated", `${asked} and was refused as a whole: ${because}`)
    ]
  }
  return [
    failed("allocated", `${asked}, but did not when it was added: annotations are read once, when the pod starts`)
  ]
}
