/** What in the kernel's notifications may concern pods' host ends, and the node as their router. Pure. */
import { bitsOf } from "../domain/Ip.ts"
import { readAddress, readDestination, readHostEnd, readLink, readNeighbour } from "./answers.ts"
import { attrs, readU32, type Received } from "./codec.ts"
import * as C from "./constants.ts"
import { isSettled } from "./hostEnd.ts"
import { type HostChange, LINK_NAME, PROTOCOL_POD } from "./Netlink.ts"

export const HOST_GROUPS = C.RTMGRP_LINK | C.RTMGRP_NEIGH | C.RTMGRP_IPV4_IFADDR | C.RTMGRP_IPV6_IFADDR |
  C.RTMGRP_IPV4_ROUTE | C.RTMGRP_IPV6_ROUTE | C.RTMGRP_IPV4_NETCONF | C.RTMGRP_IPV6_NETCONF

/** `ifi_change` of a link that was registered or came from another namespace (`rtnl_configure_link`, Linux). */
const ALL_FLAGS = 0xffff_ffff

const linkChange = (message: Received): HostChange | undefined => {
  const link = readHostEnd(message)
  if (link === undefined) return undefined
  // A renamed one is known by its alias.
  if (LINK_NAME.test(link.ifName) || link.alias !== "") {
    return { _tag: "HostLink", link, settled: isSettled(message, link.up) }
  }
  const isNew = readU32(message.body, 12) === ALL_FLAGS
  return isNew ? { _tag: "OtherLink" } : undefined
}

const routeChange = (message: Received): HostChange | undefined => {
  // Most are a routing daemon's: a look at three bytes is enough for them.
  const [family, prefix, , , table, protocol] = message.body
  const gone = message.type === C.RTM_DELROUTE
  if (table === C.RT_TABLE_LOCAL) return gone && protocol === PROTOCOL_POD ? { _tag: "GatewayGone" } : undefined
  const toHost = prefix === bitsOf(family === C.AF_INET ? 4 : 6)
  const connected = gone && protocol === C.RTPROT_KERNEL && family === C.AF_INET6
  if (!toHost && !connected) return undefined
  if (!gone && protocol === PROTOCOL_POD) return undefined
  const route = readDestination(message)
  return route && { _tag: "Route", ...route, gone }
}

/**
 * Forwarding, rp_filter or proxy_arp of a link, or (-1) of all, where it is not as a host end and the node have to have it;
 * what others' links have is theirs.
 */
const settingChange = ({ body }: Received): HostChange | undefined => {
  const found = attrs(body, 4)
  const ifIndex = (readU32(found.get(C.NETCONFA_IFINDEX)) ?? 0) | 0
  const has = (attribute: number, wanted: number) => (readU32(found.get(attribute)) ?? wanted) === wanted
  const ipv4 = body[0] === C.AF_INET
  const fine = has(C.NETCONFA_FORWARDING, 1) && (!ipv4 || has(C.NETCONFA_RP_FILTER, 0)) &&
    (!ipv4 || ifIndex < 0 || has(C.NETCONFA_PROXY_NEIGH, 1))
  return fine ? undefined : { _tag: "Setting", ifIndex }
}

/** What a notification means; most mean nothing. */
export const hostChangeOf = (message: Received): HostChange | undefined => {
  switch (message.type) {
    case C.RTM_NEWLINK:
      return linkChange(message)
    case C.RTM_DELLINK: {
      const link = readLink(message)
      return link && { _tag: "LinkGone", ifName: link.ifName, ifIndex: link.ifIndex }
    }
    case C.RTM_NEWROUTE:
    case C.RTM_DELROUTE:
      return routeChange(message)
    case C.RTM_NEWADDR:
    case C.RTM_DELADDR: {
      const found = readAddress(message)
      return found && {
        _tag: "Address",
        ifIndex: found.ifIndex,
        address: found.address,
        added: message.type === C.RTM_NEWADDR
      }
    }
    case C.RTM_NEWNEIGH:
    case C.RTM_DELNEIGH: {
      const found = readNeighbour(message)
      return found && { _tag: "Neighbour", ifIndex: found.ifIndex }
    }
    case C.RTM_NEWNETCONF:
      return settingChange(message)
    default:
      return undefined
  }
}
