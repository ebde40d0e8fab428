/** What BIRD says of itself and its sessions: the values, how they are made and compared. */
import { Schema } from "effect"
import type { NodeConfig, Peer } from "../domain/NodeConfig.ts"
import { peerName } from "../domain/peerAddress.ts"
import { bfdInWords, BfdStatus } from "./bfd.ts"
import { protocolName } from "./protocolName.ts"
import { Notification, Unusable } from "./sessionNotes.ts"
import type { PeerProblem } from "./sessions.ts"

const Prefixes = Schema.Struct({ announced: Schema.Number, learned: Schema.Number })

export const PeerStatus = Schema.Struct({
  /** Of the router; a link-local one with its interface (`fe80::1%eth0`). Empty while an unnumbered peer's is not known. */
  address: Schema.String,
  /** Of an unnumbered peer. */
  interface: Schema.optionalKey(Schema.String),
  /** 0 while it is not known, for the NodeConfig only says `external` or `internal`. */
  asn: Schema.Number,
  /** Where the NodeConfig has no number. */
  asnIs: Schema.optionalKey(Schema.Literals(["external", "internal"])),
  /** BIRD's protocol name, such as `peer_192_0_2_1`. */
  protocol: Schema.String,
  /** The node's end of an Established session. */
  localAddress: Schema.optionalKey(Schema.String),
  /** BGP state as RFC 4271 names it: Idle, Connect, Active, OpenSent, OpenConfirm, Established; or Down. */
  state: Schema.String,
  /** As BIRD prints it. */
  since: Schema.String,
  /** BIRD's last error for this session; empty if none. */
  lastError: Schema.String,
  /** Why this session is not configured, or announces less than it should; absent if nothing is wrong. */
  problem: Schema.optionalKey(Schema.String),
  /** The last one that was sent or received, whatever became of the session since; absent if none. */
  lastNotification: Schema.optionalKey(Notification),
  /** Learned routes that `importCIDRs` allows and BIRD cannot use; absent if none. */
  unusable: Schema.optionalKey(Unusable),
  /** Absent: the NodeConfig wants no BFD for this peer. */
  bfd: Schema.optionalKey(BfdStatus),
  /** The router has to open the session; absent: both ends do. */
  passive: Schema.optionalKey(Schema.Boolean),
  ipv6: Prefixes,
  ipv4: Prefixes
})
export interface PeerStatus extends Schema.Schema.Type<typeof PeerStatus> {}

export const BirdStatus = Schema.Struct({
  /** False under `--no-bird`. */
  enabled: Schema.Boolean,
  /** The control socket answers. */
  up: Schema.Boolean,
  version: Schema.String,
  peers: Schema.Array(PeerStatus),
  /** The wanted configuration is not in force; `configError` says why, in BIRD's words. */
  stale: Schema.Boolean,
  configError: Schema.String,
  /** Reloads done since start. */
  reloads: Schema.Number,
  /** Sessions are held down by `withdrawAll`. */
  drained: Schema.optionalKey(Schema.Boolean),
  /** `withdrawAll` is about to shut them: everything is announced as the last choice. */
  leaving: Schema.optionalKey(Schema.Boolean)
})
export interface BirdStatus extends Schema.Schema.Type<typeof BirdStatus> {}

/** As the NodeConfig names it, with the router that was found on an unnumbered peer's link: `eth0 (fe80::1)`. */
export const peerText = (
  { address, interface: ifName }: { readonly address: string; readonly interface?: string | undefined }
): string =>
  ifName === undefined ? address : address === "" ? ifName : `${ifName} (${address.replace(`%${ifName}`, "")})`

export const asnText = ({ asn, asnIs }: Pick<PeerStatus, "asn" | "asnIs">): string =>
  asn > 0 ? String(asn) : asnIs ?? "?"

/** All that stands in a session's way, the decisive part first. Empty: nothing is known. */
export const troubleOf = (peer: PeerStatus): string => {
  const { bfd, lastError, lastNotification: last, passive, problem, state, unusable } = peer
  return [
    problem ?? [],
    last === undefined || lastError.endsWith(`: ${last.message}`)
      ? []
      : `${last.direction} at ${last.at}: ${last.message}`,
    problem === undefined && lastError !== "" ? lastError : [],
    unusable === undefined ? [] : unusableInWords(unusable),
    state === "Established" && bfd !== undefined && bfd.state !== "Up" ? bfdInWords(bfd) : [],
    passive === true && problem === undefined && state !== "Established" ? PASSIVE : []
  ].flat().join("; ")
}

const PASSIVE = "the router has to open the session (passive)"

const unusableInWords = ({ count, examples, reason }: Unusable): string =>
  `${count} learned ${count === 1 ? "route" : "routes"} (${examples.join(", ")}${
    count > examples.length ? ", ..." : ""
  }) cannot be used: ${reason}`

const NO_PREFIXES = { announced: 0, learned: 0 }

/** BIRD's sessions, and configured peers that BIRD does not know (yet) as Down, each with its own problem. */
export const withConfigured = (
  seen: ReadonlyArray<PeerStatus>,
  config: NodeConfig | undefined,
  waiting: ReadonlyArray<PeerProblem>
): ReadonlyArray<PeerStatus> => {
  const problems = new Map(waiting.map(({ message, protocol }) => [protocol, message]))
  const peers = new Map((config?.spec.bgp?.peers ?? []).map((peer) => [protocolName(peer), peer]))
  return withUnknown(seen, peers).map((status) => {
    const peer = peers.get(status.protocol)
    const problem = problems.get(status.protocol)
    return {
      ...status,
      ...(peer?.interface === undefined ? {} : { interface: peer.interface }),
      ...(peer === undefined || typeof peer.asn === "number" ? {} : { asnIs: peer.asn }),
      ...(problem === undefined ? {} : { problem }),
      ...(peer?.passive === true ? { passive: true } : {})
    }
  })
}

const withUnknown = (
  seen: ReadonlyArray<PeerStatus>,
  peers: ReadonlyMap<string, Peer>
): ReadonlyArray<PeerStatus> => [
  ...seen,
  ...[...peers].filter(([name]) => seen.every(({ protocol }) => protocol !== name)).map(([protocol, peer]) => ({
    address: peer.interface === undefined ? peerName(peer) : "",
    asn: typeof peer.asn === "number" ? peer.asn : 0,
    protocol,
    state: "Down",
    since: "",
    lastError: "",
    ipv6: NO_PREFIXES,
    ipv4: NO_PREFIXES
  }))
]

export const initial = (enabled: boolean): BirdStatus => ({
  enabled,
  up: false,
  version: "",
  peers: [],
  stale: false,
  configError: "",
  reloads: 0,
  drained: false,
  leaving: false
})

const isEstablished = ({ state }: PeerStatus): boolean => state === "Established"

const same = (of: (status: BirdStatus) => unknown) => (a: BirdStatus, b: BirdStatus): boolean =>
  JSON.stringify(of(a)) === JSON.stringify(of(b))

/** Whether two statuses are alike for subscribers: in all but versions, counters and times. */
export const sameForSubscribers = same(({ configError, drained, leaving, peers, stale, up }) => [
  up,
  drained,
  leaving,
  stale,
  configError,
  peers.map(({ address, bfd, lastNotification, problem, state, unusable }) => [
    address,
    state,
    problem,
    lastNotification?.message,
    unusable?.count,
    bfd?.state
  ])
])

/** Whether BIRD and the same sessions are up, without the back and forth of a session that cannot come up. */
export const sameLiveness = same(({ peers, up }) => [up, peers.filter(isEstablished).map(({ protocol }) => protocol)])

export interface LogLine {
  readonly _tag: "Log"
  readonly level: "Info" | "Warn" | "Error"
  readonly message: string
  readonly annotations?: Readonly<Record<string, unknown>>
}

const line = (level: LogLine["level"], message: string): LogLine => ({ _tag: "Log", level, message })

/** A line when BIRD comes or goes, when a session reaches or leaves Established, and for a new error of one. */
export const changeLines = (now: BirdStatus, before: BirdStatus, error: string): ReadonlyArray<LogLine> => {
  const lines: Array<LogLine> = []
  if (now.up && !before.up) lines.push(line("Info", `BIRD ${now.version} is there`))
  if (!now.up && before.up) lines.push(line("Warn", `BIRD is gone: ${error}`))
  for (const peer of now.peers) {
    const earlier = before.peers.find((it) => it.protocol === peer.protocol)
    const was = earlier !== undefined && isEstablished(earlier)
    const name = `BGP session with ${peerText(peer)} (AS ${asnText(peer)})`
    // What keeps a session from coming up is said once, not at every try.
    if (!was && !isEstablished(peer) && peer.lastError !== "" && peer.lastError !== earlier?.lastError) {
      lines.push(line("Warn", `${name} does not come up: ${peer.lastError}`))
    }
    if (isEstablished(peer) === was) continue
    const why = peer.lastError === "" ? "" : `: ${peer.lastError}`
    lines.push(was ? line("Warn", `${name} is ${peer.state}${why}`) : line("Info", `${name} is Established`))
  }
  return lines
}
