/**
 * Two leaves (FRR), a spine (FRR) behind them, nodes with an uplink to each leaf, and a client behind the spine, each in a
 * network namespace, dual-stack:
 *
 * ```
 *                 ┌─ leaf 0 ─┬─ uplink0, node 0, uplink1 ─┬─ leaf 1 ─┐
 * client ── spine ┤          └─ uplink0, node 1, uplink1 ─┘          │
 *                 └──────────────────────────────────────────────────┘
 * ```
 *
 * Every link is one of its own (a leaf's `node0`, `node1`, `spine`; the spine's `leaf0`, `leaf1`, `client`), so sessions
 * are numbered or unnumbered (`neighbor node0 interface remote-as external`). The default route comes from the spine:
 * a leaf that has lost the spine withdraws it from the nodes. Nodes have no default route of their own.
 */
import { enter, inside, ip, ipBatch, runSync } from "./exec.ts"
import { Frr } from "./frr.ts"
import { kernelRoutes, plainSysctls } from "./Lan.ts"
import { CLIENT4, CLIENT6, NODE_ASN } from "./routers.ts"
import type { World } from "./World.ts"

export const SPINE_ASN = 65000
export const leafAsn = (leaf: number): number => 65100 + leaf
export const LEAVES = [0, 1] as const

/** Ends of the link between a leaf and a node; {@link FabricOptions.numbered} only. */
export const linkAddresses = (leaf: number, node: number) => {
  const four = leaf * 64 + node * 4
  return {
    leaf6: `2001:db8:ff0${leaf}:${node + 1}::1`,
    leaf4: `198.51.100.${four + 1}`,
    node6: `2001:db8:ff0${leaf}:${node + 1}::2`,
    node4: `198.51.100.${four + 2}`
  }
}

const spineLink = (leaf: number) => ({
  spine6: `2001:db8:fe0${leaf}::1`,
  leaf6: `2001:db8:fe0${leaf}::2`,
  spine4: `198.51.100.${128 + leaf * 4 + 1}`,
  leaf4: `198.51.100.${128 + leaf * 4 + 2}`
})

/** `peers` of a node's NodeConfig, for numbered sessions. */
export const fabricPeers = (node: number, more: object = {}): ReadonlyArray<object> =>
  LEAVES.flatMap((leaf) => {
    const { leaf4, leaf6 } = linkAddresses(leaf, node)
    return [leaf6, leaf4].map((address) => ({ address, asn: leafAsn(leaf), holdTimeSeconds: 9, ...more }))
  })

export interface FabricOptions {
  /** Namespaces that become nodes; 15 at most. */
  readonly nodes: ReadonlyArray<string>
  /**
   * Default: true. False: links between leaves and nodes have link-local addresses only, and one session by interface
   * carries both families.
   */
  readonly numbered?: boolean
  /** BFD between leaves and nodes. Leaves and spine always have it. */
  readonly bfd?: boolean
  /** Further lines of `neighbor NAME …`, without these two words, for every node. */
  readonly neighbor?: ReadonlyArray<string>
}

interface Neighbor {
  /** Address or interface. */
  readonly name: string
  readonly asn: number | "external"
  readonly families: ReadonlyArray<4 | 6>
  readonly bfd: boolean
  readonly more: ReadonlyArray<string>
}

const frr = (
  hostname: string,
  asn: number,
  id: string,
  neighbors: ReadonlyArray<Neighbor>,
  networks: {
    readonly [family in 4 | 6]: ReadonlyArray<string>
  }
): string =>
  [
    `hostname ${hostname}`,
    `router bgp ${asn}`,
    ` bgp router-id ${id}`,
    " no bgp ebgp-requires-policy",
    " no bgp network import-check",
    " no bgp default ipv4-unicast",
    " bgp bestpath as-path multipath-relax",
    ...neighbors.flatMap(({ asn, bfd, more, name }) => [
      asn === "external" ? ` neighbor ${name} interface remote-as external` : ` neighbor ${name} remote-as ${asn}`,
      ...["timers 3 9", "timers connect 1", "advertisement-interval 0", ...bfd ? ["bfd"] : [], ...more]
        .map((line) => ` neighbor ${name} ${line}`)
    ]),
    ...([6, 4] as const).flatMap((family) => [
      ` address-family ipv${family} unicast`,
      ...networks[family].map((network) => `  network ${network}`),
      ...neighbors.filter(({ families }) => families.includes(family)).map(({ name }) => `  neighbor ${name} activate`),
      " exit-address-family"
    ]),
    ""
  ].join("\n")

const leafConfig = (leaf: number, { bfd = false, neighbor: more = [], nodes, numbered = true }: FabricOptions) => {
  const { spine4, spine6 } = spineLink(leaf)
  const up = { asn: SPINE_ASN, bfd: true, more: [] }
  const down = nodes.flatMap((_, node): ReadonlyArray<Neighbor> => {
    if (!numbered) return [{ name: `node${node}`, asn: "external", families: [6, 4], bfd, more }]
    const { node4, node6 } = linkAddresses(leaf, node)
    return [{ name: node6, asn: NODE_ASN, families: [6], bfd, more }, {
      name: node4,
      asn: NODE_ASN,
      families: [4],
      bfd,
      more
    }]
  })
  return frr(`leaf${leaf}`, leafAsn(leaf), spineLink(leaf).leaf4, [
    { ...up, name: spine6, families: [6] },
    { ...up, name: spine4, families: [4] },
    ...down
  ], { 6: [], 4: [] })
}

const spineConfig = (): string =>
  frr(
    "spine",
    SPINE_ASN,
    "198.51.100.129",
    LEAVES.flatMap((leaf) => {
      const { leaf4, leaf6 } = spineLink(leaf)
      const down = { asn: leafAsn(leaf), bfd: true, more: [] }
      return [{ ...down, name: leaf6, families: [6] as const }, { ...down, name: leaf4, families: [4] as const }]
    }),
    { 6: ["::/0", "2001:db8:c::/64"], 4: ["0.0.0.0/0", "203.0.113.0/24"] }
  )

/**
 * With nexthop objects, the kernel takes the one whose link goes out of its group, and FRR 8.4, whose own group is as before
 * when the link is back, does not put it in again: a leaf that came back got nothing from the spine.
 */
const ZEBRA = "hostname router\nno zebra nexthop kernel enable\n"

/** A router of the fabric. */
export class FabricRouter extends Frr {
  readonly #config: string
  readonly #links: ReadonlyArray<string>

  constructor(world: World, name: string, config: string, links: ReadonlyArray<string>) {
    super(world, world.netns(name))
    this.#config = config
    this.#links = links
  }

  /** Starts its daemons. */
  run(): Promise<void> {
    return this.start(this.#config, { bfd: true, zebra: ZEBRA })
  }

  /** The power goes: every link loses its carrier at once, and the daemons are gone. */
  async kill(): Promise<void> {
    this.#setLinks("down")
    await this.stop("SIGKILL")
    for (const family of ["-6", "-4"]) await ip(this.netns, family, "route", "flush", "proto", "bgp")
  }

  /** The power comes: links first and daemons after them, as in a switch that starts. */
  async revive(): Promise<void> {
    this.#setLinks("up")
    await this.run()
  }

  /** A leaf's link to the spine. */
  async uplink(state: "up" | "down"): Promise<void> {
    await ip(this.netns, "link", "set", "spine", state)
  }

  #setLinks(state: "up" | "down"): void {
    ipBatch(this.netns, this.#links.map((link) => `link set ${link} ${state}\n`).join(""))
  }

  /** BGP's routes in its kernel. */
  kernelRoutes(family: 4 | 6): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    return kernelRoutes(this.netns, family, "bgp")
  }
}

export class Fabric {
  readonly options: FabricOptions
  readonly leaves: ReadonlyArray<FabricRouter>
  readonly spine: FabricRouter
  /** Network namespace. */
  readonly client: string

  private constructor(world: World, options: FabricOptions) {
    this.options = options
    const links = ["spine", ...options.nodes.map((_, node) => `node${node}`)]
    this.leaves = LEAVES.map((leaf) => new FabricRouter(world, "leaf", leafConfig(leaf, options), links))
    this.spine = new FabricRouter(world, "spine", spineConfig(), [...LEAVES.map((leaf) => `leaf${leaf}`), "client"])
    this.client = world.netns("client")
  }

  /** Links and routers; nobody speaks on the nodes yet. */
  static async open(world: World, options: FabricOptions): Promise<Fabric> {
    const fabric = new Fabric(world, options)
    await fabric.#links()
    await Promise.all([fabric.spine, ...fabric.leaves].map((router) => router.run()))
    return fabric
  }

  leaf(leaf: number): FabricRouter {
    const router = this.leaves[leaf]
    if (router === undefined) throw new RangeError(`no leaf ${leaf}`)
    return router
  }

  #node(node: number): string {
    const netns = this.options.nodes[node]
    if (netns === undefined) throw new RangeError(`no node ${node}`)
    return netns
  }

  #ends(leaf: number, node: number): ReadonlyArray<readonly [netns: string, device: string]> {
    return [[this.leaf(leaf).netns, `node${node}`], [this.#node(node), `uplink${leaf}`]]
  }

  async #links(): Promise<void> {
    for (const netns of [this.spine.netns, ...this.leaves.map(({ netns }) => netns), this.client]) {
      await inside(netns, "sysctl", "-qw", ...routerSysctls)
      await ip(netns, "link", "set", "lo", "up")
    }
    for (const netns of this.options.nodes) {
      await inside(netns, "sysctl", "-qw", ...plainSysctls.slice(0, 2))
      ipBatch(netns, "link set lo up\naddr flush dev lo scope global\n")
    }
    link(this.spine.netns, "client", ["2001:db8:c::1/64", "203.0.113.1/24"], this.client, "eth0", [
      `${CLIENT6}/64`,
      `${CLIENT4}/24`
    ])
    ipBatch(this.client, "route add default via 2001:db8:c::1\nroute add default via 203.0.113.1\n")
    for (const [leaf, { netns }] of this.leaves.entries()) {
      const { leaf4, leaf6, spine4, spine6 } = spineLink(leaf)
      const spineEnd = [`${spine6}/64`, `${spine4}/30`]
      link(this.spine.netns, `leaf${leaf}`, spineEnd, netns, "spine", [`${leaf6}/64`, `${leaf4}/30`])
      for (const [node, other] of this.options.nodes.entries()) {
        const ends = linkAddresses(leaf, node)
        const [near, far] = this.options.numbered === false
          ? [[], []]
          : [[`${ends.leaf6}/64`, `${ends.leaf4}/30`], [`${ends.node6}/64`, `${ends.node4}/30`]]
        link(netns, `node${node}`, near, other, `uplink${leaf}`, far)
      }
    }
  }

  /** The link between a leaf and a node loses its carrier at both ends, or has it again. */
  async cut(leaf: number, node: number, state: "down" | "up" = "down"): Promise<void> {
    await ip(this.leaf(leaf).netns, "link", "set", `node${node}`, state)
  }

  /** The link between a leaf and a node carries nothing any more, with its carrier there: only BFD or the hold timer tells. */
  silence(leaf: number, node: number): void {
    for (const [netns, device] of this.#ends(leaf, node)) {
      const chain = `type filter hook ingress device ${device} priority -500; policy drop;`
      runSync([...enter(netns), "nft", "-f", "-"], `table netdev silent {\n chain ${device} {\n ${chain}\n }\n}\n`)
    }
  }

  /** The end of {@link silence}. */
  unsilence(leaf: number, node: number): void {
    for (const [netns, device] of this.#ends(leaf, node)) {
      runSync([...enter(netns), "nft", "delete", "chain", "netdev", "silent", device])
    }
  }
}

const routerSysctls = [
  ...plainSysctls,
  // A switch's addresses are there when its port is up again.
  "net.ipv6.conf.default.keep_addr_on_down=1",
  "net.ipv6.conf.all.keep_addr_on_down=1",
  // RFC 2992 over the flow, so that a client's flows take both leaves.
  "net.ipv6.fib_multipath_hash_policy=1",
  "net.ipv4.fib_multipath_hash_policy=1"
]

/** A veth pair, up and with addresses. */
const link = (
  netns: string,
  name: string,
  addresses: ReadonlyArray<string>,
  peerNetns: string,
  peerName: string,
  peerAddresses: ReadonlyArray<string>
): void => {
  ipBatch(netns, `link add ${name} type veth peer name ${peerName} netns ${peerNetns}\n`)
  for (const [at, device, all] of [[netns, name, addresses], [peerNetns, peerName, peerAddresses]] as const) {
    const lines = all.map((address) => `addr add ${address} dev ${device}${address.includes(":") ? " nodad" : ""}\n`)
    ipBatch(at, `link set ${device} up\n${lines.join("")}`)
  }
}
