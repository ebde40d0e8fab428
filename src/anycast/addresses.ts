/** What is true of every anycast and chosen address, from allocations, pods, the kernel and BIRD. Pure. */
import { HashMap } from "effect"
import type { PeerExports } from "../bird/exports.ts"
import { attachmentKey } from "../domain/Allocation.ts"
import { mayAnnounce, type PodCache, type Rules } from "../domain/announcement.ts"
import { formatAddress, formatCidr, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { summaryOf } from "../domain/summaries.ts"
import type { AnycastAddress, AnycastHolder, HeldAddress } from "./AnycastAddress.ts"
import { destinationKey, type Index } from "./holders.ts"
import type { Installed } from "./routePlan.ts"

const keyOf = (address: IpAddress): string => destinationKey(hostCidr(address))

/** In the order of the export set. */
export const heldAddresses = (
  { byDestination, exportSet }: Index,
  cache: PodCache & Rules
): ReadonlyArray<HeldAddress> =>
  exportSet.map((address) => ({
    address: formatAddress(address),
    holders: (byDestination.get(keyOf(address)) ?? []).map((holder): AnycastHolder => ({
      owner: attachmentKey(holder.allocation),
      namespace: holder.allocation.pod.namespace,
      pod: holder.allocation.pod.name,
      hostIfName: holder.allocation.hostIfName,
      kind: holder.kind,
      gate: mayAnnounce(address, holder.allocation, cache)?._tag ?? "Ready"
    }))
  }))

/** What kernel and BIRD say at one moment. */
export interface Facts {
  /** The kernel's routes of protocol 201. */
  readonly installed: Installed
  readonly exports: ReadonlyArray<PeerExports>
}

const stateOf = (
  holders: ReadonlyArray<AnycastHolder>,
  installed: boolean,
  exported: boolean
): AnycastAddress["state"] => {
  const wanted = holders.some(({ gate }) => gate === "Ready")
  const undecided = !wanted && holders.some(({ gate }) => gate === "Unknown")
  if (undecided || wanted !== installed) return "pending"
  if (!wanted) return exported ? "pending" : "withdrawn"
  return exported ? "announced" : "installed"
}

/** In the order of the export set. */
export const addressesOf = (index: Index, cache: PodCache & Rules, facts: Facts): ReadonlyArray<AnycastAddress> => {
  const held = heldAddresses(index, cache)
  return index.exportSet.flatMap((address, i) => {
    const it = held[i]
    if (it === undefined) return []
    const summary = cache.spec && summaryOf(cache.spec, address)
    const destination = formatCidr(summary ?? hostCidr(address))
    const installed = HashMap.has(facts.installed, keyOf(address))
    // A summary is exported whatever becomes of the addresses in it.
    const exportedTo = summary !== undefined && !installed
      ? []
      : facts.exports.filter(({ destinations }) => destinations.has(destination)).map(({ address }) => address)
    return [{ ...it, state: stateOf(it.holders, installed, exportedTo.length > 0), installed, exportedTo }]
  })
}
