/** What the node and its network use themselves, so that no pod may have it, whatever the operator's lists say. Pure. */
import { bitsOf, type Cidr, contains, type Family, formatAddress, formatCidr, type IpAddress, networkOf } from "./Ip.ts"
import type { NodeConfigSpec } from "./NodeConfig.ts"

/** Read from the kernel. */
export interface HostFacts {
  /** Of the node's own interfaces: pods' links are none. */
  readonly addresses: ReadonlyArray<{
    readonly address: IpAddress
    readonly prefix: number
    readonly ifName: string
    /** Only an interface that is up makes its subnet a connected one. */
    readonly up: boolean
  }>
  /** Next hops of the node's own routes. */
  readonly gateways: ReadonlyArray<IpAddress>
}

export interface Occupied {
  /** By address, in words that follow "is". */
  readonly addresses: { readonly [F in Family]: ReadonlyMap<bigint, string> }
  readonly subnets: ReadonlyArray<{ readonly cidr: Cidr; readonly ifName: string }>
}

export const NOTHING_OCCUPIED: Occupied = { addresses: { 4: new Map(), 6: new Map() }, subnets: [] }

export const occupiedBy = ({ addresses, gateways }: HostFacts, spec: NodeConfigSpec): Occupied => {
  const taken = { 4: new Map<bigint, string>(), 6: new Map<bigint, string>() }
  for (const { family, value } of gateways) taken[family].set(value, "the next hop of a route of this node")
  spec.bgp?.peers.forEach(({ address: { family, value } }, i) =>
    taken[family].set(value, `a router's address (spec.bgp.peers[${i}])`)
  )
  const subnets = new Map<string, { readonly cidr: Cidr; readonly ifName: string }>()
  for (const { address, ifName, prefix, up } of addresses) {
    taken[address.family].set(address.value, `this node's own address (${ifName})`)
    const cidr = networkOf(address, prefix)
    if (up && prefix < bitsOf(address.family)) subnets.set(formatCidr(cidr), { cidr, ifName })
  }
  return { addresses: taken, subnets: [...subnets.values()] }
}

/**
 * In words that follow the address; undefined: nothing. `listed`: the operator's lists name exactly this address, so that
 * it may lie in a connected subnet.
 */
export const occupation = (
  address: IpAddress,
  { addresses, subnets }: Occupied,
  listed: boolean
): string | undefined => {
  const by = addresses[address.family].get(address.value)
  if (by !== undefined) return `is ${by}`
  const subnet = listed ? undefined : subnets.find(({ cidr }) => contains(cidr, address))
  return subnet === undefined
    ? undefined
    : `lies in ${
      formatCidr(subnet.cidr)
    }, to which this node is connected (${subnet.ifName}); to allow it all the same, ` +
      `list ${formatAddress(address)}/${bitsOf(address.family)} in spec.anycast`
}
