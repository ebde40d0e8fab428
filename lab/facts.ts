/** Collects what `agreement.ts` compares, from each source by its own means: `ip`, files, the agent's socket, vtysh. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import type { StatusReport } from "../src/socket/StatusReport.ts"
import type { Attachment, Namespace, NodeFacts, RouterTable, Session, Wanted } from "./agreement.ts"
import { exec } from "./exec.ts"
import type { Frr } from "./frr.ts"

interface IpLink {
  readonly ifname: string
  readonly ifalias?: string
  readonly address?: string
  readonly flags: ReadonlyArray<string>
  readonly addr_info?: ReadonlyArray<{ readonly local: string }>
}

interface IpRoute {
  readonly dst: string
  readonly table?: string
  readonly protocol?: string
  readonly dev?: string
  readonly gateway?: string
  readonly nexthops?: ReadonlyArray<{ readonly dev: string; readonly gateway?: string }>
}

interface IpNeighbour {
  readonly dst: string
  readonly dev: string
  readonly lladdr?: string
  readonly state?: ReadonlyArray<string>
}

const hop = ({ dev, gateway }: { readonly dev?: string; readonly gateway?: string }) => ({
  dev: dev ?? "",
  ...(gateway === undefined ? {} : { via: gateway })
})

/** Where a network namespace is: its name, or the words of an `ip` that works in it. */
export type Place = string | ReadonlyArray<string>

/** One process for all tables of a namespace. Routes are those of the main table. */
const namespaceFacts = async (place: Place): Promise<Namespace> => {
  const input = "link show\naddr show\nroute show table all\nneigh show\n"
  const words = typeof place === "string" ? ["ip", "-n", place] : place
  const [command = "", ...args] = [...words, "-j", "-batch", "-"]
  const { code, stderr, stdout } = await exec(command, args, { input })
  if (code !== 0) throw new Error(`${words.join(" ")}: ${stderr}`)
  const [links, addresses, routes, neighbours]: [
    ReadonlyArray<IpLink>,
    ReadonlyArray<IpLink>,
    ReadonlyArray<IpRoute>,
    ReadonlyArray<IpNeighbour>
  ] = JSON.parse(
    `[${stdout.trim().split("\n").filter((line) => line !== "").join(",")}]`
  )
  return {
    links: links.map(({ address, flags, ifalias, ifname }) => ({
      name: ifname,
      alias: ifalias ?? "",
      up: flags.includes("UP"),
      mac: address ?? ""
    })),
    addresses: addresses.flatMap(({ addr_info, ifname }) =>
      (addr_info ?? []).map(({ local }) => ({ dev: ifname, address: local }))
    ),
    routes: routes.filter(({ table }) => table === undefined || table === "main").map((route) => ({
      destination: route.dst,
      protocol: route.protocol ?? "",
      hops: route.nexthops === undefined ? [hop(route)] : route.nexthops.map(hop)
    })),
    neighbours: neighbours.map(({ dev, dst, lladdr, state }) => ({
      dev,
      address: dst,
      mac: lladdr ?? "",
      permanent: state?.includes("PERMANENT") ?? false
    }))
  }
}

/** `flock-agent status --json` without its 200 ms of Node: the same question on the same socket. */
const askStatus = (socket: string, seconds = 10): Promise<StatusReport> =>
  new Promise((done, fail) => {
    const connection = net.connect(socket)
    const chunks: Array<Buffer> = []
    connection.setTimeout(seconds * 1000, () => connection.destroy(new Error(`status: no answer in ${seconds} s`)))
    connection.on("connect", () => connection.write("{\"ask\":\"status\"}\n"))
    connection.on("data", (chunk) => chunks.push(chunk))
    connection.on("error", fail)
    connection.on("close", () => {
      try {
        const reply = JSON.parse(Buffer.concat(chunks).toString("utf8"))
        if (reply.answer === undefined) throw new Error(`status: ${JSON.stringify(reply)}`)
        done(reply.answer)
      } catch (error) {
        fail(error)
      }
    })
  })

interface Described {
  readonly containerId: string
  readonly ifName: string
  readonly hostIfName: string
  readonly ipv6?: string
  readonly ipv4?: string
  readonly anycast: ReadonlyArray<string>
}

const attachmentOf = ({ anycast, containerId, hostIfName, ifName, ipv4, ipv6 }: Described): Attachment => ({
  key: `${containerId}/${ifName}`,
  hostLink: hostIfName,
  addresses: [ipv6, ipv4].filter((address) => address !== undefined),
  anycast
})

const agentFacts = ({ allocations, announcements, bird }: StatusReport) => ({
  agent: allocations.map(attachmentOf),
  announced: announcements.filter(({ state }) => state === "announced").map(({ address }) => address),
  ...bird.enabled && {
    sessions: bird.up && !bird.stale ? bird.peers.map(({ address, state }) => ({ peer: address, state })) : []
  }
})

/** Of `STATE_DIR/allocations`. */
const recordFacts = (directory: string) => {
  const files = existsSync(directory) ? readdirSync(directory) : []
  const [records, stray] = [
    files.filter((file) => file.endsWith(".json")),
    files.filter((file) => !file.endsWith(".json"))
  ]
  return {
    records: records.map((file) => attachmentOf(JSON.parse(readFileSync(`${directory}/${file}`, "utf8")))),
    stray
  }
}

/** Where a node's sources are. */
export interface NodeSources {
  readonly name: string
  readonly netns: string
  /** The agent's socket. */
  readonly socket: string
  /** The agent's `--state-dir`. */
  readonly stateDirectory: string
}

/** What a node's own sources say; `netnsOf` are the pods that are looked into, by key. */
export const nodeFacts = async (
  node: NodeSources,
  wanted: ReadonlyArray<Wanted>,
  netnsOf: ReadonlyMap<string, Place>
): Promise<NodeFacts> => {
  const pods = [...netnsOf].map(async ([key, netns]) => [key, await namespaceFacts(netns)] as const)
  const [kernel, status, ...inside] = await Promise.all([namespaceFacts(node.netns), askStatus(node.socket), ...pods])
  return {
    name: node.name,
    wanted,
    ...agentFacts(status),
    ...recordFacts(join(node.stateDirectory, "allocations")),
    kernel,
    pods: new Map(inside),
    answers: [],
    prefixes: [],
    nextHops: []
  }
}

/** Of /proc: open descriptors, those of them that are network namespaces, kB of resident memory. */
export const processFacts = (pid: number) => {
  const descriptors = readdirSync(`/proc/${pid}/fd`)
  const target = (fd: string): string => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`)
    } catch {
      return ""
    }
  }
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  return {
    descriptors: descriptors.length,
    namespaces: descriptors.filter((fd) => /^net:|^\/run\/netns\//.test(target(fd))).length,
    memory: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1])
  }
}

const withoutLength = (prefix: string): string => prefix.replace(prefix.includes(":") ? /\/128$/ : /\/32$/, "")

type Table = (family: 4 | 6) => Promise<ReadonlyMap<string, ReadonlyArray<string>>>

/** FRR's BGP table and its kernel's, both families in each, without the prefixes that the router has of itself. */
export const routerFacts = async (
  router: { readonly bgpTable: Table; readonly kernelRoutes: Table },
  ignore: ReadonlySet<string>
): Promise<ReadonlyArray<RouterTable>> => {
  const table = async (name: string, of: Table) => ({
    name,
    routes: new Map(
      [...await of(6), ...await of(4)].filter(([prefix]) => !ignore.has(prefix))
        .map(([prefix, hops]) => [withoutLength(prefix), hops] as const)
    )
  })
  return Promise.all([
    table("BGP", (family) => router.bgpTable(family)),
    table("kernel", (family) => router.kernelRoutes(family))
  ])
}

/** FRR's sessions, both families. */
export const routerSessions = async (frr: Pick<Frr, "vtysh">): Promise<ReadonlyArray<Session>> => {
  const { ipv4Unicast, ipv6Unicast } = await frr.vtysh("show bgp summary json")
  const peers: Record<string, { readonly state: string }> = { ...ipv4Unicast?.peers, ...ipv6Unicast?.peers }
  return Object.entries(peers).map(([peer, { state }]) => ({ peer, state }))
}
