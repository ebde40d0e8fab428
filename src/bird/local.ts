/** Which of the node's own addresses a session uses, and the node's router ID. Pure. */
import { createHash } from "node:crypto"
import { isOrdinary, mayReach } from "../domain/addressRules.ts"
import { contains, equalAddress, type Family, formatAddress, type IpAddress, networkOf } from "../domain/Ip.ts"
import { type HostInterface, IF_PREFIX } from "../netlink/Netlink.ts"

const LOOPBACK = "lo"

/** An address of the node that could be a session's local end or a next hop. */
export interface NodeAddress {
  readonly address: IpAddress
  readonly prefix: number
  readonly ifName: string
  readonly ifIndex: number
}

const byValue = (a: NodeAddress, b: NodeAddress): number =>
  a.address.value < b.address.value ? -1 : a.address.value > b.address.value ? 1 : a.ifIndex - b.ifIndex

/** Addresses of interfaces that are up, without pods' links; lowest first. */
export const nodeAddresses = (interfaces: ReadonlyArray<HostInterface>): ReadonlyArray<NodeAddress> =>
  interfaces
    .filter(({ ifName, up }) => up && !ifName.startsWith(IF_PREFIX))
    .flatMap(({ addresses, ifIndex, ifName }) =>
      addresses.map(({ address, prefix }) => ({ address, prefix, ifName, ifIndex }))
    )
    .toSorted(byValue)

/** Fit to be a next hop that other machines use, or to tell nodes apart. */
const isUsable = ({ address, ifName }: NodeAddress): boolean => ifName !== LOOPBACK && isOrdinary(address)

export interface LocalEnd extends NodeAddress {
  /**
   * `node`: the peer is on this node. `link`: it is on a connected network. `routed`: no interface has it in its prefix,
   * so BIRD must not look for one.
   */
  readonly reach: "node" | "link" | "routed"
}

/**
 * The local end of a session with `peer`: the peer's own address where the node has it; else the address whose interface
 * prefix has the peer in it (longest first); else one in the peer's /64 or /24 (addresses given as /128 or /32 with
 * on-link routes); else, where `outgoing` names the interface that routes to the peer, an address of that interface.
 * Ties go to the lowest address, ordinary ones before special ones.
 */
export const localEnd = (
  peer: IpAddress,
  addresses: ReadonlyArray<NodeAddress>,
  outgoing: number | undefined
): LocalEnd | undefined => {
  const same = addresses.find(({ address }) => equalAddress(address, peer))
  if (same !== undefined) return { ...same, reach: "node" }
  const fit = addresses
    .filter(({ address, ifName }) =>
      address.family === peer.family && mayReach(address, peer) && (ifName !== LOOPBACK || !isOrdinary(address))
    )
    .toSorted((a, b) => Number(isUsable(b)) - Number(isUsable(a)))
  const connected = fit
    .filter(({ address, prefix }) => contains(networkOf(address, prefix), peer))
    .toSorted((a, b) => b.prefix - a.prefix)[0]
  // The kernel takes every address of a prefix on `lo` for its own.
  if (connected !== undefined) return { ...connected, reach: connected.ifName === LOOPBACK ? "node" : "link" }
  const near = fit.find(({ address }) => contains(networkOf(address, peer.family === 6 ? 64 : 24), peer)) ??
    fit.find(({ ifIndex }) => ifIndex === outgoing)
  return near === undefined ? undefined : { ...near, reach: "routed" }
}

/**
 * What a peer is told to send packets of `family` to, where that is not the local end: an address on the same interface.
 * A peer on this node takes any but its own address (BIRD announces nothing with that one), `lo`'s if there is no other.
 */
export const nextHop = (
  peer: IpAddress,
  end: LocalEnd,
  family: Family,
  addresses: ReadonlyArray<NodeAddress>
): NodeAddress | undefined => {
  const usable = addresses.filter((it) => it.address.family === family && isUsable(it))
  if (end.reach !== "node") return usable.find(({ ifIndex }) => ifIndex === end.ifIndex)
  const loopback = addresses.filter((it) => it.address.family === family && it.ifName === LOOPBACK)
  return [...usable, ...loopback].find(({ address }) => !equalAddress(address, peer))
}

/**
 * Router ID of a node without an IPv4 address: from the SHA-256 of its name, with a first octet of 1 to 223, so never
 * 0.0.0.0 (RFC 6286 section 2.1) and never looking like a multicast address.
 */
export const routerIdOfName = (nodeName: string): string => {
  const [a = 0, b = 0, c = 0, d = 0] = createHash("sha256").update(nodeName).digest()
  return `${1 + a % 223}.${b}.${c}.${d}`
}

/**
 * Explicit, else the IPv4 local end of a session, else an IPv4 address on the interface of one, else from the name.
 * Loopback and link-local addresses are the same on many nodes, so they are no identifiers.
 */
export const routerId = (
  explicit: string | undefined,
  ends: ReadonlyArray<NodeAddress>,
  addresses: ReadonlyArray<NodeAddress>,
  nodeName: string
): string => {
  if (explicit !== undefined) return explicit
  const usable4 = (it: NodeAddress) => it.address.family === 4 && isUsable(it)
  const found = ends.find(usable4) ??
    ends.map(({ ifIndex }) => addresses.find((it) => it.ifIndex === ifIndex && usable4(it)))
      .find((it) => it !== undefined)
  return found === undefined ? routerIdOfName(nodeName) : formatAddress(found.address)
}
