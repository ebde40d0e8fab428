/**
 * What flock has in nf_tables: one table of its own per family, which says what a pod's link may bring into the node.
 * Nothing in it names a pod but the elements of small sets, so that an ADD touches nothing here.
 */
import { createHash } from "node:crypto"
import { address, type IpAddress, toBytes } from "../domain/Ip.ts"
import { GATEWAY6 } from "../domain/PodAddresses.ts"
import { concat, type Message } from "../netlink/codec.ts"
import { IF_PREFIX } from "../netlink/Netlink.ts"
import * as E from "./expressions.ts"
import * as N from "./nft.ts"

/** In both families, `inet` and `arp`. */
export const TABLE = "flock"

/** Element keys by set; a set that is filled by packets is not named here. */
export interface Elements {
  /** Links whose pods may use any source; undefined: those that are there stay. */
  readonly exempt: ReadonlyArray<string> | undefined
  /** Sources of a link that the routing table does not, or not always, lead back to it. */
  readonly sources: ReadonlyArray<{ readonly ifName: string; readonly address: IpAddress }>
}

/** Why a packet was dropped; the name of the set that counts it. */
export const REASONS = ["spoofed", "forbidden", "flooding"] as const
export type Reason = typeof REASONS[number]

export interface Chain {
  readonly name: string
  readonly hook?: N.Hook
  readonly rules: ReadonlyArray<ReadonlyArray<E.Expression>>
}

export interface Table {
  readonly family: number
  readonly sets: ReadonlyArray<N.SetSpec>
  readonly chains: ReadonlyArray<Chain>
}

/** As many links as a node will have. A pod chooses neither the name nor the number of its links. */
const LINKS = 65_536

const AF_INET = 2
const AF_INET6 = 10
const TCP = 6
const UDP = 17
const ICMPV6 = 58

const BGP = 179
/** RFC 5881 (control, echo) and RFC 5883 (multihop). */
const BFD = [3784, 3785] as const
const BFD_MULTIHOP = 4784

/** RFC 4861. */
const ROUTER_ADVERTISEMENT = 134
const REDIRECT = 137
const NEIGHBOUR_SOLICITATION = 135

/** `RTN_LOCAL`, as a register holds it. */
const LOCAL = Uint8Array.of(2, 0, 0, 0)

/**
 * Requests for link-layer addresses that one pod may make. Each may leave an entry in the node's neighbour table, which
 * all links share (`gc_thresh3`, 1024 by default); a pod that is well has two neighbours.
 */
const NEIGHBOURS_PER_SECOND = 10
const NEIGHBOURS_BURST = 50

const NF_INET_PRE_ROUTING = 0
const NF_ARP_IN = 0
/** `NF_IP_PRI_RAW`: before connection tracking, so that what is dropped costs no entry there. */
const RAW = -300

const port = (number: number): Uint8Array => Uint8Array.of(number >> 8, number & 255)
const fromPods = [E.meta("iifname", 1), E.compare(1, "==", Uint8Array.from(Buffer.from(IF_PREFIX)))]
const family = (number: number) => [E.meta("nfproto", 1), E.compare(1, "==", Uint8Array.of(number))]
const protocol = (number: number) => [E.meta("l4proto", 1), E.compare(1, "==", Uint8Array.of(number))]
const icmp6 = (type: number) => [
  ...protocol(ICMPV6),
  E.payload("transport", 0, 1, 1),
  E.compare(1, "==", Uint8Array.of(type))
]
const toNode = [E.destinationType(1), E.compare(1, "==", LOCAL)]
const SADDR = { 4: { offset: 12, length: 4 }, 6: { offset: 8, length: 16 } } as const
const source = (number: 4 | 6, to: E.Register) => E.payload("network", SADDR[number].offset, SADDR[number].length, to)

/** Speaks to the node as a router would, or to what is behind its loopback addresses. */
const forbidden: ReadonlyArray<ReadonlyArray<E.Expression>> = [
  icmp6(ROUTER_ADVERTISEMENT),
  icmp6(REDIRECT),
  [...protocol(TCP), E.payload("transport", 2, 2, 1), E.compare(1, "==", port(BGP)), ...toNode],
  [
    ...protocol(UDP),
    E.payload("transport", 2, 2, 1),
    E.compare(1, ">=", port(BFD[0])),
    E.compare(1, "<=", port(BFD[1])),
    ...toNode
  ],
  [...protocol(UDP), E.payload("transport", 2, 2, 1), E.compare(1, "==", port(BFD_MULTIHOP)), ...toNode],
  // With route_localnet, which kube-proxy and portmap set, the kernel would take these (CVE-2020-8558). Packets of a host
  // port at 127.0.0.1 have the node's address by the time that they reach the pod.
  [...family(AF_INET), E.payload("network", 16, 1, 1), E.compare(1, "==", Uint8Array.of(127))],
  // The kernel drops these by itself, unless somebody has set accept_local.
  [...family(AF_INET), E.payload("network", 12, 1, 1), E.compare(1, "==", Uint8Array.of(127))]
]

/** What is left after these is somebody else's source. */
const ownSources: ReadonlyArray<ReadonlyArray<E.Expression>> = [
  [E.wayBack(1), E.compare(1, "!=", new Uint8Array(4)), E.verdict("return")],
  [...family(AF_INET6), E.meta("iifname", 1), source(6, 2), E.lookup("sources6", 1), E.verdict("return")],
  [...family(AF_INET), E.meta("iifname", 1), source(4, 2), E.lookup("sources4", 1), E.verdict("return")],
  [E.meta("iifname", 1), E.lookup("exempt", 1), E.verdict("return")],
  // The gateway is the host end itself; of other link-local sources nothing is forwarded (RFC 4291, 2.5.6).
  [...family(AF_INET6), source(6, 1), E.compare(1, "==", toBytes(GATEWAY6)), E.verdict("goto", "spoofed")],
  [
    ...family(AF_INET6),
    source(6, 1),
    E.mask(1, toBytes(address("ffc0::"))),
    E.compare(1, "==", toBytes(address("fe80::"))),
    E.verdict("return")
  ],
  // Duplicate address detection, and multicast listener reports before there is an address.
  [...family(AF_INET6), source(6, 1), E.compare(1, "==", new Uint8Array(16)), ...protocol(ICMPV6), E.verdict("return")],
  [E.verdict("goto", "spoofed")]
]

const dropping = (name: Reason): Chain => ({
  name,
  rules: [[E.meta("iifname", 1), E.countIn(name, 1)], [E.verdict("drop")]]
})

const counting = (name: Reason): N.SetSpec => ({ name, key: ["ifname"], flags: N.NFT_SET_EVAL, size: LINKS })
const rates: N.SetSpec = { name: "neighbours", key: ["ifname"], flags: N.NFT_SET_EVAL, size: LINKS }
const tooFast = [E.meta("iifname", 1), E.above("neighbours", 1, NEIGHBOURS_PER_SECOND, NEIGHBOURS_BURST)]

const inet = (antiSpoofing: boolean): Table => ({
  family: N.NFPROTO_INET,
  sets: [
    ...REASONS.map(counting),
    rates,
    { name: "exempt", key: ["ifname"], flags: 0, size: 0 },
    { name: "sources6", key: ["ifname", "ipv6_addr"], flags: 0, size: 0 },
    { name: "sources4", key: ["ifname", "ipv4_addr"], flags: 0, size: 0 }
  ],
  chains: [
    ...REASONS.map(dropping),
    {
      name: "pod",
      rules: [
        ...forbidden.map((match) => [...match, E.verdict("goto", "forbidden")]),
        [...icmp6(NEIGHBOUR_SOLICITATION), ...tooFast, E.verdict("goto", "flooding")],
        ...(antiSpoofing ? ownSources : [])
      ]
    },
    {
      name: "prerouting",
      hook: { number: NF_INET_PRE_ROUTING, priority: RAW },
      rules: [[...fromPods, E.verdict("jump", "pod")]]
    }
  ]
})

const arp: Table = {
  family: N.NFPROTO_ARP,
  sets: [counting("flooding"), rates],
  chains: [
    dropping("flooding"),
    {
      name: "input",
      hook: { number: NF_ARP_IN, priority: 0 },
      rules: [[...fromPods, ...tooFast, E.verdict("goto", "flooding")]]
    }
  ]
}

export const tablesOf = (antiSpoofing: boolean): ReadonlyArray<Table> => [inet(antiSpoofing), arp]

/** Tells two rule sets apart. */
const digestOf = (table: Table): string => {
  const bytes = table.chains.flatMap(({ name, rules }) => [Buffer.from(name), ...rules.flat()])
  return createHash("sha256").update(concat(bytes)).digest("hex").slice(0, 8)
}

/** Each chain's rules by their comments, in order: what a look at the kernel must find. */
export const commentsOf = (table: Table): ReadonlyMap<string, ReadonlyArray<string>> => {
  const digest = digestOf(table)
  return new Map(table.chains.map(({ name, rules }) => [name, rules.map((_, i) => `flock ${digest} ${i}`)]))
}

/** Elements of each set, as keys. */
export const keysOf = (elements: Elements): ReadonlyMap<string, ReadonlyArray<Uint8Array>> => {
  const sources = (number: 4 | 6) =>
    elements.sources.filter(({ address }) => address.family === number)
      .map(({ address, ifName }) => concat([N.ifName(ifName), toBytes(address)]))
  return new Map([
    ...(elements.exempt === undefined ? [] : [["exempt", elements.exempt.map(N.ifName)] as const]),
    ["sources6", sources(6)],
    ["sources4", sources(4)]
  ])
}

/** Elements that go into one message: an attribute is 64 KiB at most. */
export const PER_MESSAGE = 500

const inChunks = <A>(list: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from(
    { length: Math.ceil(list.length / PER_MESSAGE) },
    (_, i) => list.slice(i * PER_MESSAGE, (i + 1) * PER_MESSAGE)
  )

export const addKeys = (set: string, keys: ReadonlyArray<Uint8Array>): ReadonlyArray<Message> =>
  inChunks(keys).map((some) => N.addElements(N.NFPROTO_INET, TABLE, set, some))

export const deleteKeys = (set: string, keys: ReadonlyArray<Uint8Array>): ReadonlyArray<Message> =>
  inChunks(keys).map((some) => N.deleteElements(N.NFPROTO_INET, TABLE, set, some))

/** Makes a table anew, whatever there was under its name. */
export const build = (table: Table, elements: Elements): ReadonlyArray<Message> => {
  const comments = commentsOf(table)
  const keys = table.family === N.NFPROTO_INET ? keysOf(elements) : new Map<string, ReadonlyArray<Uint8Array>>()
  return [
    // Deleting what is not there would undo the whole transaction.
    N.newTable(table.family, TABLE),
    N.deleteTable(table.family, TABLE),
    N.newTable(table.family, TABLE),
    ...table.sets.map((set, i) => N.newSet(table.family, TABLE, i + 1, set)),
    ...[...keys].flatMap(([set, some]) => addKeys(set, some)),
    ...table.chains.map(({ hook, name }) => N.newChain(table.family, TABLE, name, hook)),
    ...table.chains.flatMap(({ name, rules }) =>
      rules.map((rule, i) => N.newRule(table.family, TABLE, name, rule, comments.get(name)?.[i] ?? ""))
    )
  ]
}
