/** What the node and its network use themselves, so that no pod may have it, whatever the operator's lists say. Pure. */
import {
  bitsOf,
  type Cidr,
  contains,
  containsCidr,
  equalCidr,
  type Family,
  formatAddress,
  formatCidr,
  type IpAddress,
  networkOf,
  overlaps
} from "./Ip.ts"
import type { NodeConfigSpec } from "./NodeConfig.ts"
import { routedAddress } from "./peerAddress.ts"

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
  /** Routes that are neither flock's nor the kernel's own nor over a pod's link, but for default ones. */
  readonly routes: ReadonlyArray<{ readonly destination: Cidr; readonly ifName: string }>
  /** Addresses that the kernel was found to send elsewhere when a pod was to have them, in words that follow "is". */
  readonly found: ReadonlyArray<{ readonly address: IpAddress; readonly is: string }>
  /** In the node's prefixes. */
  readonly learned: ReadonlyArray<LearnedPrefix>
}

/** What a router announces and this node does not. */
export interface LearnedPrefix {
  readonly destination: Cidr
  /** The router, in words: `192.0.2.1 (AS 65000)`. */
  readonly by: string
  /** AS number in which it began; undefined: this node's own. */
  readonly origin: number | undefined
}

export interface Occupied {
  /** By address, in words that follow "is". */
  readonly addresses: { readonly [F in Family]: ReadonlyMap<bigint, string> }
  readonly subnets: ReadonlyArray<{ readonly cidr: Cidr; readonly ifName: string }>
  /** Of those that pods draw from, the ones that the host sends elsewhere, in words that follow "is". */
  readonly held: { readonly [F in Family]: ReadonlyMap<bigint, string> }
  /** Why pods can have no address of the node's `cidr6` or `cidr4`: a sentence. */
  readonly conflicts: { readonly [F in Family]?: string }
}

export const NOTHING_OCCUPIED: Occupied = {
  addresses: { 4: new Map(), 6: new Map() },
  subnets: [],
  held: { 4: new Map(), 6: new Map() },
  conflicts: {}
}

/**
 * Why the whole pool is refused; undefined: it is not. Wider prefixes are no conflict: a default route, the aggregate that a
 * router announces; and a node whose prefix is the wider one is told of this one, and refused there. Single addresses of the node or of somebody else are passed over when a pod is added.
 */
const conflictOf = (
  pool: Cidr,
  { gateways, learned, routes }: HostFacts,
  subnets: Occupied["subnets"],
  spec: NodeConfigSpec
): string | undefined => {
  const name = `spec.cidr${pool.family} ${formatCidr(pool)}`
  const subnet = subnets.find(({ cidr }) => overlaps(cidr, pool))
  if (subnet !== undefined) {
    return `${name} overlaps ${formatCidr(subnet.cidr)}, to which this node is connected (${subnet.ifName})`
  }
  const peer = (spec.bgp?.peers ?? []).flatMap((it) => routedAddress(it) ?? []).find((it) => contains(pool, it))
  if (peer !== undefined) return `${name} contains ${formatAddress(peer)}, a router's address (spec.bgp.peers)`
  const gateway = gateways.find((address) => contains(pool, address))
  if (gateway !== undefined) return `${name} contains ${formatAddress(gateway)}, the next hop of a route of this node`
  const route = routes.find(({ destination }) =>
    containsCidr(pool, destination) && destination.prefix < bitsOf(pool.family)
  )
  if (route !== undefined) {
    return `${name} contains ${formatCidr(route.destination)}, which this node reaches by another way (${route.ifName})`
  }
  const other = learned.find(({ destination }) =>
    containsCidr(pool, destination) && destination.prefix < bitsOf(pool.family)
  )
  if (other === undefined) return undefined
  const origin = other.origin === undefined ? "" : `, where AS ${other.origin} announces it`
  return equalCidr(other.destination, pool)
    ? `${name} is another node's too: ${other.by} has a route to it that leads elsewhere${origin}`
    : `${name} contains ${
      formatCidr(other.destination)
    }, to which ${other.by} has a route that leads elsewhere${origin}`
}

const inPools = (address: IpAddress, { cidr4, cidr6 }: NodeConfigSpec): boolean =>
  [cidr4, cidr6].some((pool) => pool !== undefined && contains(pool, address))

const heldBy = (facts: HostFacts, spec: NodeConfigSpec): Occupied["held"] => {
  const held = { 4: new Map<bigint, string>(), 6: new Map<bigint, string>() }
  const hold = (address: IpAddress, is: string) => {
    if (inPools(address, spec)) held[address.family].set(address.value, is)
  }
  for (const { address, is } of facts.found) hold(address, is)
  for (const { destination: { base: value, family, prefix }, ifName } of facts.routes) {
    if (prefix === bitsOf(family)) hold({ family, value }, `routed elsewhere by this node (${ifName})`)
  }
  for (const { by, destination: { base: value, family, prefix } } of facts.learned) {
    if (prefix === bitsOf(family)) hold({ family, value }, `announced to this node by ${by}`)
  }
  for (const { address, ifName } of facts.addresses) hold(address, `this node's own address (${ifName})`)
  return held
}

export const occupiedBy = (facts: HostFacts, spec: NodeConfigSpec): Occupied => {
  const { addresses, gateways } = facts
  const taken = { 4: new Map<bigint, string>(), 6: new Map<bigint, string>() }
  for (const { family, value } of gateways) taken[family].set(value, "the next hop of a route of this node")
  spec.bgp?.peers.forEach((peer, i) => {
    const router = routedAddress(peer)
    if (router !== undefined) taken[router.family].set(router.value, `a router's address (spec.bgp.peers[${i}])`)
  })
  const subnets = new Map<string, { readonly cidr: Cidr; readonly ifName: string }>()
  for (const { address, ifName, prefix, up } of addresses) {
    taken[address.family].set(address.value, `this node's own address (${ifName})`)
    const cidr = networkOf(address, prefix)
    if (up && prefix < bitsOf(address.family)) subnets.set(formatCidr(cidr), { cidr, ifName })
  }
  const all = [...subnets.values()]
  const conflict4 = spec.cidr4 && conflictOf(spec.cidr4, facts, all, spec)
  const conflict6 = spec.cidr6 && conflictOf(spec.cidr6, facts, all, spec)
  return {
    addresses: taken,
    subnets: all,
    held: heldBy(facts, spec),
    conflicts: { ...(conflict4 && { 4: conflict4 }), ...(conflict6 && { 6: conflict6 }) }
  }
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
