/**
 * Whether the node is in the network: the one judgement behind STATUS, the Node condition, NodeConfig status and readyz.
 * What Kubernetes makes of each answer, and why so: docs/reference.md, "What the node says of itself".
 */
import { Option } from "effect"
import type { BirdStatus } from "../bird/birdStatus.ts"
import type { AntiSpoofingStatus } from "../firewall/AntiSpoofing.ts"
import type { PoolUsage } from "../ipam/Ipam.ts"
import type { NodeConfigState } from "../kube/KubeApi.ts"

export interface Facts {
  readonly nodeConfig: NodeConfigState
  readonly usage: { readonly ipv6?: PoolUsage; readonly ipv4?: PoolUsage }
  readonly bird: BirdStatus
  readonly antiSpoofing: AntiSpoofingStatus
}

/** What the node's place in the network hangs on. */
export type Reach = Omit<Facts, "antiSpoofing">

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
  return bird.drained === true
    ? "no BGP session is Established: `flock-agent withdraw` shut them"
    : "no BGP session is Established"
}

/** Why no new pod can be served; undefined if one can. Not that a prefix is full: see {@link exhausted}. */
export const newAffected = ({ nodeConfig: { current, rejected, unknown } }: Reach): string | undefined =>
  Option.isSome(current) ? undefined : Option.match(rejected, {
    onNone: () => unknown ?? "this node has no NodeConfig",
    onSome: (invalid) => invalid.message
  })

/**
 * One sentence for each prefix without a free address. Its own matter: containerd makes of a STATUS error a node that is
 * not Ready, whose pods are evicted after five minutes, and a full node's pods are well.
 */
export const exhausted = ({ usage }: Reach): ReadonlyArray<string> =>
  [usage.ipv6, usage.ipv4].flatMap((pool) => pool?.free === 0 ? [`no free address is left in ${pool.cidr}`] : [])
