/** Nodes with real agents and BIRDs behind a router, and the client that reaches their pods through it. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { AgentNode } from "./AgentNode.ts"
import { inside } from "./exec.ts"
import { type Fetch, type FetchLoop, fetchLoop, fetchOnce, urlOf } from "./http.ts"
import { Lan, type LanOptions, NODE_ASN, ROUTER4, ROUTER6, ROUTER_ASN } from "./Lan.ts"
import { Pod, type PodOptions } from "./Pod.ts"
import { RouteMonitor } from "./RouteMonitor.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

export const ANYCAST6 = "2001:db8:a::1"
export const ANYCAST4 = "192.0.2.1"

/** Node i's prefixes. */
export const cidr6 = (i: number): string => `2001:db8:10${i}::/64`
export const cidr4 = (i: number): string => `10.42.${i}.0/24`

export const peers = (more: object = {}): ReadonlyArray<object> => [
  { address: ROUTER6, asn: ROUTER_ASN, holdTimeSeconds: 9, ...more },
  { address: ROUTER4, asn: ROUTER_ASN, holdTimeSeconds: 9, ...more }
]

/** Node i's NodeConfig. */
export const nodeSpec = (i: number, bgp: object = {}) => ({
  cidr6: cidr6(i),
  cidr4: cidr4(i),
  // as many as a bench has pods
  anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"], maxPerNamespace: 1000, maxPerNode: 1000 },
  bgp: { asn: NODE_ASN, peers: peers(), ...bgp }
})

export interface NetworkOptions extends Omit<LanOptions, "nodes" | "router"> {
  readonly nodes: number
  /** Default: FRR. */
  readonly router?: LanOptions["router"]
  /** Environment of node i's agent, besides this process's. */
  readonly env?: (i: number) => NodeJS.ProcessEnv
  /** What a node needs before its agent starts. */
  readonly prepare?: (node: AgentNode, i: number) => Promise<void>
}

export class Network {
  readonly world: World
  readonly nodes: ReadonlyArray<AgentNode>
  readonly lan: Lan
  /** Of the router. */
  readonly monitor: RouteMonitor

  private constructor(world: World, nodes: ReadonlyArray<AgentNode>, lan: Lan, monitor: RouteMonitor) {
    this.world = world
    this.nodes = nodes
    this.lan = lan
    this.monitor = monitor
  }

  /** All agents and BIRDs run, and the router has every node's prefixes. */
  static async open(world: World, options: NetworkOptions): Promise<Network> {
    const nodes: Array<AgentNode> = []
    for (let i = 0; i < options.nodes; i++) {
      const spec = nodeSpec(i, {
        peers: options.unnumbered
          ? [{ interface: "uplink", asn: "external", holdTimeSeconds: 9 }]
          : peers({ bfd: options.bfd ?? false })
      })
      nodes.push(await AgentNode.open(world, { name: `node${i + 1}`, flags: [], spec, env: options.env?.(i) ?? {} }))
    }
    const lan = await Lan.open(world, { router: "frr", ...options, nodes: nodes.map(({ netns }) => netns) })
    // Two pods on one node, or two nodes, are chosen by port as well: RFC 2992 hashing over the flow.
    const policy = ["net.ipv6.fib_multipath_hash_policy=1", "net.ipv4.fib_multipath_hash_policy=1"]
    await inside(lan.router, "sysctl", "-qw", ...policy)
    const network = new Network(world, nodes, lan, await RouteMonitor.open(world, lan.router))
    for (const [i, node] of nodes.entries()) await options.prepare?.(node, i)
    await Promise.all(nodes.map((node) => node.start()))
    await Promise.all(nodes.map((node) => node.startBird()))
    for (const i of nodes.keys()) await network.routed(i, true, 30)
    return network
  }

  node(i: number): AgentNode {
    const node = this.nodes[i]
    if (node === undefined) throw new RangeError(`no node ${i}`)
    return node
  }

  /** Whether the router's kernel has both prefixes of a node. */
  async isRouted(i: number): Promise<boolean> {
    return (await this.lan.kernelRoutes(6)).has(cidr6(i)) && (await this.lan.kernelRoutes(4)).has(cidr4(i))
  }

  /** Waits until the router's kernel has both prefixes of a node, or neither. */
  routed(i: number, wanted: boolean, seconds = 15): Promise<true> {
    return until(`${wanted ? "" : "no "}routes of node ${i} in the router`, async () => {
      const six = (await this.lan.kernelRoutes(6)).has(cidr6(i))
      const four = (await this.lan.kernelRoutes(4)).has(cidr4(i))
      return six === wanted && four === wanted
    }, seconds)
  }

  /** A pod with its network, not Ready yet. */
  pod(i: number, name: string, options: PodOptions): Promise<Pod> {
    return Pod.start(this.node(i), name, options)
  }

  /** The client fetches every URL in a loop. */
  fetchLoop(urls: ReadonlyArray<string>): FetchLoop {
    return fetchLoop(this.world, this.lan.client, urls)
  }

  fetch(url: string): Promise<Fetch> {
    return fetchOnce(this.world, this.lan.client, url)
  }

  /** Gateways of the router's kernel route to an address; empty: it has none. */
  async gateways(address: string): Promise<ReadonlyArray<string>> {
    return (await this.lan.kernelRoutes(address.includes(":") ? 6 : 4)).get(address) ?? []
  }

  /** Waits until the router has exactly so many ways to an address. */
  ways(address: string, count: number, seconds = 10): Promise<true> {
    return until(
      `${count} ways to ${address} in the router`,
      async () => (await this.gateways(address)).length === count,
      seconds
    )
  }

  /**
   * Failed fetches that no change of the router's ways explains. A router that spreads flows over several ways moves
   * some of those that are open when a way goes (RFC 2992, section 3); one caught within its few milliseconds is reset
   * by the pod that it comes to, whoever announces the address.
   */
  unexplained(fetches: ReadonlyArray<Fetch>): ReadonlyArray<Fetch> {
    return fetches.filter(({ end, error, start, url }) =>
      error !== undefined &&
      !this.monitor.events.some(({ at, destination }) => url === urlOf(destination) && at > start - 10 && at < end + 10)
    )
  }

  /** BIRD's log on a node; what it says of reconfigurations is there. */
  birdLog(i: number): string {
    return readFileSync(join(this.node(i).birdDirectory, "bird.log"), "utf8")
  }
}
