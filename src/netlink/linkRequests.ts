/** rtnetlink requests of links, as pure values. Each says which `ip` command it equals. */
import { attr, concat, type Message, nested, putU32, text, u32, u8 } from "./codec.ts"
import * as C from "./constants.ts"
import { HOST_IPV4, NEW_HOST_IPV4 } from "./hostSettings.ts"

export type Mac = Uint8Array

/** Six bytes of a MAC written with colons. */
export const macBytes = (mac: string): Mac => Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16))

export const macText = (mac: Uint8Array | undefined): string => {
  let words = ""
  for (const byte of mac ?? []) words += `${words === "" ? "" : ":"}${byte < 16 ? "0" : ""}${byte.toString(16)}`
  return words
}

/** struct ifinfomsg; `flags` of those in `mask` are set, the others of it cleared. */
const ifinfo = (index: number, flags = 0, mask = 0): Uint8Array => {
  const bytes = new Uint8Array(16)
  putU32(bytes, 4, index)
  putU32(bytes, 8, flags)
  putU32(bytes, 12, mask)
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
export const linkUp = (index: number): Message => ({
  type: C.RTM_SETLINK,
  flags: 0,
  body: ifinfo(index, C.IFF_UP, C.IFF_UP)
})

/** `ip link set … up arp on multicast on`. */
export const hostUp = (index: number): Message => ({
  type: C.RTM_SETLINK,
  flags: 0,
  body: ifinfo(index, C.IFF_UP | C.IFF_MULTICAST, C.IFF_UP | C.IFF_MULTICAST | C.IFF_NOARP)
})

/** `ip link set … down`. */
export const linkDown = (index: number): Message => ({
  type: C.RTM_SETLINK,
  flags: 0,
  body: ifinfo(index, 0, C.IFF_UP)
})

export interface LinkChanges {
  readonly name?: string
  /** Bytes. */
  readonly mtu?: number
  readonly mac?: Mac
  /** 0: of none. */
  readonly master?: number
  readonly alias?: string
}

/** `ip link set … name NAME mtu MTU address MAC master MASTER alias ALIAS`. */
export const setLink = (index: number, changes: LinkChanges): Message => ({
  type: C.RTM_SETLINK,
  flags: 0,
  body: concat([
    ifinfo(index),
    ...(changes.name === undefined ? [] : [attr(C.IFLA_IFNAME, text(changes.name))]),
    ...(changes.mtu === undefined ? [] : [attr(C.IFLA_MTU, u32(changes.mtu))]),
    ...(changes.mac === undefined ? [] : [attr(C.IFLA_ADDRESS, changes.mac)]),
    ...(changes.master === undefined ? [] : [attr(C.IFLA_MASTER, u32(changes.master))]),
    ...(changes.alias === undefined ? [] : [attr(C.IFLA_IFALIAS, Buffer.from(changes.alias))])
  ])
})

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
 * making. Must come before "up", or the kernel makes one. Without `alias` it is a link that is there, which keeps its own.
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
        nested(
          C.IFLA_INET_CONF,
          ...(alias === undefined ? HOST_IPV4 : NEW_HOST_IPV4).map(([setting, value]) => attr(setting, u32(value)))
        )
      ),
      ...(ipv6 ? [nested(C.AF_INET6, attr(C.IFLA_INET6_ADDR_GEN_MODE, u8(C.IN6_ADDR_GEN_MODE_NONE)))] : [])
    )
  ])
})

export const dumpLinks: Message = {
  type: C.RTM_GETLINK,
  flags: 0,
  body: concat([ifinfo(0), attr(C.IFLA_EXT_MASK, u32(C.RTEXT_FILTER_SKIP_STATS))])
}
