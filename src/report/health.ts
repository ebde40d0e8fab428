/** Whether the node is in the network: the one judgement behind STATUS, the Node condition, NodeConfig status and readyz. */
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

/** Why pods that run already cannot be reached; undefined if they can, as far as this node can tell. */
export const existingAffected = ({ bird }: Pick<Facts, "bird">): string | undefined =>
  !bird.enabled
    ? undefined
    : !bird.up
    ? "BIRD does not answer on its control socket"
    : bird.peers.length > 0 && bird.peers.every((peer) => peer.state !== "Established")
    ? "no BGP session is Established"
    : undefined

/** Why no new pod can be served; undefined if one can. */
export const newAffected = (
  { nodeConfig: { current, rejected, unknown }, usage }: Pick<Facts, "nodeConfig" | "usage">
): string | undefined => {
  if (Option.isNone(current)) {
    return Option.match(rejected, {
      onNone: () => unknown ?? "this node has no NodeConfig",
      onSome: (invalid) => invalid.message
    })
  }
  const pools = [usage.ipv6, usage.ipv4].filter((pool) => pool !== undefined)
  const full = pools.find((pool) => pool.free === 0)
  return full === undefined ? undefined : `no free address is left in ${full.cidr}`
}
