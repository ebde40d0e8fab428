/** rtnetlink requests as pure values. Each says which `ip` command it equals. */
import { bitsOf, type Cidr, type IpAddress, toBytes } from "../domain/Ip.ts"
import { attr, concat, type Message, nested, text, u32, u8 } from "./codec.ts"
import * as C from "./constants.ts"
import { HOST_IPV4 } from "./hostSettings.ts"
import { METRICS, type NextHop, PROTOCOL_POD } from "./Netlink.ts"

export type Mac = Uint8Array

/** Six bytes of a MAC written with colons. */
export const macBytes = (mac: string): Mac => Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16))

export const macText = (mac: Uint8Array | undefined): string =>
  Array.from(mac ?? [], (byte) => byte.toString(16).padStart(2, "0")).join(":")

export const familyNumber = (family: 4 | 6): number => family === 4 ? C.AF_INET : C.AF_INET6

const baseBytes = (cidr: Cidr): Uint8Array => toBytes({ family: cidr.family, value: cidr.base })

/** struct ifinfomsg; only the "up" flag is ever changed. */
const ifinfo = (index: number, up?: boolean): Uint8Array => {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setInt32(4, index, true)
  if (up !== undefined) {
    view.setUint32(8, up ? C.IFF_UP : 0, true)
    view.setUint32(12, C.IFF_UP, true)
  }
  return bytes
}

export interface VethPair {
  readonly hostIfName: string
  readonly hostMac: Mac
  readonly ifName: string
  readonly podMac: Mac
  readonly mtu: number
  /** Open descriptor of the namespace that the pod's end is born in. */
  readonly netnsFd: number
}

/** `ip link add HOST address MAC mtu MTU type veth peer name POD netns …`. EEXIST: one of the names is taken. */
export const createVeth = (pair: VethPair): Message => ({
  type: C.RTM_NEWLINK,
  flags: C.NLM_F_CREATE | C.NLM_F_EXCL,
  body: concat([
    ifinfo(0),
    attr(C.IFLA_IFNAME, text(pair.hostIfName)),
    attr(C.IFLA_ADDRESS, pair.hostMac),
    attr(C.IFLA_MTU, u32(pair.mtu)),
    nested(
      C.IFLA_LINKINFO,
      attr(C.IFLA_INFO_KIND, text("veth")),
      nested(
        C.IFLA_INFO_DATA,
        nested(
          C.VETH_INFO_PEER,
          ifinfo(0),
          attr(C.IFLA_IFNAME, text(pair.ifName)),
          attr(C.IFLA_ADDRESS, pair.podMac),
          attr(C.IFLA_MTU, u32(pair.mtu)),
          attr(C.IFLA_NET_NS_FD, u32(pair.netnsFd))
        )
      )
    )
  ])
})

/** `ip link show NAME`. */
export const getLinkByName = (name: string): Message => ({
  type: C.RTM_GETLINK,
  flags: 0,
  body: concat([
    ifinfo(0),
    attr(C.IFLA_IFNAME, text(name)),
    attr(C.IFLA_EXT_MASK, u32(C.RTEXT_FILTER_SKIP_STATS))
  ])
})

/**
 * Reads a link, in the namespace `nsid` if given. In Linux 6.8 and later this also finishes a change of carrier that
 * the kernel has put off (`linkwatch_sync_dev`): until then a link that has just come up drops what it is sent.
 */
export const getLink = (index: number, nsid?: number): Message => ({
  type: C.RTM_GETLINK,
  flags: 0,
  body: concat([
    ifinfo(index),
    attr(C.IFLA_EXT_MASK, u32(C.RTEXT_FILTER_SKIP_STATS)),
    ...(nsid === undefined ? [] : [attr(C.IFLA_TARGET_NETNSID, u32(nsid))])
  ])
})

/** `ip link set … up`. */
export const linkUp = (index: number): Message => ({ type: C.RTM_SETLINK, flags: 0, body: ifinfo(index, true) })

/** `ip link set dev NAME group GROUP`. */
export const setGroup = (name: string, group: number): Message => ({
  type: C.RTM_SETLINK,
  flags: 0,
  body: concat([ifinfo(0), attr(C.IFLA_IFNAME, text(name)), attr(C.IFLA_GROUP, u32(group))])
})

/** `ip link del dev NAME`. */
export const deleteLink = (name: string): Message => ({
  type: C.RTM_DELLINK,
  flags: 0,
  body: concat([ifinfo(0), attr(C.IFLA_IFNAME, text(name))])
})

/** `ip link del group GROUP`. */
export const deleteGroup = (group: number): Message => ({
  type: C.RTM_DELLINK,
  flags: 0,
  body: concat([ifinfo(0), attr(C.IFLA_GROUP, u32(group))])
})

/**
 * The host end's IPv4 settings, its alias (Linux ignores one in the creating message), and no IPv6 address of its own
 * making. Must come before "up", or the kernel makes one. Without `alias` the link keeps its own.
 */
export const hostLinkSettings = (index: number, alias: string | undefined, ipv6: boolean): Message => ({
  type: C.RTM_SETLINK,
  flags: 0,
  body: concat([
    ifinfo(index),
    ...(alias === undefined ? [] : [attr(C.IFLA_IFALIAS, Buffer.from(alias))]),
    nested(
      C.IFLA_AF_SPEC,
      nested(
        C.AF_INET,
        nested(C.IFLA_INET_CONF, ...HOST_IPV4.map(([setting, value]) => attr(setting, u32(value))))
      ),
      ...(ipv6 ? [nested(C.AF_INET6, attr(C.IFLA_INET6_ADDR_GEN_MODE, u8(C.IN6_ADDR_GEN_MODE_NONE)))] : [])
    )
  ])
})

const addressMessage =
  (type: number, flags: number) => (index: number, address: IpAddress, prefix: number): Message => {
    const bytes = toBytes(address)
    const head = new Uint8Array(8)
    const view = new DataView(head.buffer)
    head[0] = familyNumber(address.family)
    head[1] = prefix
    head[2] = address.family === 6 ? C.IFA_F_NODAD : 0
    view.setUint32(4, index, true)
    return { type, flags, body: concat([head, attr(C.IFA_LOCAL, bytes), attr(C.IFA_ADDRESS, bytes)]) }
  }

/** `ip addr add ADDRESS/PREFIX dev … nodad`. */
export const addAddress = addressMessage(C.RTM_NEWADDR, C.NLM_F_CREATE | C.NLM_F_EXCL)

/** `ip addr del ADDRESS/PREFIX dev …`. */
export const deleteAddress = addressMessage(C.RTM_DELADDR, 0)

/** `ip neigh replace ADDRESS lladdr MAC dev … nud permanent`. */
export const putNeighbour = (index: number, address: IpAddress, mac: Mac): Message => {
  const head = new Uint8Array(12)
  const view = new DataView(head.buffer)
  head[0] = familyNumber(address.family)
  view.setInt32(4, index, true)
  view.setUint16(8, C.NUD_PERMANENT, true)
  return {
    type: C.RTM_NEWNEIGH,
    flags: C.NLM_F_CREATE | C.NLM_F_REPLACE,
    body: concat([head, attr(C.NDA_DST, toBytes(address)), attr(C.NDA_LLADDR, mac)])
  }
}

export interface RouteSpec {
  readonly destination: Cidr
  readonly protocol: number
  readonly nextHops: ReadonlyArray<NextHop>
}

/** struct rtmsg. */
const rtmsg = (destination: Cidr, protocol: number, scope: number, flags: number): Uint8Array => {
  const head = new Uint8Array(12)
  head.set([
    familyNumber(destination.family),
    destination.prefix,
    0,
    0,
    C.RT_TABLE_MAIN,
    protocol,
    scope,
    C.RTN_UNICAST
  ])
  new DataView(head.buffer).setUint32(8, flags, true)
  return head
}

const gateway = (via: IpAddress | undefined): ReadonlyArray<Uint8Array> =>
  via === undefined ? [] : [attr(C.RTA_GATEWAY, toBytes(via))]

/** struct rtnexthop with its attributes. */
const rtnexthop = (hop: NextHop): Uint8Array => {
  const attributes = concat(gateway(hop.via))
  const head = new Uint8Array(8)
  const view = new DataView(head.buffer)
  view.setUint16(0, 8 + attributes.length, true)
  head[2] = hop.onlink ? C.RTNH_F_ONLINK : 0
  view.setInt32(4, hop.ifIndex, true)
  return concat([head, attributes])
}

const routeMessage = (route: RouteSpec, flags: number): Message => {
  const [first] = route.nextHops
  const single = route.nextHops.length === 1 ? first : undefined
  const scope = route.destination.family === 4 && route.nextHops.every((hop) => hop.via === undefined)
    ? C.RT_SCOPE_LINK
    : C.RT_SCOPE_UNIVERSE
  const metric = METRICS.get(route.protocol)
  return {
    type: C.RTM_NEWROUTE,
    flags,
    body: concat([
      rtmsg(route.destination, route.protocol, scope, single?.onlink ? C.RTNH_F_ONLINK : 0),
      ...(route.destination.prefix === 0 ? [] : [attr(C.RTA_DST, baseBytes(route.destination))]),
      ...(metric === undefined ? [] : [attr(C.RTA_PRIORITY, u32(metric))]),
      ...(single !== undefined
        ? [...gateway(single.via), attr(C.RTA_OIF, u32(single.ifIndex))]
        : [attr(C.RTA_MULTIPATH, concat(route.nextHops.map(rtnexthop)))])
    ])
  }
}

/** `ip route add …`; EEXIST if there is a route to that destination with the same metric. */
export const addRoute = (route: RouteSpec): Message => routeMessage(route, C.NLM_F_CREATE | C.NLM_F_EXCL)

/** `ip route replace …`, with all next hops in one message; replaces what has the same metric. */
export const replaceRoute = (route: RouteSpec): Message => routeMessage(route, C.NLM_F_CREATE | C.NLM_F_REPLACE)

/** `ip route del DESTINATION proto PROTOCOL`, whatever its next hops. */
export const deleteRoute = (destination: Cidr, protocol: number): Message => ({
  type: C.RTM_DELROUTE,
  flags: 0,
  body: concat([
    rtmsg(destination, protocol, C.RT_SCOPE_NOWHERE, 0),
    ...(destination.prefix === 0 ? [] : [attr(C.RTA_DST, baseBytes(destination))])
  ])
})

/** struct rtmsg of a local route of ours. */
const localRtmsg = (family: 4 | 6, prefix: number, scope: number): Uint8Array =>
  Uint8Array.of(familyNumber(family), prefix, 0, 0, C.RT_TABLE_LOCAL, PROTOCOL_POD, scope, C.RTN_LOCAL, 0, 0, 0, 0)

const localRoute = (type: number, flags: number, scope: number) => (address: IpAddress): Message => ({
  type,
  flags,
  body: concat([
    localRtmsg(address.family, bitsOf(address.family), scope),
    attr(C.RTA_DST, toBytes(address)),
    attr(C.RTA_OIF, u32(LOOPBACK))
  ])
})

/** Index of `lo` in every namespace. */
const LOOPBACK = 1

/** `ip route add local ADDRESS dev lo proto 200`: the host answers for it, on every link. */
export const addLocal = localRoute(C.RTM_NEWROUTE, C.NLM_F_CREATE | C.NLM_F_EXCL, C.RT_SCOPE_HOST)

/** `ip route del local ADDRESS dev lo proto 200`. */
export const deleteLocal = localRoute(C.RTM_DELROUTE, 0, C.RT_SCOPE_NOWHERE)

/** `ip route show table local proto 200`. */
export const dumpLocal = (family: 4 | 6): Message => ({
  type: C.RTM_GETROUTE,
  flags: 0,
  body: localRtmsg(family, 0, 0)
})

const lookup = (address: IpAddress, flags: number): Message => {
  const head = new Uint8Array(12)
  head[0] = familyNumber(address.family)
  head[1] = bitsOf(address.family)
  new DataView(head.buffer).setUint32(8, flags, true)
  return { type: C.RTM_GETROUTE, flags: 0, body: concat([head, attr(C.RTA_DST, toBytes(address))]) }
}

/** `ip route del DESTINATION [via VIA] dev … proto PROTOCOL`: that one next hop. */
export const deleteHop = (destination: Cidr, protocol: number, { ifIndex, via }: NextHop): Message => ({
  type: C.RTM_DELROUTE,
  flags: 0,
  body: concat([
    rtmsg(destination, protocol, C.RT_SCOPE_NOWHERE, 0),
    ...(destination.prefix === 0 ? [] : [attr(C.RTA_DST, baseBytes(destination))]),
    ...gateway(via),
    attr(C.RTA_OIF, u32(ifIndex))
  ])
})

/** `ip route get ADDRESS`. */
export const lookupRoute = (address: IpAddress): Message => lookup(address, 0)

/** `ip route get fibmatch ADDRESS`: the route itself. */
export const matchRoute = (address: IpAddress): Message => lookup(address, C.RTM_F_FIB_MATCH)

export const dumpLinks: Message = {
  type: C.RTM_GETLINK,
  flags: 0,
  body: concat([ifinfo(0), attr(C.IFLA_EXT_MASK, u32(C.RTEXT_FILTER_SKIP_STATS))])
}

/**
 * Addresses of a family, of one link or (0) of all; `nsid`: in the namespace that has this ID here, in place of this one
 * (Linux 4.20).
 */
export const dumpAddresses = (family: 4 | 6, index: number, nsid?: number): Message => {
  const head = new Uint8Array(8)
  head[0] = familyNumber(family)
  new DataView(head.buffer).setUint32(4, index, true)
  const body = nsid === undefined ? head : concat([head, attr(C.IFA_TARGET_NETNSID, u32(nsid))])
  return { type: C.RTM_GETADDR, flags: 0, body }
}

/** Unicast routes of the main table, of one protocol or (0) of all; the kernel filters where it can. */
export const dumpRoutes = (family: 4 | 6, protocol: number): Message => {
  const head = new Uint8Array(12)
  head.set([familyNumber(family), 0, 0, 0, C.RT_TABLE_MAIN, protocol, 0, C.RTN_UNICAST])
  return { type: C.RTM_GETROUTE, flags: 0, body: head }
}

/** Neighbour entries of a family on one link. */
export const dumpNeighbours = (family: 4 | 6, index: number): Message => {
  const head = new Uint8Array(12)
  head[0] = familyNumber(family)
  return { type: C.RTM_GETNEIGH, flags: 0, body: concat([head, attr(C.NDA_IFINDEX, u32(index))]) }
}
