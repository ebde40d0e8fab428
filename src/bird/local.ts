/** Which of the node's own addresses a session uses, and the node's router ID. Pure. */
import { createHash } from "node:crypto"
import {
  type Cidr,
  contains,
  equalAddress,
  type Family,
  formatAddress,
  type IpAddress,
  networkOf
} from "../domain/Ip.ts"
import { type HostInterface, IF_PREFIX } from "../netlink/Netlink.ts"

const LINK_LOCAL: Record<Family, Cidr> = {
  6: { family: 6, base: 0xfe80n << 112n, prefix: 10 },
  4: { family: 4, base: 0xa9fe0000n, prefix: 16 }
}

/** fe80::/10 or 169.254.0.0/16: says nothing outside its link. */
export const isLinkLocal = (address: IpAddress): boolean => contains(LINK_LOCAL[address.family], address)

/** An address of the node that could be a session's local end or a next hop. */
export interface NodeAddress {
  readonly address: IpAddress
  readonly prefix: number
  readonly ifName: string
  readonly ifIndex: number
}

const byValue = (a: NodeAddress, b: NodeAddress): number =>
  a.address.value < b.address.value ? -1 : a.address.value > b.address.value ? 1 : a.ifIndex - b.ifIndex

/** Addresses on real interfaces that are up: neither pods' links nor loopback, no link-local ones; lowest first. */
export const nodeAddresses = (interfaces: ReadonlyArray<HostInterface>): ReadonlyArray<NodeAddress> =>
  interfaces
    .filter(({ ifName, up }) => up && ifName !== "lo" && !ifName.startsWith(IF_PREFIX))
    .flatMap(({ addresses, ifIndex, ifName }) =>
      addresses.map(({ address, prefix }) => ({ address, prefix, ifName, ifIndex }))
    )
    .filter(({ address }) => !isLinkLocal(address))
    .toSorted(byValue)

export interface LocalEnd extends NodeAddress {
  /** False: no interface has the peer in its prefix, so BIRD must not look for one. */
  readonly direct: boolean
}

/**
 * The local end of a session with `peer`: the address whose interface prefix has the peer in it (longest first), else
 * one in the peer's /64 or /24 (addresses given as /128 or /32 with on-link routes), else, where `outgoing` names the
 * interface that routes to the peer, an address of that interface. Ties go to the lowest address.
 */
export const localEnd = (
  peer: IpAddress,
  addresses: ReadonlyArray<NodeAddress>,
  outgoing: number | undefined
): LocalEnd | undefined => {
  const family = addresses.filter(({ address }) => address.family === peer.family)
  const connected = family
    .filter(({ address, prefix }) => contains(networkOf(address, prefix), peer) && !equalAddress(address, peer))
    .toSorted((a, b) => b.prefix - a.prefix)[0]
  if (connected !== undefined) return { ...connected, direct: true }
  const near = family.find(({ address }) => contains(networkOf(address, peer.family === 6 ? 64 : 24), peer)) ??
    family.find(({ ifIndex }) => ifIndex === outgoing)
  return near === undefined ? undefined : { ...near, direct: false }
}

/**
 * Router ID of a node without an IPv4 address: from the SHA-256 of its name, with a first octet of 1 to 223, so never
 * 0.0.0.0 (RFC 6286 section 2.1) and never looking like a multicast address.
 */
export const routerIdOfName = (nodeName: string): string => {
  const [a = 0, b = 0, c = 0, d = 0] = createHash("sha256").update(nodeName).digest()
  return `${1 + a % 223}.${b}.${c}.${d}`
}

/** Explicit, else the IPv4 local end of a session, else an IPv4 address beside one, else from the name. */
export const routerId = (
  explicit: string | undefined,
  ends: ReadonlyArray<NodeAddress>,
  addresses: ReadonlyArray<NodeAddress>,
  nodeName: string
): string => {
  if (explicit !== undefined) return explicit
  const own = ends.find(({ address }) => address.family === 4) ??
    ends.map((end) => beside(end, 4, addresses)).find((found) => found !== undefined)
  return own === undefined ? routerIdOfName(nodeName) : formatAddress(own.address)
}

/** The lowest address of `family` on the interface of `end`. */
export const beside = (
  end: NodeAddress,
  family: Family,
  addresses: ReadonlyArray<NodeAddress>
): NodeAddress | undefined =>
  addresses.find(({ address, ifIndex }) => ifIndex === end.ifIndex && address.family === family)
