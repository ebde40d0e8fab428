/** What the reconciler's state says of every anycast and chosen address. Pure. */
import { HashMap } from "effect"
import { attachmentKey } from "../domain/Allocation.ts"
import { mayAnnounce, type PodCache, type Rules } from "../domain/announcement.ts"
import { formatAddress, hostCidr } from "../domain/Ip.ts"
import type { AnycastAddress, AnycastHolder } from "./AnycastAddress.ts"
import type { State } from "./anycastState.ts"
import { destinationKey } from "./holders.ts"

/** In the order of the export set. */
export const addressesOf = ({ index, installed }: State, cache: PodCache & Rules): ReadonlyArray<AnycastAddress> =>
  index.exportSet.map((address) => {
    const key = destinationKey(hostCidr(address))
    const holders = (index.byDestination.get(key) ?? []).map((holder): AnycastHolder => ({
      owner: attachmentKey(holder.allocation),
      namespace: holder.allocation.pod.namespace,
      pod: holder.allocation.pod.name,
      hostIfName: holder.allocation.hostIfName,
      kind: holder.kind,
      gate: mayAnnounce(address, holder.allocation, cache)?._tag ?? "Ready"
    }))
    const wanted = holders.some(({ gate }) => gate === "Ready")
    const undecided = !wanted && holders.some(({ gate }) => gate === "Unknown")
    const state = undecided || wanted !== HashMap.has(installed, key) ? "pending" : wanted ? "announced" : "withdrawn"
    return { address: formatAddress(address), state, holders }
  })
