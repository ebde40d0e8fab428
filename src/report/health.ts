/** STATUS: can ADD be served? (CNI spec 1.1.0, section 4: codes 50 and 51) */
import { Option } from "effect"
import type { BirdStatus } from "../bird/Bird.ts"
import type { PoolUsage } from "../ipam/Ipam.ts"
import type { NodeConfigState } from "../kube/KubeApi.ts"
import { CniFailure, Code } from "../cni/spec.ts"

export interface Facts {
  readonly nodeConfig: NodeConfigState
  readonly usage: { readonly ipv6?: PoolUsage; readonly ipv4?: PoolUsage }
  readonly bird: BirdStatus
}

/** Why pods that run already cannot be reached; undefined if they can, as far as this node can tell. */
export const existingAffected = ({ bird }: Facts): string | undefined =>
  !bird.enabled
    ? undefined
    : !bird.up
    ? "BIRD does not answer on its control socket"
    : bird.peers.length > 0 && bird.peers.every((peer) => peer.state !== "Established")
    ? "no BGP session is Established"
    : undefined

/** Why no new pod can be served; undefined if one can. */
export const newAffected = ({ nodeConfig: { current, rejected, unknown }, usage }: Facts): string | undefined => {
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

/** undefined: available. */
export const statusFailure = (facts: Facts): CniFailure | undefined => {
  const existing = existingAffected(facts)
  const fresh = newAffected(facts)
  const message = [fresh, existing].filter((text) => text !== undefined).join("; ")
  if (message === "") return undefined
  return new CniFailure({ code: existing === undefined ? Code.NOT_AVAILABLE : Code.NOT_AVAILABLE_LIMITED, message })
}
