/** The kernel, as far as flock needs it: links, addresses, routes and neighbours through rtnetlink(7). */
import { Context, Data, type Effect, type Stream } from "effect"
import { type Cidr, type Family, formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { PodAddresses } from "../domain/PodAddresses.ts"
import type { Message } from "./codec.ts"

/** Route protocol of pods' own addresses (`rtm_protocol`, linux/rtnetlink.h: values above 4 are free to use). */
export const PROTOCOL_POD = 200
/** Route protocol of what BIRD may export beside the node's prefixes: anycast and chosen addresses of Ready pods. */
export const PROTOCOL_EXPORT = 201
/** Route protocol of anycast addresses that have, or had a moment ago, one of protocol 201: late packets reach the pod. */
export const PROTOCOL_LINGERING = 202
/** What was learned, while BIRD is not there. */
export const PROTOCOL_KEPT = 203

/**
 * Metric (`RTA_PRIORITY`) of our routes. Several routes to one destination stand side by side only if their metrics
 * differ: a chosen address has one of protocol 200 always and one of protocol 201 while the pod is Ready. Of several,
 * BIRD learns the one with the lowest metric (seen with 2.0.12), so that has to be the one to export.
 */
export const METRICS: ReadonlyMap<number, number> = new Map([
  [PROTOCOL_EXPORT, 512],
  [PROTOCOL_POD, 1024],
  [PROTOCOL_LINGERING, 2048],
  // Above BIRD's own.
  [PROTOCOL_KEPT, 131_072]
])

/** `FLOCK_IF_PREFIX` + 8 hex digits is a host-side link of ours. */
export const IF_PREFIX = "flock"

/** What {@link IF_PREFIX} says, as a pattern. */
export const LINK_NAME = new RegExp(`^${IF_PREFIX}[0-9a-f]{8}$`)

/** The MAC of every host-side link; it gives pods a fixed gateway neighbour. */
export const HOST_MAC = "ee:ee:ee:ee:ee:ee"

export class NetlinkError extends Data.TaggedError("NetlinkError")<{
  /** What was attempted, such as `create veth flock0a1b2c3d`. */
  readonly op: string
  /** Symbolic errno such as `EEXIST`, or `OTHER`. */
  readonly errno: string
  /** The kernel's extended acknowledgement where it gave one. */
  readonly detail?: string
}> {
  override get message(): string {
    return `${this.op}: ${this.errno}${this.detail ? ` (${this.detail})` : ""}`
  }
}

/** The pod's network namespace cannot be opened: the path is gone or is no network namespace. */
export class NetnsError extends Data.TaggedError("NetnsError")<{ readonly path: string; readonly detail: string }> {
  override get message(): string {
    return `network namespace ${this.path}: ${this.detail}`
  }
}

/** The interface that ADD was asked to make is there already. */
export class InterfaceExists extends Data.TaggedError("InterfaceExists")<{
  readonly ifName: string
  readonly netns: string
}> {
  override get message(): string {
    return `interface ${this.ifName} already exists in ${this.netns}`
  }
}

/** The host has another link of the name that the pod's host end was to get. */
export class LinkNameTaken extends Data.TaggedError("LinkNameTaken")<{ readonly hostIfName: string }> {
  override get message(): string {
    return `the host has a link named ${this.hostIfName} already`
  }
}

/** The host has a route to the pod's address, or the address itself, which is not flock's. */
export class AddressHeld
  extends Data.TaggedError("AddressHeld")<{ readonly address: IpAddress; readonly detail: string }>
{
  override get message(): string {
    return `${formatAddress(this.address)} is in use on the host already: ${this.detail}`
  }
}

/** The whole of a pod's network, as intended. */
export interface PodLinkPlan {
  readonly hostIfName: string
  /** `namespace/pod containerID ifname`, at most 255 bytes (IFALIASZ - 1). */
  readonly alias: string
  /** Any path that opens to a network namespace: `/run/netns/X`, `/proc/PID/ns/net`. */
  readonly netns: string
  readonly ifName: string
  readonly mtu: number
  readonly addresses: PodAddresses
}

export interface PodLink {
  readonly hostIfIndex: number
  readonly hostMac: string
  readonly podMac: string
}

/** The part of a link's message that its host end is judged by. */
export interface HostEnd {
  readonly ifName: string
  readonly ifIndex: number
  readonly up: boolean
  /** Packets can pass (`IFF_LOWER_UP`): the pod's end is up too. */
  readonly carrier: boolean
  readonly mtu: number
  readonly mac: string
  readonly alias: string
  /** Index of the bridge, bond or VRF that it is a port of. */
  readonly master: number | undefined
  readonly arp: boolean
  readonly multicast: boolean
  readonly ipv6Disabled: boolean
}

/** A host-side link of ours, as the kernel has it. */
export interface HostLink {
  readonly ifName: string
  readonly ifIndex: number
  readonly alias: string
  readonly mtu: number
  readonly mac: string
  readonly up: boolean
  /** Namespace id (`IFLA_LINK_NETNSID`) of the peer; absent where the peer is in this namespace or gone. */
  readonly peerNsid?: number
  /** The peer's index in its namespace (`IFLA_LINK`). */
  readonly peerIndex?: number
}

/** An address in a pod, and the index of its interface there. */
export interface PodAddress {
  readonly address: IpAddress
  readonly ifIndex: number
}

export interface NextHop {
  readonly ifIndex: number
  readonly via?: IpAddress
  readonly onlink: boolean
}

/** A unicast route in the main table. */
export interface HostRoute {
  readonly destination: Cidr
  readonly protocol: number
  readonly nextHops: ReadonlyArray<NextHop>
  /** Of what the host itself sends (`RTA_PREFSRC`); absent: the kernel chooses. */
  readonly source?: IpAddress
}

/** `RTPROT_BIRD` (linux/rtnetlink.h). */
export const PROTOCOL_BIRD = 12

/** A route of BIRD's in the main table, of any type. */
export interface BirdRoute {
  readonly destination: Cidr
  readonly metric: number
}

/**
 * What an address is good for, by its flags (linux/if_addr.h): `permanent` is an operator's; `dynamic` is there as long as
 * a lease or a router's advertisement says; the others come and go, or are no source for what the node begins.
 */
export type Standing = "permanent" | "dynamic" | "deprecated" | "temporary" | "secondary"

export interface InterfaceAddress {
  readonly address: IpAddress
  readonly prefix: number
  readonly standing: Standing
}

/** One interface of the host with its addresses: what BIRD's local address and the MTU are chosen from. */
export interface HostInterface {
  readonly ifName: string
  readonly ifIndex: number
  /** `IFLA_INFO_KIND`, such as `dummy`; absent: a device of its own, or `lo`. */
  readonly kind?: string
  readonly mtu: number
  readonly up: boolean
  readonly addresses: ReadonlyArray<InterfaceAddress>
}

/** How the kernel reaches an address. */
export interface Way {
  readonly ifIndex: number
  /** The source that it would choose (`RTA_PREFSRC`). */
  readonly source?: IpAddress
}

/** A link-local address that a router has advertised itself from. */
export interface RouterNeighbour {
  readonly ifIndex: number
  readonly address: IpAddress
  /** It does not answer any more, or the kernel has forgotten it. */
  readonly gone: boolean
}

/** A change in the kernel that may need healing. `Overrun`: messages were lost (ENOBUFS), look at everything. */
export type KernelChange =
  | { readonly _tag: "LinkRemoved"; readonly ifName: string; readonly ifIndex: number }
  | { readonly _tag: "RouteRemoved"; readonly route: HostRoute }
  | { readonly _tag: "AddressChanged"; readonly ifIndex: number }
  | { readonly _tag: "Overrun" }

/** A change of a link that is none of ours; told too where nothing of these has changed. */
export type LinkChange =
  | {
    readonly _tag: "LinkChanged"
    readonly ifIndex: number
    readonly ifName: string
    readonly up: boolean
    readonly carrier: boolean
  }
  | { readonly _tag: "LinkRemoved"; readonly ifName: string; readonly ifIndex: number }
  | { readonly _tag: "Overrun" }

/** One thing in which the host end of a pod's link is not as planned. */
export interface HostDifference {
  readonly hostIfName: string
  /** `foreign-route`: the kernel prefers somebody else's route to ours. */
  readonly kind: "gone" | "link" | "setting" | "address" | "neighbour" | "route" | "foreign-route"
  /** What of the link, the same each time: `MTU`, `route to 10.42.1.5`. */
  readonly what: string
  /** In words, the link's name included. */
  readonly words: string
  /** Families whose packets are lost by it. */
  readonly cuts: ReadonlyArray<Family>
  /** undefined: it cannot be put right from here. */
  readonly repair: { readonly messages: ReadonlyArray<Message>; readonly enableIpv6: boolean } | undefined
}

/** A pod's link as it was found. */
export interface HostEndState {
  readonly hostIfName: string
  readonly ifIndex: number
  readonly up: boolean
  readonly carrier: boolean
  /** Its settings are those of a host end. */
  readonly settled: boolean
}

/** What a pod has made of the network that it was given. */
export type PodInside =
  | { readonly _tag: "AsMade" }
  | {
    readonly _tag: "Differs"
    /** Families in which it has lost its own address, or every way out. */
    readonly cuts: ReadonlyArray<Family>
    /** Anycast addresses that it has nowhere any more. */
    readonly addresses: ReadonlyArray<IpAddress>
    readonly words: string
    /** Some of its own addresses are gone, and others on the link still. */
    readonly partly: boolean
  }
  /** The link is not what it was, or cannot be looked at: nothing can be told. */
  | { readonly _tag: "Others" }

/** What a notification may mean for host ends, and for the node as their router. */
export type HostChange =
  /** A link that has an alias or one of our names. `settled`: its settings are those of a host end. */
  | { readonly _tag: "HostLink"; readonly link: HostEnd; readonly settled: boolean }
  /** A link of somebody else was made. */
  | { readonly _tag: "OtherLink" }
  | { readonly _tag: "LinkGone"; readonly ifName: string; readonly ifIndex: number }
  /** One of ours is gone, a link's own, or somebody else's to one address has come or gone. */
  | { readonly _tag: "Route"; readonly destination: Cidr; readonly ifIndex: number; readonly gone: boolean }
  | { readonly _tag: "Address"; readonly ifIndex: number; readonly address: IpAddress; readonly added: boolean }
  | { readonly _tag: "Neighbour"; readonly ifIndex: number }
  /** The host has ceased to answer for a gateway. */
  | { readonly _tag: "GatewayGone" }
  /** Forwarding, rp_filter or proxy_arp is not as it has to be; of a link, or (-1, -2) of `all` and `default`. */
  | { readonly _tag: "Setting"; readonly ifIndex: number }
  | { readonly _tag: "Overrun" }

/** What `prepareHost` did, in words: `ipv4/ip_forward=1`. */
export interface Prepared {
  readonly restored: ReadonlyArray<string>
  /** What could not be set. */
  readonly problems: ReadonlyArray<string>
}

export class Netlink extends Context.Service<Netlink, {
  /**
   * Makes the pod's whole network, or nothing: on failure everything made so far is removed. `beforeRoutes` must have
   * ended well before the host has a route to the pod; it runs when the link is there already.
   */
  readonly attach: <E = never>(
    plan: PodLinkPlan,
    beforeRoutes?: Effect.Effect<void, E>
  ) => Effect.Effect<PodLink, NetlinkError | NetnsError | InterfaceExists | LinkNameTaken | AddressHeld | E>
  /**
   * Removes host-side links by name, with their routes and peers. Links that are gone are success. Calls that arrive
   * while one is in the kernel are removed together (one `RTM_DELLINK` by group).
   */
  readonly detach: (hostIfName: string) => Effect.Effect<void, NetlinkError>
  /** CHECK: what differs from the plan, in words; empty if all is as planned. */
  readonly verify: (plan: PodLinkPlan) => Effect.Effect<ReadonlyArray<string>, NetlinkError | NetnsError>
  /** All host-side links whose name is `flock` + 8 hex digits. */
  readonly links: Effect.Effect<ReadonlyArray<HostLink>, NetlinkError>
  /** Routes in the main table, both families; of one protocol where it is named. */
  readonly routes: (protocol?: number) => Effect.Effect<ReadonlyArray<HostRoute>, NetlinkError>
  /** Adds or replaces routes, in one batch; the result has an entry per route that failed. */
  readonly putRoutes: (
    routes: ReadonlyArray<HostRoute>
  ) => Effect.Effect<ReadonlyArray<{ readonly route: HostRoute; readonly error: NetlinkError }>, NetlinkError>
  /** Deletes routes by destination and protocol, in one batch; `ESRCH` is success. */
  readonly deleteRoutes: (
    routes: ReadonlyArray<HostRoute>
  ) => Effect.Effect<ReadonlyArray<{ readonly route: HostRoute; readonly error: NetlinkError }>, NetlinkError>
  /** What BIRD has put into the main table, both families. */
  readonly birdRoutes: Effect.Effect<ReadonlyArray<BirdRoute>, NetlinkError>
  /** Deletes routes of BIRD's by destination and metric, in one batch; those that are gone are success. */
  readonly deleteBirdRoutes: (routes: ReadonlyArray<BirdRoute>) => Effect.Effect<void, NetlinkError>
  readonly interfaces: Effect.Effect<ReadonlyArray<HostInterface>, NetlinkError>
  /** What a pod has on all its interfaces, by the namespace ID of its link ({@link HostLink.peerNsid}). */
  readonly podAddresses: (nsid: number) => Effect.Effect<ReadonlyArray<PodAddress>, NetlinkError>
  /** How the kernel would send a packet to `address` (`ip route get`); undefined: no route. */
  readonly outgoing: (address: IpAddress) => Effect.Effect<Way | undefined, NetlinkError>
  /** Those that the kernel knows on these interfaces, by index. */
  readonly routers: (ifIndexes: ReadonlyArray<number>) => Effect.Effect<ReadonlyArray<RouterNeighbour>, NetlinkError>
  /** Asks these whether they are still there; what comes of it is a change. Unknown ones are passed over. */
  readonly probeRouters: (routers: ReadonlyArray<RouterNeighbour>) => Effect.Effect<void>
  /** What becomes of them from now on; the first `undefined` says that nothing is missed from here on, later ones that something was. */
  readonly routerChanges: (
    ifIndexes: ReadonlyArray<number>
  ) => Stream.Stream<RouterNeighbour | undefined, NetlinkError>
  /**
   * The host answers for these IPv4 gateways of pods, by ARP and to pings, and for no others that it once did. The result
   * has those for which it did not.
   */
  readonly answerFor: (gateways: ReadonlyArray<IpAddress>) => Effect.Effect<ReadonlyArray<IpAddress>, NetlinkError>
  /**
   * Turns the node into a router: forwarding on for both families, uplinks' `accept_ra` 1 → 2 first (Documentation/
   * networking/ip-sysctl.rst), `fib_multipath_hash_policy=1`; and makes pods' links believe nothing that they hear, those
   * of an agent before this one too.
   */
  readonly prepareHost: Effect.Effect<Prepared, NetlinkError>
  /** In what the host ends differ from their plans, in the order in which it has to be put right; not those being detached. */
  readonly lookAtHostEnds: (plans: ReadonlyArray<PodLinkPlan>) => Effect.Effect<
    { readonly differences: ReadonlyArray<HostDifference>; readonly links: ReadonlyArray<HostEndState> },
    NetlinkError
  >
  /** What a pod has made of its end, by its own namespace. `hostIfIndex`: of the host end. */
  readonly lookInside: (plan: PodLinkPlan, hostIfIndex: number) => Effect.Effect<PodInside>
  /** Puts right what can be; what failed is returned. */
  readonly repairHostEnds: (
    differences: ReadonlyArray<HostDifference>
  ) => Effect.Effect<ReadonlyArray<{ readonly difference: HostDifference; readonly error: NetlinkError }>>
  /** From an rtnetlink multicast socket of its own, since subscription. */
  readonly hostChanges: Stream.Stream<HostChange, NetlinkError>
  /** Of the node's own links, from a socket of its own: pods' links are not received. */
  readonly linkChanges: Stream.Stream<LinkChange, NetlinkError>
  /** Changes since subscription, from an rtnetlink multicast socket. */
  readonly changes: Stream.Stream<KernelChange, NetlinkError>
}>()("flock/Netlink") {}
