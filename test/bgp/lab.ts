/**
 * A router (FRR or BIRD), nodes on its LAN and a client behind it, each in a network namespace, dual-stack:
 *
 * ```
 * client ──── router ─┬─ node 0      LAN 2001:db8:ffff::/64, 198.51.100.0/24: router ::1 .1, nodes ::11 .11, ::12 .12 …
 *                     └─ node 1 …    client 2001:db8:c::/64, 203.0.113.0/24: router ::1 .1, client ::2 .2
 * ```
 *
 * The router announces a default route, the client's networks and the LAN itself, so that tests see what is refused.
 * Nodes have default routes of their own through the router.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chmodSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { eventually, exec, run } from "../agent/node.ts"
import {
  birdRouterConfig,
  CLIENT4,
  CLIENT6,
  frrConfig,
  type LabOptions,
  node4,
  node6,
  ROUTER4,
  ROUTER6,
  ROUTER_LOOPBACK
} from "./routers.ts"

export * from "./routers.ts"

const FRR = "/usr/lib/frr"

/** Runs a command in a namespace; fails with what it said. */
export const inside = (netns: string, command: string, ...args: ReadonlyArray<string>): Promise<string> =>
  run("nsenter", `--net=/run/netns/${netns}`, command, ...args)

export const spawnInside = (
  netns: string,
  log: string,
  command: string,
  ...args: ReadonlyArray<string>
): ChildProcess => {
  const fd = openSync(log, "a")
  return spawn("nsenter", [`--net=/run/netns/${netns}`, command, ...args], { stdio: ["ignore", fd, fd] })
}

/** Ends a process that was started here, and waits for it. */
export const end = async (child: ChildProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((done) => child.once("exit", done))
  child.kill(signal)
  await ended
}

/** Forwarding router-like namespace whose addresses are usable at once. */
const plainSysctls = [
  "net.ipv6.conf.default.accept_dad=0",
  "net.ipv6.conf.all.accept_dad=0",
  "net.ipv6.conf.all.forwarding=1",
  "net.ipv4.ip_forward=1",
  "net.ipv6.conf.default.accept_ra=0"
]

export class Lab {
  readonly directory = mkdtempSync(join(tmpdir(), "flock-lab-"))
  readonly tag = `${process.pid}-${randomBytes(3).toString("hex")}`
  readonly router = `flr-${this.tag}`
  readonly client = `flc-${this.tag}`
  readonly options: LabOptions
  readonly #children = new Set<ChildProcess>()

  private constructor(options: LabOptions) {
    this.options = options
  }

  static async open(options: LabOptions): Promise<Lab> {
    const lab = new Lab(options)
    try {
      await lab.#network()
      await lab.startRouter()
      return lab
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  async #network(): Promise<void> {
    chmodSync(this.directory, 0o755)
    for (const name of [this.router, this.client]) {
      await run("ip", "netns", "add", name)
      await inside(name, "sysctl", "-qw", ...plainSysctls)
      await run("ip", "-n", name, "link", "set", "lo", "up")
    }
    const { nodes } = this.options
    const lines = (netns: string, text: string) =>
      exec("ip", ["-n", netns, "-batch", "-"], { input: text }).then(({ code, stderr }) => {
        if (code !== 0) throw new Error(`ip -batch in ${netns}: ${stderr}`)
      })
    await lines(
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
    await lines(
      this.client,
      `link set eth0 up
addr add ${CLIENT6}/64 dev eth0 nodad
addr add ${CLIENT4}/24 dev eth0
route add default via 2001:db8:c::1
route add default via 203.0.113.1
`
    )
    for (const [i, netns] of nodes.entries()) {
      await inside(netns, "sysctl", "-qw", ...plainSysctls.slice(0, 2))
      await lines(
        this.router,
        `link add n${i} type veth peer name uplink netns ${netns}
link set n${i} master lan up
`
      )
      await lines(
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
  async startRouter(): Promise<void> {
    const directory = join(this.directory, "router")
    mkdirSync(directory, { recursive: true })
    if (this.options.router === "bird") {
      writeFileSync(join(directory, "bird.conf"), birdRouterConfig(this.options))
      this.#children.add(await startBird(this.router, directory))
      return
    }
    const files = ["zebra", "bgpd", ...(this.options.bfd ? ["bfdd"] : [])]
    for (const daemon of files) {
      writeFileSync(
        join(directory, `${daemon}.conf`),
        daemon === "bgpd" ? frrConfig(this.options) : "hostname router\n"
      )
      if (daemon === files[0]) await run("chown", "-R", "frr:frr", directory)
      const file = join(directory, `${daemon}.conf`)
      await run("chown", "frr:frr", file)
      const child = spawnInside(
        this.router,
        join(this.directory, `${daemon}.log`),
        join(FRR, daemon),
        "-f",
        file,
        "-i",
        join(directory, `${daemon}.pid`),
        "-z",
        join(directory, "zserv.api"),
        "--vty_socket",
        directory,
        "-A",
        "127.0.0.1",
        "-P",
        "0",
        ...(daemon === "bgpd" ? ["-p", "179"] : []),
        ...(daemon === "bfdd" ? ["--bfdctl", join(directory, "bfdd.sock")] : [])
      )
      this.#children.add(child)
      await eventually(`${daemon} answers`, async () => {
        if (child.exitCode !== null) throw new Error(readFileSync(join(this.directory, `${daemon}.log`), "utf8"))
        return (await exec("vtysh", ["--vty_socket", directory, "-d", daemon, "-c", "show version"])).code === 0
      })
    }
  }

  /** FRR's own answer to a `show … json`. */
  // oxlint-disable-next-line typescript/no-explicit-any -- FRR's JSON; a test reads what it expects
  async vtysh(command: string): Promise<any> {
    const text = await run("vtysh", "--vty_socket", join(this.directory, "router"), "-d", "bgpd", "-c", command)
    return JSON.parse(text)
  }

  /** Prefixes in the BGP table that FRR has a best path for, with their next hops. */
  async bgpTable(family: 4 | 6): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    const { routes = {} } = await this.vtysh(`show bgp ipv${family} unicast json`)
    return new Map(
      Object.entries<ReadonlyArray<{ nexthops: ReadonlyArray<{ ip: string }> }>>(routes)
        .map(([prefix, paths]) => [prefix, paths.flatMap(({ nexthops }) => nexthops.map(({ ip }) => ip))])
    )
  }

  /** BGP's routes in the router's kernel. */
  async kernelRoutes(family: 4 | 6): Promise<ReadonlyMap<string, ReadonlyArray<string>>> {
    return kernelRoutes(this.router, family, this.options.router === "frr" ? "bgp" : "bird")
  }

  async close(): Promise<void> {
    for (const child of this.#children) await end(child, "SIGKILL")
    for (const name of [this.router, this.client]) await exec("ip", ["netns", "del", name])
    rmSync(this.directory, { recursive: true, force: true })
  }
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
  const text = await run("ip", "-n", netns, "-j", `-${family}`, "route", "show", "proto", protocol)
  const routes: ReadonlyArray<KernelRoute> = JSON.parse(text.trim() === "" ? "[]" : text)
  return new Map(routes.map(({ dst, gateway, nexthops }) => [
    dst,
    gateway === undefined ? (nexthops ?? []).map((hop) => hop.gateway) : [gateway]
  ]))
}

/** `bird.conf`, `bird.ctl` and `bird.log` in `directory`; waits for the control socket. */
export const startBird = async (
  netns: string,
  directory: string,
  ...flags: ReadonlyArray<string>
): Promise<ChildProcess> => {
  const socket = join(directory, "bird.ctl")
  const log = join(directory, "bird.log")
  const child = spawnInside(netns, log, "bird", "-f", "-c", join(directory, "bird.conf"), "-s", socket, ...flags)
  await eventually("BIRD answers", async () => {
    if (child.exitCode !== null) throw new Error(`bird ended: ${readFileSync(log, "utf8")}`)
    return (await exec("birdc", ["-s", socket, "show", "status"])).code === 0
  })
  return child
}
