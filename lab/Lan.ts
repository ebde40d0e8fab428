/**
 * A router (FRR or BIRD), nodes on its LAN and a client behind it, each in a network namespace, dual-stack:
 *
 * ```
 * client ──── router ─┬─ node 0      LAN 2001:db8:ffff::/64, 198.51.100.0/24: router ::1 .1, nodes ::11 .11, ::12 .12 …
 *                     └─ node 1 …    client 2001:db8:c::/64, 203.0.113.0/24: router ::1 .1, client ::2 .2
 * ```
 *
 * The router announces a default route, the client's networks and the LAN itself, so that it shows what a node refuses.
 * Nodes have default routes of their own through the router.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { startBird } from "./bird.ts"
import { inside, ip, ipBatch } from "./exec.ts"
import { Frr } from "./frr.ts"
import {
  birdRouterConfig,
  CLIENT4,
  CLIENT6,
  frrConfig,
  type LanOptions,
  node4,
  node6,
  ROUTER4,
  ROUTER6,
  ROUTER_LOOPBACK
} from "./routers.ts"
import type { World } from "./World.ts"

export * from "./routers.ts"

/** Forwarding router-like namespace whose addresses are usable at once. */
export const plainSysctls = [
  "net.ipv6.conf.default.accept_dad=0",
  "net.ipv6.conf.all.accept_dad=0",
  "net.ipv6.conf.all.forwarding=1",
  "net.ipv4.ip_forward=1",
  "net.ipv6.conf.default.accept_ra=0"
]

export class Lan {
  readonly world: World
  readonly directory: string
  /** Network namespace. */
  readonly router: string
  /** Network namespace. */
  readonly client: string
  readonly options: LanOptions
  /** Runs where the router is an FRR. */
  readonly frr: Frr

  private constructor(world: World, options: LanOptions) {
    this.world = world
    this.options = options
    this.router = world.netns("router")
    this.client = world.netns("client")
    this.directory = world.folder("router")
    this.frr = new Frr(world, this.router, this.directory)
  }

  static async open(world: World, options: LanOptions): Promise<Lan> {
    const lan = new Lan(world, options)
    await lan.#network()
    await lan.#startRouter()
    return lan
  }

  async #network(): Promise<void> {
    for (const name of [this.router, this.client]) {
      await inside(name, "sysctl", "-qw", ...plainSysctls)
      await ip(name, "link", "set", "lo", "up")
    }
    ipBatch(
      this.router,
      `link add lan type bridge
link set lan up
addr add ${ROUTER6}/64 dev lan nodad
addr add ${ROUTER4}/24 dev lan
link add cl type veth peer name eth0 netns ${this.client}
link set cl up
addr add 2001:db8:c::1/64 dev cl nodad
addr add 203.0.113.1/24 dev cl
${this.options.multihop ? `addr add ${ROUTER_LOOPBACK}/128 dev lo\n` : ""}`
    )
    ipBatch(
      this.client,
      `link set eth0 up
addr add ${CLIENT6}/64 dev eth0 nodad
addr add ${CLIENT4}/24 dev eth0
route add default via 2001:db8:c::1
route add default via 203.0.113.1
`
    )
    for (const [i, netns] of this.options.nodes.entries()) {
      await inside(netns, "sysctl", "-qw", ...plainSysctls.slice(0, 2))
      ipBatch(
        this.router,
        `link add n${i} type veth peer name uplink netns ${netns}
link set n${i} master lan up
`
      )
      ipBatch(
        netns,
        `link set lo up
addr flush dev lo scope global
link set uplink up
addr add ${node6(i)}/64 dev uplink nodad
addr add ${node4(i)}/24 dev uplink
route add default via ${ROUTER6} metric 1024
route add default via ${ROUTER4} metric 100
`
      )
    }
  }

  /** Starts the routing daemons; FRR needs about a second. */
  async #startRouter(): Promise<void> {
    if (this.options.router === "bird") {
      const linkLocal = this.options.unnumbered ? await Promise.all(this.options.nodes.map(linkLocalOf)) : []
      writeFileSync(join(this.directory, "bird.conf"), birdRouterConfig(this.options, linkLocal))
      await startBird(this.world, this.router, this.directory)
      return
    }
    await this.frr.start(frrConfig(this.options), { bfd: this.options.bfd })
  }

  /** {@link Frr.vtysh} */
  // oxlint-disable-next-line typescript/no-explicit-any -- FRR's JSON; whoever reads it fails if it is not as expected
  vtysh(command: string): Promise<any> {
    return this.frr.vtysh(command)
  }

  /** {@link Frr.configure} */
  configure(...lines: ReadonlyArray<string>): Promise<void> {
    return this.frr.configure(...lines)
  }

  /** {@link Frr.bfdUp} */
  bfdUp(count: number): Promise<true> {
    return this.frr.bfdUp(count)
  }

  /** {@link Frr.bgpTable} */
  bgpTable(family: 4 | 6): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    return this.frr.bgpTable(family)
  }

  /** BGP's routes in the router's kernel. */
  async kernelRoutes(family: 4 | 6): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    return kernelRoutes(this.router, family, this.options.router === "frr" ? "bgp" : "bird")
  }
}

const linkLocalOf = async (netns: string): Promise<string> => {
  const text = await ip(netns, "-6", "addr", "show", "dev", "uplink", "scope", "link")
  return /inet6 (fe80:[0-9a-f:]+)/.exec(text)?.[1] ?? ""
}

interface KernelRoute {
  readonly dst: string
  readonly gateway?: string
  readonly nexthops?: ReadonlyArray<{ readonly gateway: string }>
}

/** Routes of one protocol in a namespace's main table: destination → gateways. */
export const kernelRoutes = async (
  netns: string,
  family: 4 | 6,
  protocol: string
): Promise<ReadonlyMap<string, ReadonlyArray<string>>> => {
  const text = await ip(netns, "-j", `-${family}`, "route", "show", "proto", protocol)
  const routes: ReadonlyArray<KernelRoute> = JSON.parse(text.trim() === "" ? "[]" : text)
  return new Map(routes.map(({ dst, gateway, nexthops }) => [
    dst,
    gateway === undefined ? (nexthops ?? []).map((hop) => hop.gateway) : [gateway]
  ]))
}
