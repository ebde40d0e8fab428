/** Reads the {@link Facts} of the node it runs on: files through FileSystem, the rest through Netlink and the agent. */
import { Effect, FileSystem, Option, type PlatformError } from "effect"
import { join } from "node:path"
import { peerText, troubleOf } from "../bird/birdStatus.ts"
import { parseAddress } from "../domain/Ip.ts"
import { Firewall } from "../firewall/Firewall.ts"
import { CONFLIST_NAME } from "../install/conflist.ts"
import { portOwnerWords } from "../netlink/listeners.ts"
import { type HostInterface, Netlink } from "../netlink/Netlink.ts"
import { ask } from "../socket/ask.ts"
import type { Paths, StatusReport } from "../socket/StatusReport.ts"
import type { CniFacts, Facts, NeighbourTable, PeerFacts, RoutingDaemon } from "./facts.ts"
import { parseNeighbourCount, parseRoutes4, parseRoutes6, unixInodes } from "./proc.ts"

export interface Options {
  /** Not given: where the agent looks, else the usual folder. */
  readonly confDir: Option.Option<string>
  readonly binDir: Option.Option<string>
  readonly socket: string
  readonly birdSocket: Option.Option<string>
  /** Where proc(5) is: `/proc`. */
  readonly proc: string
}

/** What speaks BGP or another routing protocol on Linux hosts, by `/proc/PID/comm` (15 bytes at most). */
const DAEMONS =
  /^(bird|bird6|bgpd|gobgpd|exabgp|calico-node|kube-router|speaker|cilium-agent|zebra|ospfd|ospf6d|isisd|ripd|ripngd|eigrpd|babeld)$/

const USUAL: Paths & { readonly cniConfDir: string } = {
  cniConfDir: "/etc/cni/net.d",
  cniBinDir: "/opt/cni/bin",
  birdSocket: "/run/flock/bird/bird.ctl"
}

/** Read of every interface, beside those of `all`. */
const PER_INTERFACE = ["ipv4/conf/*/rp_filter", "ipv6/conf/*/accept_ra", "ipv6/conf/*/forwarding"]

const SYSCTLS = [
  "ipv4/ip_forward",
  "ipv4/fib_multipath_hash_policy",
  "ipv6/fib_multipath_hash_policy",
  "ipv6/conf/all/disable_ipv6",
  "ipv6/conf/default/accept_ra",
  "ipv4/neigh/default/gc_thresh3",
  "ipv6/neigh/default/gc_thresh3"
]

/** What cannot be read is not there, or none of ours to see. */
const optional = <A, R>(read: Effect.Effect<A, PlatformError.PlatformError, R>) =>
  Effect.match(read, { onFailure: () => undefined, onSuccess: (value): A | undefined => value })

const readText = (path: string) => optional(Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString(path)))

const names = (folder: string) =>
  optional(Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readDirectory(folder))).pipe(
    Effect.map((found): ReadonlyArray<string> => found ?? [])
  )

/** What the agent was told is right in its own container, and need not be there outside of it. */
const probePaths = Effect.fnUntraced(function*(options: Options, agent: Facts["agent"]) {
  const fs = yield* FileSystem.FileSystem
  const agents = "report" in agent ? agent.report.paths : undefined
  const choose = Effect.fnUntraced(function*(flag: Option.Option<string>, key: keyof Paths) {
    if (Option.isSome(flag)) return flag.value
    const path = agents?.[key]
    return path !== undefined && (yield* optional(fs.exists(path))) === true ? path : USUAL[key]
  })
  return {
    confDir: yield* choose(options.confDir, "cniConfDir"),
    binDir: yield* choose(options.binDir, "cniBinDir"),
    birdSocket: yield* choose(options.birdSocket, "birdSocket")
  }
})

const probeCni = Effect.fnUntraced(
  function*({ binDir, confDir }: { readonly binDir: string; readonly confDir: string }) {
    return {
      confDir,
      networks: yield* names(confDir),
      conflist: yield* readText(join(confDir, CONFLIST_NAME)),
      binDir,
      plugins: yield* names(binDir)
    } satisfies CniFacts
  }
)

const probeAgent = (socket: string) =>
  ask(socket, { ask: "status" }).pipe(
    Effect.timeout("5 seconds"),
    Effect.match({
      onSuccess: (report) => ({ report }),
      onFailure: (error) => ({ unreachable: error.message })
    })
  )

const probeRights = (socket: string, agent: Facts["agent"]) =>
  "report" in agent && agent.report.api !== undefined
    ? ask(socket, { ask: "rights" }).pipe(
      Effect.timeout("15 seconds"),
      // What keeps the agent from asking is a finding of its own.
      Effect.orElseSucceed((): ReadonlyArray<string> => [])
    )
    : Effect.succeed<ReadonlyArray<string>>([])

const probeSysctls = Effect.fnUntraced(function*(proc: string, interfaces: ReadonlyArray<HostInterface>) {
  const keys = [
    ...SYSCTLS,
    ...["all", ...interfaces.map(({ ifName }) => ifName)].flatMap((name) =>
      PER_INTERFACE.map((pattern) => pattern.replace("*", name))
    )
  ]
  const values = yield* Effect.forEach(keys, (key) => readText(join(proc, "sys/net", key)))
  return Object.fromEntries(keys.flatMap((key, i) => {
    const value = values[i]
    return value === undefined ? [] : [[key, value.trim()]]
  }))
})

const probeDaemons = Effect.fnUntraced(function*(proc: string, birdSocket: string) {
  const fs = yield* FileSystem.FileSystem
  const own = yield* optional(fs.readLink(join(proc, "self/ns/net")))
  const held = unixInodes((yield* readText(join(proc, "net/unix"))) ?? "", birdSocket).map((inode) =>
    `socket:[${inode}]`
  )
  const holds = Effect.fnUntraced(function*(pid: string) {
    const files = yield* Effect.forEach(
      yield* names(join(proc, pid, "fd")),
      (fd) => optional(fs.readLink(join(proc, pid, "fd", fd)))
    )
    return files.some((file) => file !== undefined && held.includes(file))
  })
  const one = Effect.fnUntraced(function*(pid: string) {
    const name = (yield* readText(join(proc, pid, "comm")))?.trim() ?? ""
    if (!DAEMONS.test(name)) return []
    if ((yield* optional(fs.readLink(join(proc, pid, "ns/net")))) !== own) return []
    const commandLine = (yield* readText(join(proc, pid, "cmdline")))?.replaceAll("\0", " ").trim() ?? ""
    const ours = commandLine.split(" ").includes(birdSocket) || (yield* holds(pid))
    return [{ pid: Number(pid), name, commandLine, ours } satisfies RoutingDaemon]
  })
  const pids = (yield* names(proc)).filter((name) => /^\d+$/.test(name))
  return (yield* Effect.forEach(pids, one, { concurrency: 16 })).flat()
})

const probeNeighbours = Effect.fnUntraced(function*(proc: string, sysctls: Facts["sysctls"]) {
  const table = Effect.fnUntraced(function*(family: 4 | 6, file: string) {
    const text = yield* readText(join(proc, "net/stat", file))
    const limit = Number(sysctls[`ipv${family}/neigh/default/gc_thresh3`])
    return text === undefined || !(limit > 0)
      ? []
      : [{ family, entries: parseNeighbourCount(text), limit } satisfies NeighbourTable]
  })
  return [...yield* table(4, "arp_cache"), ...yield* table(6, "ndisc_cache")]
})

/** Loaded, built in or loadable; undefined where the modules cannot be seen. */
const probeVeth = Effect.fnUntraced(function*(proc: string) {
  const fs = yield* FileSystem.FileSystem
  if ((yield* optional(fs.exists("/sys/module/veth"))) === true) return true
  const release = (yield* readText(join(proc, "sys/kernel/osrelease")))?.trim() ?? ""
  const lists = yield* Effect.forEach(
    ["modules.builtin", "modules.dep"],
    (file) => readText(join("/lib/modules", release, file))
  )
  return lists.every((list) => list === undefined) ? undefined : lists.some((list) => list?.includes("/veth.ko"))
})

/** Fails only where the kernel's netlink does; a file that cannot be read leaves its facts empty. */
export const probe = Effect.fn("doctor.probe")(function*(options: Options) {
  const { proc, socket } = options
  const firewall = yield* Firewall
  const netlink = yield* Netlink
  const fs = yield* FileSystem.FileSystem
  const agent = yield* probeAgent(socket)
  const paths = yield* probePaths(options, agent)
  const chains = yield* Effect.orElseSucceed(firewall.chains, () => undefined)
  const interfaces = yield* netlink.interfaces
  const sysctls = yield* probeSysctls(proc, interfaces)
  const probePeer = Effect.fnUntraced(function*(peer: StatusReport["bird"]["peers"][number]) {
    const address = parseAddress(peer.address)
    const link = peer.interface ?? peer.address.split("%")[1]
    const route = address === undefined
      ? interfaces.find(({ ifName }) => ifName === link)
      : yield* netlink.outgoing(address)
    return {
      address: peerText(peer),
      unnumbered: link !== undefined,
      state: peer.state,
      trouble: troubleOf(peer),
      ...(peer.problem === undefined ? {} : { problem: peer.problem }),
      ...(peer.bfd === undefined ? {} : { bfd: peer.bfd.state }),
      ...(peer.unusable === undefined ? {} : { unusable: peer.unusable.count }),
      via: interfaces.find(({ ifIndex }) => ifIndex === route?.ifIndex)?.ifName
    } satisfies PeerFacts
  })
  const text = (file: string) => Effect.map(readText(join(proc, "net", file)), (content) => content ?? "")
  const legacy = [
    { family: 4, tables: (yield* text("ip_tables_names")).split("\n") },
    { family: 6, tables: (yield* text("ip6_tables_names")).split("\n") }
  ] as const
  const forward = yield* Effect.forEach(
    legacy.filter(({ tables }) => tables.includes("filter")),
    ({ family }) => Effect.map(firewall.legacyForward(family), (policy) => [family, policy] as const)
  )
  const facts: Facts = {
    cni: yield* probeCni(paths),
    agent,
    interfaces,
    routes: [...parseRoutes4(yield* text("route")), ...parseRoutes6(yield* text("ipv6_route"))],
    daemons: yield* probeDaemons(proc, paths.birdSocket),
    bgpPort: yield* portOwnerWords(proc, 179),
    peers: "report" in agent ? yield* Effect.forEach(agent.report.bird.peers, probePeer) : [],
    sysctls,
    neighbours: yield* probeNeighbours(proc, sysctls),
    ...(chains === undefined ? {} : { chains }),
    legacyTables: legacy.flatMap(({ tables }) => tables).filter((name) => name !== ""),
    legacyForward: Object.fromEntries(forward),
    missingRights: yield* probeRights(socket, agent),
    ipvs: (yield* text("ip_vs")).split("\n").length > 4,
    veth: yield* probeVeth(proc),
    netns: (yield* optional(fs.exists(join(proc, "self/ns/net")))) === true
  }
  return facts
})
