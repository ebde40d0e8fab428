/** What the kernel answers, as plain values. */
import { bitsOf, type Cidr, formatCidr, fromBytes, type IpAddress } from "../domain/Ip.ts"
import { isLinkLocal } from "../domain/peerAddress.ts"
import { type Attrs, attrs, i32At, readText, readU32, type Received, u16At, u32At } from "./codec.ts"
import * as C from "./constants.ts"
import {
  type BirdRoute,
  type HostEnd,
  type HostRoute,
  METRICS,
  type NextHop,
  PROTOCOL_BIRD,
  PROTOCOL_POD,
  type RouterNeighbour,
  type Standing,
  type Way
} from "./Netlink.ts"
import { macText } from "./requests.ts"

export interface Link {
  readonly ifIndex: number
  readonly ifName: string
  readonly up: boolean
  readonly mtu: number
  readonly mac: string
  readonly alias: string
  /** `IFLA_LINK`: the peer's index, in the peer's namespace. */
  readonly peerIndex: number | undefined
  readonly peerNsid: number | undefined
}

export interface LinkAddress {
  readonly ifIndex: number
  readonly address: IpAddress
  readonly prefix: number
  /** Usable: neither in duplicate address detection nor found to be a duplicate. */
  readonly usable: boolean
  readonly standing: Standing
}

export interface Neighbour {
  readonly ifIndex: number
  readonly address: IpAddress
  readonly mac: string
  readonly permanent: boolean
}

const addressOf = (bytes: Uint8Array | undefined): IpAddress | undefined =>
  bytes !== undefined && (bytes.length === 4 || bytes.length === 16) ? fromBytes(bytes) : undefined

/** RTM_NEWLINK or RTM_DELLINK. */
export const readLink = (message: Received): Link | undefined => {
  if ((message.type !== C.RTM_NEWLINK && message.type !== C.RTM_DELLINK) || message.body.length < 16) return undefined
  if (message.body[0] !== C.AF_UNSPEC) return undefined
  const found = attrs(message.body, 16)
  return {
    ifIndex: i32At(message.body, 4),
    ifName: readText(found.get(C.IFLA_IFNAME)),
    up: (u32At(message.body, 8) & C.IFF_UP) !== 0,
    mtu: readU32(found.get(C.IFLA_MTU)) ?? 0,
    mac: macText(found.get(C.IFLA_ADDRESS)),
    alias: readText(found.get(C.IFLA_IFALIAS)),
    peerIndex: readU32(found.get(C.IFLA_LINK)),
    peerNsid: readU32(found.get(C.IFLA_LINK_NETNSID))
  }
}

/** `IFLA_INFO_KIND` of a link, such as `veth` or `vlan`; undefined: a device of its own, as network cards are. */
export const readKind = (message: Received): string | undefined => {
  const info = attrs(message.body, 16).get(C.IFLA_LINKINFO)
  const kind = info && attrs(info, 0).get(C.IFLA_INFO_KIND)
  return kind && readText(kind)
}

/** A link's IPv4 settings by `IPV4_DEVCONF_…` (linux/ip.h), as the link's message carries them all. */
export const readInetConf = (message: Received): (devconf: number) => number | undefined => {
  const families = attrs(message.body, 16).get(C.IFLA_AF_SPEC)
  const inet = families && attrs(families, 0).get(C.AF_INET)
  const conf = inet && attrs(inet, 0).get(C.IFLA_INET_CONF)
  return (devconf) => readU32(conf, 4 * (devconf - 1))
}

/** A link's IPv6 settings by `DEVCONF_…` (linux/ipv6.h), as the link's message carries them all. */
export const readInet6Conf = (message: Received): (devconf: number) => number | undefined => {
  const families = attrs(message.body, 16).get(C.IFLA_AF_SPEC)
  const inet6 = families && attrs(families, 0).get(C.AF_INET6)
  const conf = inet6 && attrs(inet6, 0).get(C.IFLA_INET6_CONF)
  return (devconf) => {
    const value = readU32(conf, 4 * devconf)
    return value === undefined ? undefined : value | 0
  }
}

/** A link as the host end of a pod's. */
export const readHostEnd = (message: Received): Link & HostEnd | undefined => {
  const link = readLink(message)
  if (link === undefined) return undefined
  const flags = u32At(message.body, 8)
  return {
    ...link,
    carrier: (flags & C.IFF_LOWER_UP) !== 0,
    master: readU32(attrs(message.body, 16).get(C.IFLA_MASTER)),
    arp: (flags & C.IFF_NOARP) === 0,
    multicast: (flags & C.IFF_MULTICAST) !== 0,
    ipv6Disabled: link.up && readInet6Conf(message)(C.DEVCONF_DISABLE_IPV6) === 1
  }
}

/** `IFLA_INET6_ADDR_GEN_MODE` of a link; undefined where it has no IPv6. */
export const readAddressGeneration = (message: Received): number | undefined => {
  const families = attrs(message.body, 16).get(C.IFLA_AF_SPEC)
  const inet6 = families && attrs(families, 0).get(C.AF_INET6)
  return inet6 && attrs(inet6, 0).get(C.IFLA_INET6_ADDR_GEN_MODE)?.[0]
}

const standingOf = (flags: number, family: number | undefined): Standing => {
  if ((flags & C.IFA_F_SECONDARY) !== 0) return family === C.AF_INET ? "secondary" : "temporary"
  if ((flags & C.IFA_F_DEPRECATED) !== 0) return "deprecated"
  return (flags & C.IFA_F_PERMANENT) === 0 ? "dynamic" : "permanent"
}

/** RTM_NEWADDR or RTM_DELADDR. On a point-to-point link IFA_ADDRESS is the far end's, IFA_LOCAL the own. */
export const readAddress = (message: Received): LinkAddress | undefined => {
  if ((message.type !== C.RTM_NEWADDR && message.type !== C.RTM_DELADDR) || message.body.length < 8) return undefined
  const found = attrs(message.body, 8)
  const address = addressOf(found.get(C.IFA_LOCAL) ?? found.get(C.IFA_ADDRESS))
  if (address === undefined) return undefined
  const flags = readU32(found.get(C.IFA_FLAGS)) ?? message.body[2] ?? 0
  return {
    ifIndex: u32At(message.body, 4),
    address,
    prefix: message.body[1] ?? 0,
    usable: (flags & (C.IFA_F_TENTATIVE | C.IFA_F_DADFAILED)) === 0,
    standing: standingOf(flags, message.body[0])
  }
}

/** RTM_NEWNEIGH or RTM_DELNEIGH. */
export const readNeighbour = (message: Received): Neighbour | undefined => {
  if ((message.type !== C.RTM_NEWNEIGH && message.type !== C.RTM_DELNEIGH) || message.body.length < 12) return undefined
  const found = attrs(message.body, 12)
  const address = addressOf(found.get(C.NDA_DST))
  if (address === undefined) return undefined
  return {
    ifIndex: i32At(message.body, 4),
    address,
    mac: macText(found.get(C.NDA_LLADDR)),
    permanent: (u16At(message.body, 8) & C.NUD_PERMANENT) !== 0
  }
}

/** A neighbour entry of a host that has advertised itself as a router (RFC 4861), also where `accept_ra` is 0. */
export const readRouter = (message: Received): RouterNeighbour | undefined => {
  const neighbour = readNeighbour(message)
  if (neighbour === undefined || ((message.body[10] ?? 0) & C.NTF_ROUTER) === 0) return undefined
  const { address, ifIndex } = neighbour
  // What is asked for and does not answer goes back and forth between FAILED and INCOMPLETE.
  const gone = message.type === C.RTM_DELNEIGH || (u16At(message.body, 8) & C.NUD_VALID) === 0
  return isLinkLocal(address) ? { ifIndex, address, gone } : undefined
}

const viaOf = (found: Attrs): IpAddress | undefined => {
  const via = found.get(C.RTA_VIA)
  return addressOf(found.get(C.RTA_GATEWAY)) ?? (via === undefined ? undefined : addressOf(via.subarray(2)))
}

const hop = (ifIndex: number, found: Attrs, flags: number): NextHop => {
  const via = viaOf(found)
  return { ifIndex, onlink: (flags & C.RTNH_F_ONLINK) !== 0, ...(via === undefined ? {} : { via }) }
}

/** The array of struct rtnexthop in RTA_MULTIPATH. */
const readMultipath = (bytes: Uint8Array): ReadonlyArray<NextHop> => {
  const hops: Array<NextHop> = []
  for (let at = 0; at + 8 <= bytes.length;) {
    const length = u16At(bytes, at)
    if (length < 8 || at + length > bytes.length) break
    hops.push(hop(i32At(bytes, at + 4), attrs(bytes.subarray(at, at + length), 8), bytes[at + 2] ?? 0))
    at += (length + 3) & ~3
  }
  return hops
}

/** RTM_NEWROUTE or RTM_DELROUTE of a unicast route in the main table; others give undefined. */
export const readRoute = (message: Received): HostRoute | undefined => {
  if ((message.type !== C.RTM_NEWROUTE && message.type !== C.RTM_DELROUTE) || message.body.length < 12) return undefined
  const [family, prefix = 0, , , table, protocol = 0, , kind] = message.body
  if (family !== C.AF_INET && family !== C.AF_INET6) return undefined
  const flags = u32At(message.body, 8)
  const found = attrs(message.body, 12)
  if (kind !== C.RTN_UNICAST || (flags & C.RTM_F_CLONED) !== 0) return undefined
  if ((readU32(found.get(C.RTA_TABLE)) ?? table) !== C.RT_TABLE_MAIN) return undefined
  const base = addressOf(found.get(C.RTA_DST))
  const destination: Cidr = { family: family === C.AF_INET ? 4 : 6, base: base?.value ?? 0n, prefix }
  const multipath = found.get(C.RTA_MULTIPATH)
  const oif = readU32(found.get(C.RTA_OIF))
  const source = addressOf(found.get(C.RTA_PREFSRC))
  return {
    destination,
    protocol,
    ...(source === undefined ? {} : { source }),
    nextHops: multipath !== undefined ? readMultipath(multipath) : oif === undefined ? [] : [hop(oif, found, flags)]
  }
}

/** A route of BIRD's in the main table; without a metric the kernel says none. */
export const readBirdRoute = ({ body, type }: Received): BirdRoute | undefined => {
  if (type !== C.RTM_NEWROUTE || body.length < 12 || body[5] !== PROTOCOL_BIRD) return undefined
  const [number, prefix = 0, , , table] = body
  if (number !== C.AF_INET && number !== C.AF_INET6) return undefined
  const found = attrs(body, 12)
  if ((readU32(found.get(C.RTA_TABLE)) ?? table) !== C.RT_TABLE_MAIN) return undefined
  const base = addressOf(found.get(C.RTA_DST))?.value ?? 0n
  const destination: Cidr = { family: number === C.AF_INET ? 4 : 6, base, prefix }
  return { destination, metric: readU32(found.get(C.RTA_PRIORITY)) ?? 0 }
}

/** Where a route of the main table leads, of any type (unreachable, blackhole, …); 0: over no link, or over several. */
export const readDestination = (
  { body }: Received
): { readonly destination: Cidr; readonly ifIndex: number } | undefined => {
  const [number, prefix = 0, , , table] = body
  const found = attrs(body, 12)
  const base = addressOf(found.get(C.RTA_DST))
  if (base === undefined || (readU32(found.get(C.RTA_TABLE)) ?? table) !== C.RT_TABLE_MAIN) return undefined
  const family = number === C.AF_INET ? 4 : 6
  return { destination: { family, base: base.value, prefix }, ifIndex: readU32(found.get(C.RTA_OIF)) ?? 0 }
}

/** The address of a new local route: the kernel delivers to it from then on. */
export const readLocal = (message: Received): IpAddress | undefined =>
  message.type === C.RTM_NEWROUTE && message.body.length >= 12 && message.body[7] === C.RTN_LOCAL
    ? addressOf(attrs(message.body, 12).get(C.RTA_DST))
    : undefined

/** The address of a local route of ours (`addLocal`). */
export const readOurLocal = (message: Received): IpAddress | undefined =>
  message.body[5] === PROTOCOL_POD && message.body[4] === C.RT_TABLE_LOCAL ? readLocal(message) : undefined

/** The answer to a route lookup; undefined unless packets are sent or delivered. */
export const readLookup = (message: Received | undefined): Way | undefined => {
  if (message === undefined || message.type !== C.RTM_NEWROUTE || message.body.length < 12) return undefined
  const kind = message.body[7]
  const found = attrs(message.body, 12)
  const ifIndex = readU32(found.get(C.RTA_OIF))
  if (ifIndex === undefined || (kind !== C.RTN_UNICAST && kind !== C.RTN_LOCAL)) return undefined
  const source = addressOf(found.get(C.RTA_PREFSRC))
  return source === undefined ? { ifIndex } : { ifIndex, source }
}

/** Whether the answer to `matchRoute` is a route for exactly that address which neither is ours nor leads to `ifIndex`. */
export const isForeign = (message: Received, ifIndex: number): boolean => {
  const [family, prefix, , , , protocol = 0] = message.body
  if (message.type !== C.RTM_NEWROUTE || prefix !== bitsOf(family === C.AF_INET ? 4 : 6)) return false
  return !METRICS.has(protocol) && readU32(attrs(message.body, 12).get(C.RTA_OIF)) !== ifIndex
}

/** The route of {@link isForeign} in words. */
export const describeRoute = (message: Received): string => {
  const [, , , , , protocol = 0, , kind = 0] = message.body
  const oif = readU32(attrs(message.body, 12).get(C.RTA_OIF))
  const way = kind === C.RTN_LOCAL ? "an address of the node itself" : `a route of protocol ${protocol}`
  return oif === undefined ? way : `${way}, interface ${oif}`
}

/** IPv6 dumps may show each next hop of a multipath route as a route of its own: those become one. */
export const mergeRoutes = (routes: ReadonlyArray<HostRoute>): ReadonlyArray<HostRoute> => {
  const merged = new Map<string, HostRoute>()
  for (const route of routes) {
    const key = `${formatCidr(route.destination)} ${route.protocol}`
    const known = merged.get(key)
    merged.set(key, known === undefined ? route : { ...known, nextHops: [...known.nextHops, ...route.nextHops] })
  }
  return [...merged.values()]
}

export const collect = <A>(messages: ReadonlyArray<Received>, read: (message: Received) => A | undefined): Array<A> =>
  messages.map(read).filter((value) => value !== undefined)
