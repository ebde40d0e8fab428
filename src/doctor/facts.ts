/** What `flock-agent doctor` looks at, as plain values: read by `probe.ts`, judged by `judge.ts`. */
import type { Family } from "../domain/Ip.ts"
import type { Chain } from "../firewall/chains.ts"
import type { Policy } from "../firewall/legacy.ts"
import type { HostInterface } from "../netlink/Netlink.ts"
import type { StatusReport } from "../socket/StatusReport.ts"

/** A process in this network namespace that speaks BGP or another routing protocol. */
export interface RoutingDaemon {
  readonly pid: number
  /** `/proc/PID/comm`. */
  readonly name: string
  readonly commandLine: string
  /** flock's BIRD: it holds the control socket that the agent speaks to. */
  readonly ours: boolean
}

/** A route as the kernel lists it in `/proc/net`, enough to name it. */
export interface RouteLine {
  readonly ifName: string
  /** In prefix notation. */
  readonly destination: string
  readonly metric: number
}

export interface CniFacts {
  readonly confDir: string
  /** File names; empty too where the folder does not exist. */
  readonly networks: ReadonlyArray<string>
  /** Text of flock's own conflist; undefined: not there. */
  readonly conflist: string | undefined
  readonly binDir: string
  readonly plugins: ReadonlyArray<string>
}

/** A peer of the NodeConfig in force, and how the kernel would reach it. */
export interface PeerFacts {
  /** `peerText` */
  readonly address: string
  /** Its session is over link-local addresses. */
  readonly unnumbered: boolean
  readonly state: string
  /** `troubleOf`: the decisive error first. */
  readonly trouble: string
  readonly problem?: string
  /** How many of its routes are allowed and of no use; absent if none. */
  readonly unusable?: number
  /** BFD's state; absent: it is not wanted. */
  readonly bfd?: string
  /** Interface of the route to it; undefined: there is no route. */
  readonly via: string | undefined
}

export interface NeighbourTable {
  readonly family: 4 | 6
  readonly entries: number
  /** `gc_thresh3`: the hard limit. */
  readonly limit: number
}

export interface Facts {
  readonly cni: CniFacts
  /** The agent's own report, or why there is none. */
  readonly agent: { readonly report: StatusReport } | { readonly unreachable: string }
  readonly interfaces: ReadonlyArray<HostInterface>
  readonly routes: ReadonlyArray<RouteLine>
  readonly daemons: ReadonlyArray<RoutingDaemon>
  /** Who listens on port 179, in words; undefined: nobody. */
  readonly bgpPort: string | undefined
  readonly peers: ReadonlyArray<PeerFacts>
  /** `/proc/sys/net` below `ipv4/` and `ipv6/`, such as `ipv4/ip_forward`; absent where the kernel has no such file. */
  readonly sysctls: Readonly<Record<string, string>>
  readonly neighbours: ReadonlyArray<NeighbourTable>
  /** Everybody's of nf_tables; absent: they cannot be read. */
  readonly chains?: ReadonlyArray<Chain>
  /** Of iptables-legacy, such as `filter`. */
  readonly legacyTables: ReadonlyArray<string>
  /** Policies of its chains FORWARD, where there are any; undefined: it cannot be read. */
  readonly legacyForward: { readonly [F in Family]?: Policy | undefined }
  /** Of the API server, that the agent lacks; empty too where it could not ask. */
  readonly missingRights: ReadonlyArray<string>
  /** IPVS is in use. */
  readonly ipvs: boolean
  /** undefined: cannot be told from here (no `/lib/modules` in a container). */
  readonly veth: boolean | undefined
  readonly netns: boolean
}

export type Severity = "error" | "warning" | "info"

/** Something that stands in the way, and what to do about it. */
export interface Finding {
  readonly severity: Severity
  /** Stable, for scripts. */
  readonly check: string
  readonly problem: string
  readonly remedy: string
}
