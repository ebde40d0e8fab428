/**
 * Whether the node is in the network: the one judgement behind STATUS, the Node condition, NodeConfig status and readyz.
 * What Kubernetes makes of each answer, and why so: docs/reference.md, "What the node says of itself".
 */
import { Option } from "effect"
import { asnText, type BirdStatus, type PeerStatus, peerText } from "../bird/birdStatus.ts"
import type { AntiSpoofingStatus } from "../firewall/AntiSpoofing.ts"
import type { PoolUsage } from "../ipam/Ipam.ts"
import { type ApiHealth, deafInWords } from "../kube/apiHealth.ts"
import type { TemplateTrouble } from "../kube/fleetApi.ts"
import type { NodeConfigState } from "../kube/KubeApi.ts"
import { VERSION } from "../process/version.ts"
import { type Newer, newerInWords } from "../state/format.ts"

export interface Facts {
  readonly nodeConfig: NodeConfigState
  readonly usage: { readonly ipv6?: PoolUsage; readonly ipv4?: PoolUsage }
  readonly bird: BirdStatus
  readonly antiSpoofing: AntiSpoofingStatus
  /** Why no new pod gets an address of a prefix that the node's network uses otherwise, a sentence for each. */
  readonly conflicts: ReadonlyArray<string>
  /** What of the host's part of pods' networks cannot be put right. */
  readonly host: ReadonlyArray<string>
  /** What on disk is of a newer format. */
  readonly newer: ReadonlyArray<Newer>
  /** Absent where there is no API server. */
  readonly api?: ApiHealth
  /** Absent where the node follows a template as it should, or none. */
  readonly template?: TemplateTrouble
}

/** What the node's place in the network hangs on. */
export type Reach = Omit<Facts, "antiSpoofing" | "conflicts" | "host" | "newer">

/** BIRD has not been given a new NodeConfig's peers yet: what is configured counts as well. */
const hasPeers = ({ bird, nodeConfig }: Reach): boolean =>
  bird.peers.length > 0 ||
  Option.exists(nodeConfig.current, ({ spec }) => (spec.bgp?.peers ?? []).length > 0)

/** Why pods that run already cannot be reached; undefined if they can, as far as this node can tell. */
export const existingAffected = (facts: Reach): string | undefined => {
  const { bird } = facts
  if (!bird.enabled) return undefined
  if (!bird.up) return "BIRD does not answer on its control socket"
  if (!hasPeers(facts) || bird.peers.some((peer) => peer.state === "Established")) return undefined
  return bird.drained === true ? WITHDRAWN : "no BGP session is Established"
}

const WITHDRAWN =
  "withdrawn by an operator: `flock-agent withdraw` shut its BGP sessions, `flock-agent restore` opens them"

/** Nobody needs to look for a fault: an operator shut the sessions, and they are. */
export const isWithdrawn = (facts: Facts): boolean => existingAffected(facts) === WITHDRAWN

const MOST_NAMED = 4

/** `2 of 3 sessions are Established, none over IPv4; not 192.0.2.1 (AS 65000)`. Nothing in it comes and goes with each try. */
export const sessionsInWords = ({ peers }: BirdStatus): string => {
  const up = peers.filter(({ state }) => state === "Established")
  const down = peers.filter(({ state }) => state !== "Established")
  const isV6 = ({ address, interface: ifName }: PeerStatus) => ifName !== undefined || address.includes(":")
  const lost = [true, false].filter((six) =>
    up.length > 0 && down.some((peer) => isV6(peer) === six) && !up.some((peer) => isV6(peer) === six)
  )
  const named = down.slice(0, MOST_NAMED).map((peer) => `${peerText(peer)} (AS ${asnText(peer)})`).join(", ")
  const more = down.length > MOST_NAMED ? ` and ${down.length - MOST_NAMED} more` : ""
  return `${up.length} of ${peers.length} sessions are Established` +
    lost.map((six) => `, none over IPv${six ? 6 : 4}`).join("") +
    (down.length === 0 ? "" : `; not ${named}${more}`)
}

/** Why the node is announced to fewer routers than it should be, though to some; undefined: to all, or to none. */
export const partlyAnnounced = ({ bird }: Facts): string | undefined => {
  const up = bird.peers.filter(({ state }) => state === "Established").length
  return up === 0 || up === bird.peers.length ? undefined : sessionsInWords(bird)
}

/** Why no new pod can be served; undefined if one can. Not that a prefix is full: see {@link exhausted}. */
export const newAffected = ({ nodeConfig: { current, rejected, unknown }, template }: Reach): string | undefined =>
  Option.isSome(current) ? undefined : Option.match(rejected, {
    onNone: () => unknown ?? `this node has no NodeConfig${template === undefined ? "" : `: ${template.message}`}`,
    onSome: (invalid) => invalid.message
  })

/**
 * Why no new pod can have a record: the folder is a newer agent's. No error of STATUS, as a prefix in conflict is none: those
 * that run are well, and a roll-back must not evict them.
 */
export const sealed = ({ newer }: Facts): string | undefined => {
  const whole = newer.find(({ key }) => key === undefined)
  return whole && newerInWords(whole, VERSION)
}

/** Records of single pods that a newer agent wrote, in words; undefined: none. */
export const newerRecords = ({ newer }: Facts): string | undefined => {
  const [first, ...more] = newer.filter(({ key }) => key !== undefined)
  return first && newerInWords(first, VERSION) + (more.length === 0 ? "" : ` (and ${more.length} more)`)
}

/**
 * Why the node is not fully in the network, or takes no new pods. An API server that is not heard counts here alone: what
 * runs goes on as it was, and a node must not lose its pods for it.
 */
export const notReady = (facts: Facts): string | undefined =>
  newAffected(facts) ?? existingAffected(facts) ?? sealed(facts) ?? facts.conflicts[0] ?? deafInWords(facts.api)

/**
 * One sentence for each prefix without a free address. Its own matter: containerd makes of a STATUS error a node that is
 * not Ready, whose pods are evicted after five minutes, and a full node's pods are well.
 */
export const exhausted = ({ usage }: Reach): ReadonlyArray<string> =>
  [usage.ipv6, usage.ipv4].flatMap((pool) => pool?.free === 0 ? [`no free address is left in ${pool.cidr}`] : [])
