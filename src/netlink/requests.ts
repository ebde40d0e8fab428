/** rtnetlink requests as pure values, those of links from their own file. Each says which `ip` command it equals. */
import { bitsOf, type Cidr, type IpAddress, toBytes } from "../domain/Ip.ts"
import { attr, concat, type Message, putU16, putU32, u32 } from "./codec.ts"
import * as C from "./constants.ts"
import type { Mac } from "./linkRequests.ts"
import { type BirdRoute, METRICS, type NextHop, PROTOCOL_BIRD, PROTOCOL_POD } from "./Netlink.ts"

export * from "./linkRequests.ts"

export const familyNumber = (family: 4 | 6): number => family === 4 ? C.AF_INET : C.AF_INET6

const baseBytes = (cidr: Cidr): Uint8Array => toBytes({ family: cidr.family, value: cidr.base })

const addressMessage =
  (type: number, flags: number) => (index: number, address: IpAddress, prefix: number): Message => {
    const bytes = toBytes(address)
    const head = new Uint8Array(8)
    head[0] = familyNumber(address.family)
    head[1] = prefix
    head[2] = address.family === 6 ? C.IFA_F_NODAD : 0
    putU32(head, 4, index)
    return { type, flags, body: concat([head, attr(C.IFA_LOCAL, bytes), attr(C.IFA_ADDRESS, bytes)]) }
  }

/** `ip addr add ADDRESS/PREFIX dev … nodad`. */
export const addAddress = addressMessage(C.RTM_NEWADDR, C.NLM_F_CREATE | C.NLM_F_EXCL)

/** `ip addr del ADDRESS/PREFIX dev …`. */
export const deleteAddress = addressMessage(C.RTM_DELADDR, 0)

/** `ip neigh replace ADDRESS lladdr MAC dev … nud permanent`. */
export const putNeighbour = (index: number, address: IpAddress, mac: Mac): Message => {
  const head = new Uint8Array(12)
  head[0] = familyNumber(address.family)
  putU32(head, 4, index)
  putU16(head, 8, C.NUD_PERMANENT)
  return {
    type: C.RTM_NEWNEIGH,
    flags: C.NLM_F_CREATE | C.NLM_F_REPLACE,
    body: concat([head, attr(C.NDA_DST, toBytes(address)), attr(C.NDA_LLADDR, mac)])
  }
}

/** `ip neigh change ADDRESS dev … nud probe router`: three solicitations a second apart, then REACHABLE or FAILED. */
export const probeRouter = (index: number, address: IpAddress): Message => {
  const head = new Uint8Array(12)
  head[0] = familyNumber(address.family)
  putU32(head, 4, index)
  putU16(head, 8, C.NUD_PROBE)
  head[10] = C.NTF_ROUTER
  return {
    type: C.RTM_NEWNEIGH,
    flags: C.NLM_F_REPLACE,
    body: concat([head, attr(C.NDA_DST, toBytes(address))])
  }
}

export interface RouteSpec {
  readonly destination: Cidr
  readonly protocol: number
  readonly nextHops: ReadonlyArray<NextHop>
  readonly source?: IpAddress
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
  putU32(head, 8, flags)
  return head
}

/** IPv4 over an IPv6 next hop (RFC 8950) has struct rtvia. */
const gateway = (family: 4 | 6, via: IpAddress | undefined): ReadonlyArray<Uint8Array> =>
  via === undefined
    ? []
    : via.family === family
    ? [attr(C.RTA_GATEWAY, toBytes(via))]
    : [attr(C.RTA_VIA, concat([Uint8Array.of(familyNumber(via.family), 0), toBytes(via)]))]

/** struct rtnexthop with its attributes. */
const rtnexthop = (family: 4 | 6) => (hop: NextHop): Uint8Array => {
  const attributes = concat(gateway(family, hop.via))
  const head = new Uint8Array(8)
  putU16(head, 0, 8 + attributes.length)
  head[2] = hop.onlink ? C.RTNH_F_ONLINK : 0
  putU32(head, 4, hop.ifIndex)
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
      ...(route.source === undefined ? [] : [attr(C.RTA_PREFSRC, toBytes(route.source))]),
      ...(single !== undefined
        ? [...gateway(route.destination.family, single.via), attr(C.RTA_OIF, u32(single.ifIndex))]
        : [attr(C.RTA_MULTIPATH, concat(route.nextHops.map(rtnexthop(route.destination.family))))])
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

/** Of any type, by its metric. */
export const deleteBirdRoute = ({ destination, metric }: BirdRoute): Message => {
  const head = rtmsg(destination, PROTOCOL_BIRD, C.RT_SCOPE_NOWHERE, 0)
  head[7] = C.RTN_UNSPEC
  return {
    type: C.RTM_DELROUTE,
    flags: 0,
    body: concat([
      head,
      ...(destination.prefix === 0 ? [] : [attr(C.RTA_DST, baseBytes(destination))]),
      attr(C.RTA_PRIORITY, u32(metric))
    ])
  }
}

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
  putU32(head, 8, flags)
  return { type: C.RTM_GETROUTE, flags: 0, body: concat([head, attr(C.RTA_DST, toBytes(address))]) }
}

/** `ip route del DESTINATION [via VIA] dev … proto PROTOCOL`: that one next hop. */
export const deleteHop = (destination: Cidr, protocol: number, { ifIndex, via }: NextHop): Message => ({
  type: C.RTM_DELROUTE,
  flags: 0,
  body: concat([
    rtmsg(destination, protocol, C.RT_SCOPE_NOWHERE, 0),
    ...(destination.prefix === 0 ? [] : [attr(C.RTA_DST, baseBytes(destination))]),
    ...gateway(destination.family, via),
    attr(C.RTA_OIF, u32(ifIndex))
  ])
})

/** `ip route get ADDRESS`. */
export const lookupRoute = (address: IpAddress): Message => lookup(address, 0)

/** `ip route get fibmatch ADDRESS`: the route itself. */
export const matchRoute = (address: IpAddress): Message => lookup(address, C.RTM_F_FIB_MATCH)

/**
 * Addresses of a family, of one link or (0) of all; `nsid`: in the namespace that has this ID here, in place of this one
 * (Linux 4.20).
 */
export const dumpAddresses = (family: 4 | 6, index: number, nsid?: number): Message => {
  const head = new Uint8Array(8)
  head[0] = familyNumber(family)
  putU32(head, 4, index)
  const body = nsid === undefined ? head : concat([head, attr(C.IFA_TARGET_NETNSID, u32(nsid))])
  return { type: C.RTM_GETADDR, flags: 0, body }
}

/** Unicast routes of the main table, of one protocol or (0) of all; the kernel filters where it can. */
export const dumpRoutes = (family: 4 | 6, protocol: number, type: number = C.RTN_UNICAST): Message => {
  const head = new Uint8Array(12)
  head.set([familyNumber(family), 0, 0, 0, C.RT_TABLE_MAIN, protocol, 0, type])
  return { type: C.RTM_GETROUTE, flags: 0, body: head }
}

/** Neighbour entries of a family, of one link or (0) of all. */
export const dumpNeighbours = (family: 4 | 6, index: number): Message => {
  const head = new Uint8Array(12)
  head[0] = familyNumber(family)
  return { type: C.RTM_GETNEIGH, flags: 0, body: concat([head, attr(C.NDA_IFINDEX, u32(index))]) }
}
