/**
 * What a new agent finds: records, links and routes of the one before it. Adopts what is whole, undoes what was cut
 * short, and marks in use every address that the kernel still holds, so that even a lost state directory never leads to
 * an address that two pods have.
 */
import { DateTime, Effect, Metric, Option, SubscriptionRef } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { podKey } from "../domain/Pod.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { type HostLink, Netlink, PROTOCOL_EXPORT, PROTOCOL_POD } from "../netlink/Netlink.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { Allocations } from "./Allocations.ts"
import { completeAll, type Evidence, exportedPrimariesAreChosen } from "./complete.ts"
import { believable } from "./ownWord.ts"
import { takeOverPlan, withoutRecord } from "./takeOverPlan.ts"

/**
 * Finds, decides, does. Run once, before the first call is served. The result: what was rebuilt without all that the
 * NodeConfig and the pod tell of it, since they could not be learned yet.
 */
export const takeOver = Effect.fn("takeOver")(function*(options: { readonly bootId: string }) {
  const allocations = yield* Allocations
  const ipam = yield* Ipam
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const network = yield* NodeNetwork
  const links = yield* netlink.links
  const records = yield* allocations.list
  const lost = withoutRecord(records, allocations.interrupted, links)
  // Whoever took the records took the copy of the NodeConfig too.
  if (lost.length > 0) yield* kube.findNodeConfig
  const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
  const spec = Option.getOrUndefined(current)?.spec
  const evidence = new Map(
    yield* Effect.forEach(
      lost,
      ({ link, owner }) => Effect.map(evidenceOf(owner, link), (found) => [link.ifName, found] as const),
      { concurrency: 16 }
    )
  )
  const plan = takeOverPlan(records, allocations.interrupted, {
    links,
    podRoutes: yield* netlink.routes(PROTOCOL_POD),
    exportRoutes: yield* netlink.routes(PROTOCOL_EXPORT),
    inPods: spec === undefined || lost.length === 0
      ? new Map()
      : yield* ownWords(lost, evidence, { spec, occupied: yield* network.occupied(spec) })
  }, { bootId: options.bootId, spec, now: DateTime.formatIso(yield* DateTime.now), newer: allocations.newer })
  const found = plan.rebuild.map(({ hostIfName }) => evidence.get(hostIfName) ?? Option.none())
  const isKnown = (i: number) => spec !== undefined && Option.isSome(found[i] ?? Option.none())
  const { left, rebuild: completed } = spec === undefined
    ? { rebuild: plan.rebuild.map(exportedPrimariesAreChosen), left: [] }
    : completeAll(plan.adopt, plan.rebuild, found, { spec, occupied: yield* network.occupied(spec) })
  for (const words of left) yield* Effect.logWarning(words)
  // In the record too: this agent may end before it has learned them.
  const rebuild = completed.map((it, i) => it.pod.name === "" || isKnown(i) ? it : { ...it, incomplete: true as const })
  // Addresses first: nothing may be handed out while a link still holds it.
  for (const a of [...plan.adopt, ...rebuild]) {
    yield* ipam.adopt(a)
  }
  for (const [owner, address] of plan.hold) yield* ipam.markInUse(owner, [address])
  yield* Effect.forEach(plan.remove, (link) => netlink.detach(link.ifName), { concurrency: "unbounded", discard: true })
  yield* Effect.forEach(rebuild, allocations.adopt, { discard: true })
  const forget = [...plan.drop.map(attachmentKey), ...allocations.interrupted]
  yield* Effect.forEach(forget, allocations.remove, { discard: true })
  yield* countUnreadable("allocation", allocations.unreadable)
  yield* countUnreadable("newer", allocations.newer.length)
  yield* Effect.logInfo("state of the agent before this one taken over").pipe(Effect.annotateLogs({
    adopted: plan.adopt.length,
    dropped: plan.drop.length,
    rebuilt: rebuild.length,
    removedLinks: plan.remove.length,
    held: plan.hold.length,
    interrupted: allocations.interrupted.length,
    unreadable: allocations.unreadable,
    newer: allocations.newer.length
  }))
  return [...plan.adopt, ...rebuild].filter(({ incomplete }) => incomplete === true)
})

/** What pods themselves say that their primary addresses are, as far as it is believed. */
const ownWords = Effect.fnUntraced(function*(
  lost: ReturnType<typeof withoutRecord>,
  evidence: ReadonlyMap<string, Option.Option<Evidence>>,
  ground: Parameters<typeof believable>[1]
) {
  const netlink = yield* Netlink
  return new Map(
    yield* Effect.forEach(lost, ({ link, owner }) =>
      podAddresses(netlink, link).pipe(
        // The namespace may have gone with its pod.
        Effect.orElseSucceed(() => []),
        Effect.map((all) => {
          const own = all.filter(({ ifIndex }) => ifIndex === link.peerIndex).map(({ address }) => address)
          const pod = Option.getOrUndefined(evidence.get(link.ifName) ?? Option.none())?.pod
          return [link.ifName, believable({ namespace: owner.pod.namespace, own, pod }, ground)] as const
        })
      ), { concurrency: 16 })
  )
})

const podAddresses = ({ podAddresses }: Netlink["Service"], { peerNsid }: Pick<HostLink, "peerNsid">) =>
  peerNsid === undefined ? Effect.succeed([]) : podAddresses(peerNsid)

/** The pod of an allocation without a record and its addresses, if they can be learned quickly. */
export const evidenceOf = Effect.fnUntraced(function*(
  { pod }: Pick<Allocation, "pod">,
  link: Pick<HostLink, "peerNsid">
) {
  if (pod.name === "") return Option.none<Evidence>()
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  return yield* Effect.all({
    pod: Effect.timeout(kube.pod(pod), "3 seconds"),
    addresses: podAddresses(netlink, link)
  }).pipe(
    Effect.map(({ addresses, pod }) =>
      Option.map(pod, (pod): Evidence => ({ pod, addresses: addresses.map(({ address }) => address) }))
    ),
    Effect.catch((error) =>
      Effect.as(
        Effect.logWarning(`anycast addresses of ${podKey(pod)} may be missing for now: ${error.message}`),
        Option.none<Evidence>()
      )
    )
  )
})

const unreadableRecords = Metric.gauge("flock_unreadable_records", {
  description:
    "Allocation records and queued DELs that could not be read: set aside, or left alone if of a newer format"
})

/** Sets the gauge of what was set aside, or left alone. */
export const countUnreadable = (kind: "allocation" | "del" | "newer", count: number): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(unreadableRecords, { kind }), count)
