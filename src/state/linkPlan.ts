import { aliasOf, type Allocation } from "../domain/Allocation.ts"
import type { PodLinkPlan } from "../netlink/Netlink.ts"

/** The pod's network as the kernel should have it. `netns` may differ from the record's: CHECK is told it anew. */
export const planOf = (allocation: Allocation, netns: string = allocation.netns): PodLinkPlan => ({
  hostIfName: allocation.hostIfName,
  alias: aliasOf(allocation),
  netns,
  ifName: allocation.ifName,
  mtu: allocation.mtu,
  addresses: allocation.addresses
})
