/** What Kubernetes is told of this node, made of the same {@link Facts}: the Node's condition and NodeConfig's status. Pure. */
import { Option } from "effect"
import type { AnycastAddress } from "../anycast/AnycastAddress.ts"
import { specWarnings, TEMPLATE_LABEL, type TemplateOrigin } from "../domain/NodeConfig.ts"
import type { AntiSpoofingStatus } from "../firewall/AntiSpoofing.ts"
import type { PoolUsage } from "../ipam/Ipam.ts"
import { policiesInWords } from "../kube/apiHealth.ts"
import type { TemplateTrouble } from "../kube/fleetApi.ts"
import type { NodeCondition, NodeConfigStatus, StatusCondition } from "../kube/KubeApi.ts"
import { GRACE_MILLIS } from "./grace.ts"
import {
  exhausted,
  existingAffected,
  type Facts,
  isWithdrawn,
  newAffected,
  newerRecords,
  notReady,
  partlyAnnounced,
  sealed,
  sessionsInWords
} from "./health.ts"

/** What is true of a node that is in the network, or was a moment ago. */
const fineWords = (facts: Facts): string => {
  const { bird } = facts
  if (!bird.enabled) return "flock serves pods; announcing them is another's (--no-bird)"
  const lost = existingAffected(facts)
  if (lost !== undefined) return `flock serves pods; for less than ${GRACE_MILLIS / 1000} s: ${lost}`
  if (bird.peers.length === 0) return "flock serves pods; no peers are configured, so that nothing is announced"
  const partly = partlyAnnounced(facts)
  return `flock serves pods and announces their routes${partly === undefined ? "" : `; ${partly}`}`
}

/**
 * `NetworkUnavailable`: `False` means that the network is available. In its `grace`, a node that lost its sessions counts as
 * one that has them; not if somebody shut them.
 */
export const nodeCondition = (facts: Facts, { grace }: { readonly grace: boolean }): NodeCondition => {
  const fresh = newAffected(facts)
  const existing = grace && facts.bird.drained !== true ? undefined : existingAffected(facts)
  if (fresh !== undefined) {
    return {
      status: "True",
      reason: "FlockCannotServe",
      message: existing === undefined ? fresh : `${fresh}; ${existing}`
    }
  }
  if (existing !== undefined) {
    return { status: "True", reason: isWithdrawn(facts) ? "FlockWithdrawn" : "FlockNoRoute", message: existing }
  }
  // New pods go elsewhere; those that run are well.
  const newer = sealed(facts)
  if (newer !== undefined) return { status: "True", reason: "FlockNewerState", message: newer }
  if (facts.conflicts.length > 0) {
    return { status: "True", reason: "FlockPrefixConflict", message: facts.conflicts.join("; ") }
  }
  return { status: "False", reason: "FlockReady", message: fineWords(facts) }
}

const condition = (
  type: StatusCondition["type"],
  problem: string | undefined,
  reasons: readonly [good: string, bad: string],
  fine: string
): StatusCondition => ({
  type,
  status: problem === undefined ? "True" : "False",
  reason: problem === undefined ? reasons[0] : reasons[1],
  message: problem ?? fine
})

const few = (all: ReadonlyArray<string>): string =>
  all.slice(0, 5).join("; ") + (all.length > 5 ? `; and ${all.length - 5} more` : "")

const ANTI_SPOOFING: Readonly<Record<AntiSpoofingStatus["state"], Omit<StatusCondition, "type">>> = {
  on: { status: "True", reason: "Enforced", message: "packets that pods send from others' addresses are dropped" },
  off: {
    status: "False",
    reason: "SwitchedOff",
    message: "spec.antiSpoofing is false: pods may send from any address"
  },
  failed: { status: "False", reason: "Unavailable", message: "pods may send from any address" }
}

const antiSpoofing = ({ problem, state }: AntiSpoofingStatus): StatusCondition => {
  const words = ANTI_SPOOFING[state]
  return {
    type: "AntiSpoofing",
    ...words,
    message: problem === undefined ? words.message : `${words.message}: ${problem}`
  }
}

/** Nothing of a NodeConfig that was written by hand. */
const followsTemplate = (
  origin: TemplateOrigin | undefined,
  trouble: TemplateTrouble | undefined
): ReadonlyArray<StatusCondition> => {
  if (origin === undefined) return []
  const { generation, name, onTrial, orphaned } = origin
  const type = "FollowsTemplate"
  if (orphaned) {
    return [{
      type,
      status: "False",
      reason: "Orphaned",
      message:
        `NodeConfigTemplate ${name} is gone, or fits this node no longer: this NodeConfig stays as it is. Without its label ` +
        `${TEMPLATE_LABEL} it is yours to edit`
    }]
  }
  if (trouble !== undefined) return [{ type, status: "False", ...trouble }]
  const what = `generation ${generation} of NodeConfigTemplate ${name}`
  return [
    onTrial
      ? { type, status: "True", reason: "OnTrial", message: `${what}, until it is seen that sessions come back` }
      : { type, status: "True", reason: "Following", message: what }
  ]
}

const usageOf = (pool: PoolUsage | undefined) => pool && { used: pool.used, free: pool.free }

/** Addresses in NodeConfig's status, and pods of one of them: a page, not a table. */
const MOST_ADDRESSES = 100
const MOST_PODS = 20

const anycastOf = (
  addresses: ReadonlyArray<AnycastAddress> | undefined
): Pick<NodeConfigStatus, "anycast" | "truncated"> => {
  if (addresses === undefined) return {}
  const listed = addresses.toSorted((a, b) => a.address < b.address ? -1 : 1).slice(0, MOST_ADDRESSES)
  return {
    anycast: listed.map(({ address, holders, state }) => ({
      address,
      state,
      pods: [...new Set(holders.map(({ namespace, pod }) => `${namespace}/${pod}`))].toSorted().slice(0, MOST_PODS)
    })),
    ...(addresses.length > MOST_ADDRESSES ? { truncated: true } : {})
  }
}

/** `addresses` undefined: nobody has looked yet. */
export const nodeConfigStatus = (facts: Facts, addresses?: ReadonlyArray<AnycastAddress>): NodeConfigStatus => {
  const { bird, nodeConfig, usage } = facts
  const established = bird.peers.filter((peer) => peer.state === "Established").length
  const rejected = Option.getOrUndefined(nodeConfig.rejected)
  const birdProblem = !bird.up
    ? "BIRD does not answer on its control socket"
    : bird.stale
    ? `the wanted configuration is not in force: ${bird.configError}`
    : undefined
  const full = exhausted(facts)
  const withdrawn = isWithdrawn(facts)
  const cutOff = existingAffected(facts)
  const notes = [newerRecords(facts), policiesInWords(facts.api)].filter((words) => words !== undefined)
  const warnings = Option.match(nodeConfig.current, { onNone: () => [], onSome: ({ spec }) => specWarnings(spec) })
  const sessions = [sessionsInWords(bird), ...bird.peers.flatMap(({ problem }) => problem ?? [])].join("; ")
  const conditions = [
    condition("Ready", rejected?.message ?? notReady(facts), [
      "FlockReady",
      withdrawn && rejected === undefined && newAffected(facts) === undefined ? "FlockWithdrawn" : "FlockNotReady"
    ], [fineWords(facts), ...warnings, ...notes].join("; ")),
    condition("AddressesAvailable", full.length === 0 ? undefined : full.join("; "), [
      "AddressesFree",
      "AddressesExhausted"
    ], "every prefix has free addresses"),
    ...(bird.enabled
      ? [
        condition(
          "BIRDReady",
          birdProblem,
          ["BIRDRunning", "BIRDNotReady"],
          `BIRD ${bird.version} runs the wanted configuration`
        ),
        condition(
          "BGPEstablished",
          bird.peers.length > 0 && established === 0 ? withdrawn ? cutOff : sessions : undefined,
          ["SessionsEstablished", withdrawn ? "Withdrawn" : "NoSession"],
          bird.peers.length === 0 ? "no peers are configured" : sessions
        )
      ]
      : []),
    antiSpoofing(facts.antiSpoofing),
    condition(
      "HostAsBuilt",
      facts.host.length === 0 ? undefined : few(facts.host),
      ["AsBuilt", "NotAsBuilt"],
      "the host's part of every pod's network is as flock made it"
    ),
    ...Option.match(nodeConfig.current, {
      onNone: () => [],
      onSome: ({ template }) => followsTemplate(template, facts.template)
    })
  ]
  const ipv6 = usageOf(usage.ipv6)
  const ipv4 = usageOf(usage.ipv4)
  return {
    observedGeneration: rejected?.generation ??
      Option.match(nodeConfig.current, { onNone: () => 0, onSome: (config) => config.generation }),
    conditions,
    addresses: { ...(ipv6 ? { ipv6 } : {}), ...(ipv4 ? { ipv4 } : {}) },
    ...(bird.enabled ? { sessions: `${established}/${bird.peers.length}` } : {}),
    peers: bird.peers.map(({ address, asn, bfd, interface: ifName, lastNotification, problem, state, unusable }) => ({
      ...(ifName === undefined ? {} : { interface: ifName }),
      ...(address === "" ? {} : { address }),
      ...(asn === 0 ? {} : { asn }),
      state,
      ...(problem === undefined ? {} : { problem }),
      ...(lastNotification === undefined ? {} : { lastNotification }),
      ...(unusable === undefined ? {} : { unusable }),
      ...(bfd === undefined ? {} : { bfd: bfd.state })
    })),
    ...anycastOf(addresses)
  }
}
