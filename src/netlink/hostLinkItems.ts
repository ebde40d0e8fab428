/** The items of a host end that are its link's own, and what an item is: see `hostItems.ts`. Pure. */
import type { Family, IpAddress } from "../domain/Ip.ts"
import { quote } from "../domain/quote.ts"
import type { LinkAddress, Neighbour } from "./answers.ts"
import type { Message } from "./codec.ts"
import { HOST_MAC, type HostDifference, type HostEnd, type HostRoute, type PodLinkPlan } from "./Netlink.ts"
import * as R from "./requests.ts"
import type { Step } from "./step.ts"

/** The MAC of every host end, as bytes. */
export const hostMac = R.macBytes(HOST_MAC)

/** What there is of one host end. */
export interface SeenHostEnd {
  readonly link: HostEnd
  /** Has the route to `fe80::/64`. */
  readonly connected: boolean
  readonly addresses: ReadonlyArray<LinkAddress>
  readonly neighbours: ReadonlyArray<Neighbour>
  /** Of protocol 200. */
  readonly routes: ReadonlyArray<HostRoute>
  /** A route that the kernel prefers to ours, if there is one, in words: `dev lo`. */
  readonly foreignRoute: (address: IpAddress) => string | undefined
  /** The pod's end has it now; undefined: it cannot be read. */
  readonly podMac: string | undefined
}

/** What the requests are made for. */
export interface Target {
  readonly ifIndex: number
  readonly ifName: string
  /** undefined: not known. */
  readonly podMac: R.Mac | undefined
  /** The kernel has IPv6. */
  readonly ipv6: boolean
}

export interface HostItem {
  readonly kind: HostDifference["kind"]
  /** Stable; to follow the link's name. */
  readonly what: string
  /** Families whose packets are lost without it. */
  readonly cuts: ReadonlyArray<Family>
  /** In words. */
  readonly differs: (seen: SeenHostEnd) => string | undefined
  /** On a link just created, with its name, MTU and MAC. */
  readonly create?: (target: Target) => ReadonlyArray<Step>
  /** On one that differs. Absent: as on a new one. */
  readonly restore?: (target: Target) => ReadonlyArray<Message>
  /** IPv6 has to be turned on first. */
  readonly enableIpv6?: boolean
}

export const whereOf = ({ hostIfName }: PodLinkPlan): string => `host link ${hostIfName}`

export const BOTH = [4, 6] as const
export const NONE = [] as const

const aliasItem = ({ alias }: PodLinkPlan, where: string): HostItem => ({
  kind: "link",
  what: "alias",
  cuts: NONE,
  differs: ({ link }) =>
    link.alias === alias ? undefined : `${where} has alias ${quote(link.alias)}, should have "${alias}"`,
  // With it go the settings, in one message; `guardHostEnds` restores those.
  create: ({ ifIndex, ifName, ipv6 }) => [
    { op: `configure ${ifName}`, message: R.hostLinkSettings(ifIndex, alias, ipv6) }
  ],
  restore: ({ ifIndex }) => [R.setLink(ifIndex, { alias })]
})

const nameItem = ({ hostIfName }: PodLinkPlan, where: string): HostItem => ({
  kind: "link",
  what: "name",
  cuts: NONE,
  differs: ({ link }) => link.ifName === hostIfName ? undefined : `${where} is named ${quote(link.ifName)}`,
  // Before Linux 6.2 a link that is up cannot be renamed; that it is up is the business of another item.
  restore: ({ ifIndex }) => [R.linkDown(ifIndex), R.setLink(ifIndex, { name: hostIfName }), R.hostUp(ifIndex)]
})

export const linkItems = (plan: PodLinkPlan, where = whereOf(plan)): ReadonlyArray<HostItem> => [
  nameItem(plan, where),
  aliasItem(plan, where),
  {
    kind: "link",
    what: "MTU",
    cuts: NONE,
    differs: ({ link }) => link.mtu === plan.mtu ? undefined : `${where} has MTU ${link.mtu}, should have ${plan.mtu}`,
    restore: ({ ifIndex }) => [R.setLink(ifIndex, { mtu: plan.mtu })]
  },
  {
    kind: "link",
    what: "MAC",
    cuts: BOTH,
    differs: ({ link }) => link.mac === HOST_MAC ? undefined : `${where} has MAC ${link.mac}, should have ${HOST_MAC}`,
    restore: ({ ifIndex }) => [R.setLink(ifIndex, { mac: hostMac })]
  },
  {
    kind: "link",
    what: "master",
    cuts: BOTH,
    differs: ({ link }) => link.master === undefined ? undefined : `${where} is a port of a bridge, bond or VRF`,
    restore: ({ ifIndex }) => [R.setLink(ifIndex, { master: 0 })]
  },
  ...(plan.addresses.ipv6 === undefined ? [] : [
    {
      kind: "setting",
      what: "disable_ipv6",
      cuts: [6],
      differs: ({ link }) => link.ipv6Disabled ? `${where} has disable_ipv6=1` : undefined,
      restore: () => [],
      enableIpv6: true
    } satisfies HostItem
  ]),
  {
    kind: "link",
    what: "state",
    cuts: BOTH,
    differs: ({ link }) =>
      !link.up
        ? `${where} is down`
        : link.arp && link.multicast
        ? undefined
        : `${where} has ARP or multicast off`,
    create: ({ ifIndex, ifName }) => [{ op: `set ${ifName} up`, message: R.hostUp(ifIndex) }]
  }
]

/** Whether the link itself differs: what its RTM_NEWLINK message tells. */
export const linkDiffers = (plan: PodLinkPlan, link: HostEnd): boolean => {
  const seen = {
    link,
    connected: true,
    addresses: [],
    neighbours: [],
    routes: [],
    foreignRoute: () => undefined,
    podMac: undefined
  }
  return linkItems(plan).some((item) => item.differs(seen) !== undefined)
}
