/**
 * What a new agent finds: records, links and routes of the one before it. Adopts what is whole, undoes what was cut
 * short, and marks in use every address that the kernel still holds, so that even a lost state directory never leads to
 * an address that two pods have.
 */
import { DateTime, Effect, Metric, Option, Result, SubscriptionRef } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { parseAnnotations } from "../domain/annotations.ts"
import { heldBy, type Holders, mayHave } from "../domain/announcement.ts"
import { equalAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { PodInfo } from "../domain/Pod.ts"
import { primariesOf } from "../domain/PodAddresses.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink, PROTOCOL_EXPORT, PROTOCOL_POD } from "../netlink/Netlink.ts"
import { Allocations } from "./Allocations.ts"
import { type KernelState, takeOverPlan } from "./takeOverPlan.ts"

/** Finds, decides, does. Run once, before the first call is served. */
export const takeOver = Effect.fn("takeOver")(function*(options: { readonly bootId: string }) {
  const allocations = yield* Allocations
  const ipam = yield* Ipam
  const kube = yield* KubeApi
  const netlink = yield* Netlink
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
  const holders = heldBy([...plan.adopt, ...plan.rebuild])
  const rebuild = yield* Effect.forEach(
    plan.rebuild,
    (allocation) => spec === undefined ? Effect.succeed(allocation) : completed(allocation, spec, holders),
    { concurrency: 16 }
  )
  // Addresses first: nothing may be handed out while a link still holds it.
  for (const a of [...plan.adopt, ...rebuild]) {
    yield* ipam.markInUse(attachmentKey(a), primariesOf(a.addresses), a.addresses.anycast)
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
})

/** A rebuilt allocation, with what its pod tells of it if that can be learned quickly. */
const completed = Effect.fnUntraced(function*(allocation: Allocation, spec: NodeConfigSpec, holders: Holders) {
  if (allocation.pod.name === "") return allocation
  const kube = yield* KubeApi
  const pod = yield* kube.pod(allocation.pod).pipe(
    Effect.timeout("3 seconds"),
    Effect.catch((error) =>
      Effect.as(
        Effect.logWarning(`anycast addresses of ${allocation.pod.name} may be missing: ${error.message}`),
        Option.none<PodInfo>()
      )
    )
  )
  return Option.match(pod, {
    onNone: () => allocation,
    onSome: (found) => completeFromPod(allocation, found, spec, holders)
  })
})

/**
 * What the kernel did not tell of a rebuilt allocation: the pod's UID, and anycast addresses that were not announced when
 * the record was lost. ADD put onto the pod's `lo` what the annotation says and the operator permits: what it would not put
 * there today is not adopted.
 */
export const completeFromPod = (
  allocation: Allocation,
  pod: PodInfo,
  spec: NodeConfigSpec,
  holders: Holders
): Allocation => {
  const annotations = parseAnnotations(pod.annotations)
  const anycast = Result.isSuccess(annotations) ? annotations.success.anycast : []
  const { addresses } = allocation
  const families = primariesOf(addresses).map(({ family }) => family)
  const more = anycast.filter((address) =>
    mayHave({ address, kind: "anycast", spec, families, anycast, holders }) === undefined &&
    !addresses.anycast.some((known) => equalAddress(known, address))
  )
  return {
    ...allocation,
    pod: { ...allocation.pod, uid: pod.uid },
    addresses: { ...addresses, anycast: [...addresses.anycast, ...more] }
  }
}

const unreadableRecords = Metric.gauge("flock_unreadable_records", {
  description: "Allocation records and queued DELs that could not be read and were set aside"
})

/** Sets the gauge of what was set aside. */
export const countUnreadable = (kind: "allocation" | "del", count: number): Effect.Effect<void> =>
  Metric.update(Metric.withAttributes(unreadableRecords, { kind }), count)
