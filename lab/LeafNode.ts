/** One node with a pod on two leaves, its default routes from both: the fabric of {@link Fabric} with real agent and BIRD. */
import { AgentNode, type Attached } from "./AgentNode.ts"
import { ip } from "./exec.ts"
import { Fabric, fabricPeers, LEAVES } from "./Fabric.ts"
import { type Direction, openFlows } from "./flows.ts"
import { cidr4, cidr6, nodeSpec } from "./Network.ts"
import { sleep, until } from "./until.ts"
import type { World } from "./World.ts"

export interface LeafNodeOptions {
  /** Default: false. */
  readonly bfd?: boolean
  /** Default: false. One session per leaf, over link-local addresses. */
  readonly unnumbered?: boolean
}

/** What flows of both families suffered on their ways. */
export interface Suffered {
  /** From the node to the client. */
  readonly out: { readonly ipv6: Direction["back"]; readonly ipv4: Direction["back"] }
  /** From the client to the node. */
  readonly in: { readonly ipv6: Direction["there"]; readonly ipv4: Direction["there"] }
}

export class LeafNode {
  readonly world: World
  readonly node: AgentNode
  readonly fabric: Fabric
  readonly pod: Attached
  readonly #options: LeafNodeOptions

  private constructor(world: World, node: AgentNode, fabric: Fabric, pod: Attached, options: LeafNodeOptions) {
    this.world = world
    this.node = node
    this.fabric = fabric
    this.pod = pod
    this.#options = options
  }

  /** `spec` of its NodeConfig. */
  static spec({ bfd = false, unnumbered = false }: LeafNodeOptions, more: object = {}) {
    const peers = unnumbered
      ? LEAVES.map((leaf) => ({ interface: `uplink${leaf}`, asn: "external", holdTimeSeconds: 9, bfd }))
      : fabricPeers(0, { bfd })
    return nodeSpec(0, { importCIDRs: ["::/0", "0.0.0.0/0"], peers, ...more })
  }

  /** Sessions are up, the node's default routes lead to both leaves, the spine's to the node by both. */
  static async open(world: World, options: LeafNodeOptions = {}): Promise<LeafNode> {
    const node = await AgentNode.open(world, { flags: [], spec: LeafNode.spec(options) })
    const { bfd = false, unnumbered = false } = options
    const fabric = await Fabric.open(world, { nodes: [node.netns], bfd, numbered: !unnumbered })
    await node.start()
    await node.startBird()
    const it = new LeafNode(world, node, fabric, await node.attachedPod(), options)
    await it.whole()
    return it
  }

  writeSpec(more: object): void {
    this.node.writeNodeConfig(LeafNode.spec(this.#options, more))
  }

  /** Waits until both leaves are used in both directions, by both families. */
  async whole(seconds = 40): Promise<true> {
    await this.spineWays(2, seconds)
    return this.nodeWays([0, 1], seconds)
  }

  spineWays(count: number, seconds = 30): Promise<true> {
    return until(`${count} ways to the node in the spine`, async () => {
      const six = (await this.fabric.spine.kernelRoutes(6)).get(cidr6(0))
      const four = (await this.fabric.spine.kernelRoutes(4)).get(cidr4(0))
      return six?.length === count && four?.length === count
    }, seconds)
  }

  /** Interfaces of BIRD's default route. */
  async #uplinks(family: 4 | 6): Promise<string> {
    const text = await ip(this.node.netns, `-${family}`, "route", "show", "default", "proto", "bird")
    return [...new Set(text.match(/uplink\d/g))].toSorted().join()
  }

  /** Waits until the node's default routes lead to exactly these leaves. */
  nodeWays(leaves: ReadonlyArray<number>, seconds = 30): Promise<true> {
    const wanted = leaves.map((leaf) => `uplink${leaf}`).join()
    return until(
      `default routes by ${wanted}`,
      async () => await this.#uplinks(6) === wanted && await this.#uplinks(4) === wanted,
      seconds
    )
  }

  /** What flows between client and pod suffer while `event` runs and for so many seconds after it. */
  async during(event: () => Promise<unknown>, seconds = 0.5): Promise<Suffered> {
    const { fabric: { client }, pod: { netns, v4, v6 }, world } = this
    const flows = await openFlows(world, { from: client, to: netns, addresses: [v6, v4] })
    await sleep(300)
    await event()
    await sleep(seconds * 1000)
    const { ipv4, ipv6 } = await flows.stop()
    return { out: { ipv6: ipv6.back, ipv4: ipv4.back }, in: { ipv6: ipv6.there, ipv4: ipv4.there } }
  }
}
