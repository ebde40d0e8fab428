/** Prefixes that the node announces as a whole, and what is announced in an address's place. Pure. */
import { type Cidr, contains, containsCidr, type IpAddress } from "./Ip.ts"
import type { NodeConfigSpec } from "./NodeConfig.ts"

/**
 * Of `spec.bgp.advertise`. `ours`: pods have addresses of it, so what of it nobody has leads nowhere, as with `cidr6`. The
 * rest is for somebody else on the node, such as kube-proxy, whom a route of ours would be in the way.
 */
export const advertised = (
  { anycast, bgp }: NodeConfigSpec
): { readonly ours: ReadonlyArray<Cidr>; readonly others: ReadonlyArray<Cidr> } => {
  const lists = [...anycast.allowedCIDRs, ...anycast.grants.map(({ cidr }) => cidr)]
  const { others = [], ours = [] } = Object.groupBy(
    bgp?.advertise ?? [],
    (cidr) => lists.some((it) => containsCidr(it, cidr)) ? "ours" : "others"
  )
  return { ours, others }
}

/** The longest of the node's prefixes and of `advertise` that holds an address. */
export const coveringPrefix = ({ bgp, cidr4, cidr6 }: NodeConfigSpec, address: IpAddress): Cidr | undefined =>
  [cidr6, cidr4, ...bgp?.advertise ?? []]
    .filter((cidr) => cidr !== undefined && contains(cidr, address))
    .toSorted((a, b) => (b?.prefix ?? 0) - (a?.prefix ?? 0))[0]

/** The prefix that is announced in an address's place; undefined: it is announced itself. */
export const summaryOf = (spec: NodeConfigSpec, address: IpAddress): Cidr | undefined =>
  spec.bgp?.export.summaryOnly === true ? coveringPrefix(spec, address) : undefined
