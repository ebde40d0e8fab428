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
import { type KernelState, takeOverPlan } from "./takeOverPlan.ts"

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
  const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
  const spec = Option.getOrUndefined(current)?.spec
  const kernel: KernelState = {
    links: yield* netlink.links,
    podRoutes: yield* netlink.routes(PROTOCOL_POD),
    exportRoutes: yield* netlink.routes(PROTOCOL_EXPORT)
  }
  const plan = takeOverPlan(yield* allocations.list, allocations.interrupted, kernel, {
    bootId: options.bootId,
    spec,
    now: DateTime.formatIso(yield* DateTime.now)
  })
  const found = yield* Effect.forEach(plan.rebuild, (it) => evidenceOf(it, kernel.links), { concurrency: 16 })
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
  yield* Effect.logInfo("state of the agent before this one taken over").pipe(Effect.annotateLogs({
    adopted: plan.adopt.length,
    dropped: plan.drop.length,
    rebuilt: rebuild.length,
    removedLinks: plan.remove.length,
    held: plan.hold.length,
    interrupted: allocations.interrupted.length,
    unreadable: allocations.unreadable
  }))
  return [...plan.adopt, ...rebuild].filter(({ incomplete }) => incomplete === true)
})

/** The pod of a rebuilt allocation and its addresses, if they can be learned quickly. */
export const evidenceOf = Effect.fnUntraced(function*({ hostIfName, pod }: Allocation, links: ReadonlyArray<HostLink>) {
  if (pod.name === "") return Option.none<Evidence>()
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const nsid = links.find(({ ifName }) => ifName === hostIfName)?.peerNsid
  return yield* Effect.all({
    pod: Effect.timeout(kube.pod(pod), "3 seconds"),
    addresses: nsid === undefined ? Effect.succeed([]) : netlink.podAddresses(nsid)
  }).pipe(
    Effect.map(({ addresses, pod }) => Option.map(pod, (pod): Evidence => ({ pod, addresses }))),
    Effect.catch((error) =>
      Effect.as(
        Effect.logWarning(`anycast addresses of ${podKey(pod)} may be missing for now: ${error.message}`),
        Option.none<Evidence>()
      )
    )
  )
})

const unreadableRecords = Metric.gauge("flock_unreadable_records", {
  description: "Allocation records and queued DELs that could not be read and were set aside"
})

/** Sets the gauge of what was set aside. */
export const countUnreadable = (kind: "allocation" | "del", count: number): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(unreadableRecords, { kind }), count)
