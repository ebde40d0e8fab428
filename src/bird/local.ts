/** Which of the node's own addresses a session uses, and the node's router ID. Pure. */
import { createHash } from "node:crypto"
import { isOrdinary, mayReach } from "../domain/addressRules.ts"
import { contains, equalAddress, type Family, formatAddress, type IpAddress, networkOf } from "../domain/Ip.ts"
import { type HostInterface, IF_PREFIX, type InterfaceAddress, type Standing, type Way } from "../netlink/Netlink.ts"

const LOOPBACK = "lo"

/** An address of the node that could be a session's local end or a next hop. */
export interface NodeAddress extends InterfaceAddress {
  readonly ifName: string
  readonly ifIndex: number
  /** Of an interface that is up. */
  readonly up: boolean
  /** On `lo` or a dummy interface: an address of the node as a whole, which no link takes with it. */
  readonly stable: boolean
}

/** The last three are never chosen: they come and go, or are no source of what the node begins (RFC 6724, section 5). */
const RANK: Readonly<Record<Standing, number>> = { permanent: 0, dynamic: 1, deprecated: 2, temporary: 2, secondary: 2 }

const isSteady = ({ standing, up }: NodeAddress): boolean => up && RANK[standing] < 2

const byRank = (a: NodeAddress, b: NodeAddress): number => RANK[a.standing] - RANK[b.standing]

const byValue = (a: NodeAddress, b: NodeAddress): number =>
  a.address.value < b.address.value ? -1 : a.address.value > b.address.value ? 1 : a.ifIndex - b.ifIndex

/** All but pods' links have; permanent ones first, then the lowest. */
export const nodeAddresses = (interfaces: ReadonlyArray<HostInterface>): ReadonlyArray<NodeAddress> =>
  interfaces
    .filter(({ ifName }) => !ifName.startsWith(IF_PREFIX))
    .flatMap(({ addresses, ifIndex, ifName, kind, up }) =>
      addresses.map((it) => ({ ...it, ifName, ifIndex, up, stable: ifName === LOOPBACK || kind === "dummy" }))
    )
    .toSorted((a, b) => byRank(a, b) || byValue(a, b))

/** Fit to be a next hop that other machines use, or to tell nodes apart. */
const isUsable = (it: NodeAddress): boolean => isSteady(it) && it.ifName !== LOOPBACK && isOrdinary(it.address)

export interface LocalEnd extends NodeAddress {
  /**
   * `node`: the peer is on this node. `link`: it is on a connected network. `routed`: no interface has it in its prefix,
   * so BIRD must not look for one.
   */
  readonly reach: "node" | "link" | "routed"
  /** Index of the interface that leads to the peer: another one than `ifIndex` where the address is on `lo` or a dummy. */
  readonly outgoing: number
}

export interface Choice {
  /** The operator's. */
  readonly named?: IpAddress | undefined
  /** What the session had when it was Established last. */
  readonly kept?: IpAddress | undefined
  /** It is Established now. */
  readonly isAlive?: boolean
  /** The peer may be on no connected network (`multihop`). */
  readonly distant: boolean
  /** How the kernel reaches the peer. */
  readonly way?: Way | undefined
}

const has = (peer: IpAddress) => ({ address, prefix }: InterfaceAddress): boolean =>
  contains(networkOf(address, prefix), peer)

/** In the peer's /64 or /24: an address given as /128 or /32, with an on-link route. */
const isNear = (peer: IpAddress) => ({ address }: InterfaceAddress): boolean =>
  contains(networkOf(address, peer.family === 6 ? 64 : 24), peer)

/** The kernel takes every address of a prefix on `lo` for its own: nobody else is in it. */
const isOnLink = (it: NodeAddress): boolean => it.ifName !== LOOPBACK || !isOrdinary(it.address)

/** The end that this address makes, if it can be one. */
const endAt = (
  it: NodeAddress,
  peer: IpAddress,
  addresses: ReadonlyArray<NodeAddress>,
  { distant, way }: Choice
): LocalEnd | undefined => {
  const { ifIndex, ifName } = it
  if (isOnLink(it) && has(peer)(it)) return { ...it, reach: ifName === LOOPBACK ? "node" : "link", outgoing: ifIndex }
  const connected = addresses.find((other) => other.up && other.ifName !== LOOPBACK && has(peer)(other))
  if (connected !== undefined) return { ...it, reach: "link", outgoing: it.stable ? connected.ifIndex : ifIndex }
  const outgoing = it.stable ? way?.ifIndex ?? ifIndex : ifIndex
  return distant || isNear(peer)(it) ? { ...it, reach: "routed", outgoing } : undefined
}

/** Ordinary ones first, then permanent ones, then the one that the kernel would take. */
const preferring = (source: IpAddress | undefined) => (a: NodeAddress, b: NodeAddress): number => {
  const isSource = ({ address }: NodeAddress) => source !== undefined && equalAddress(address, source)
  return Number(isUsable(b)) - Number(isUsable(a)) || byRank(a, b) || Number(isSource(b)) - Number(isSource(a))
}

/** For a session that never was: of the addresses that stay, by how the kernel reaches the peer. */
const freshEnd = (
  peer: IpAddress,
  fit: ReadonlyArray<NodeAddress>,
  addresses: ReadonlyArray<NodeAddress>,
  choice: Choice
): LocalEnd | undefined => {
  const { distant, way } = choice
  const steady = fit.filter(isSteady).toSorted(preferring(way?.source))
  const connected = steady.filter((it) => isOnLink(it) && has(peer)(it)).toSorted((a, b) => b.prefix - a.prefix)[0]
  const near = steady.find((it) => isOnLink(it) && isNear(peer)(it))
  if (connected !== undefined || !distant || way === undefined) {
    const it = connected ?? near
    return it && endAt(it, peer, addresses, choice)
  }
  const { ifIndex, source } = way
  const lasting = steady.filter((it) => it.stable && it.standing === "permanent" && isOrdinary(it.address))
  const it = [...lasting, ...steady.filter((it) => it.standing === "permanent")]
    .find(({ address }) => source !== undefined && equalAddress(address, source)) ??
    near ?? steady.find((it) => it.ifIndex === ifIndex) ?? lasting[0]
  return it && endAt(it, peer, addresses, choice)
}

/**
 * The local end of a session with `peer`: the peer's own address where the node has it; else the address that the operator
 * names; else the one that the session had, while it is on the node (and its link up, where another one serves); else a steady one, permanent before dynamic: whose
 * interface prefix has the peer in it (longest first), or in the peer's /64 or /24, or, for a distant peer, the kernel's
 * own source, one of the interface that leads there, one of `lo` or a dummy.
 */
export const localEnd = (
  peer: IpAddress,
  addresses: ReadonlyArray<NodeAddress>,
  choice: Choice
): LocalEnd | undefined => {
  const same = addresses.find(({ address, up }) => up && equalAddress(address, peer))
  if (same !== undefined) return { ...same, reach: "node", outgoing: same.ifIndex }
  const { isAlive, kept, named } = choice
  const fit = addresses.filter(({ address }) => address.family === peer.family && mayReach(address, peer))
  const at = (wanted: IpAddress | undefined): LocalEnd | undefined => {
    const it = wanted && fit.find(({ address }) => equalAddress(address, wanted))
    return it && endAt(it, peer, addresses, choice)
  }
  if (named === undefined) {
    const end = at(kept)
    // Its link is down: no other one is taken while the session lives on, nor where there is none.
    return end?.up === true || isAlive === true ?
      end ?? freshEnd(peer, fit, addresses, choice)
      : freshEnd(peer, fit, addresses, choice) ?? end
  }
  const end = at(named)
  return end?.up === true || (kept !== undefined && equalAddress(named, kept)) ? end : undefined
}

/** Whether the peer's network has addresses of this node, none of which is ever chosen. */
export const onlyFleeting = (peer: IpAddress, addresses: ReadonlyArray<NodeAddress>): boolean =>
  addresses.some((it) => it.up && isOnLink(it) && has(peer)(it))

/**
 * What a peer is told to send packets of `family` to, where that is not the local end: an address on the same interface, or the one that leads there,
 * `kept` while it is there. A peer on this node takes any but its own address (BIRD announces nothing with that one), `lo`'s
 * if there is no other.
 */
export const nextHop = (
  peer: IpAddress,
  end: LocalEnd,
  family: Family,
  addresses: ReadonlyArray<NodeAddress>,
  kept?: IpAddress | undefined
): NodeAddress | undefined => {
  const own = addresses.filter((it) => it.address.family === family)
  if (end.reach === "node") {
    return [...own.filter(isUsable), ...own.filter(({ ifName, up }) => up && ifName === LOOPBACK)]
      .find(({ address }) => !equalAddress(address, peer))
  }
  const on = (ifIndex: number) => own.filter((it) => it.ifIndex === ifIndex && isOrdinary(it.address))
  const fit = [...on(end.ifIndex), ...on(end.outgoing)]
  return fit.find(({ address }) => kept !== undefined && equalAddress(address, kept)) ?? fit.find(isSteady)
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
 * The operator's, else `kept`, else the IPv4 local end of a session, else an IPv4 address on the interface of one, else from
 * the name. Loopback and link-local addresses are the same on many nodes, so they are no identifiers.
 */
export const routerId = (
  explicit: string | undefined,
  kept: string | undefined,
  ends: ReadonlyArray<NodeAddress>,
  addresses: ReadonlyArray<NodeAddress>,
  nodeName: string
): string => {
  const known = explicit ?? kept
  if (known !== undefined) return known
  const usable4 = (it: NodeAddress) =>
    it.address.family === 4 && (isUsable(it) || (it.stable && isOrdinary(it.address)))
  const found = ends.find(usable4) ??
    ends.map(({ ifIndex }) => addresses.find((it) => it.ifIndex === ifIndex && usable4(it)))
      .find((it) => it !== undefined)
  return found === undefined ? routerIdOfName(nodeName) : formatAddress(found.address)
}
