/** What `why` judges: facts of the node, of Kubernetes and of BIRD, read at one moment. */
import { Schema } from "effect"
import type { BirdStatus } from "../bird/birdStatus.ts"
import type { Allocation } from "../domain/Allocation.ts"
import type { IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { Occupied } from "../domain/occupied.ts"
import type { PodInfo } from "../domain/Pod.ts"
import type { HostLink, HostRoute } from "../netlink/Netlink.ts"

/** All that the walk judges, read at one moment. */
export interface Snapshot {
  readonly node: string
  /** Absent: the agent has no NodeConfig. */
  readonly spec: NodeConfigSpec | undefined
  readonly occupied: Occupied
  readonly allocations: ReadonlyArray<Allocation>
  readonly pods: ReadonlyMap<string, PodInfo>
  /** `KubeApi.podsListed`. */
  readonly podsListed: boolean
  readonly kernel:
    | {
      /** Protocol 200. */
      readonly podRoutes: ReadonlyArray<HostRoute>
      /** Protocol 201. */
      readonly exportRoutes: ReadonlyArray<HostRoute>
      readonly links: ReadonlyArray<HostLink>
    }
    /** It could not be read. */
    | { readonly error: string }
  readonly bird: BirdStatus
  readonly exportSet: ReadonlyArray<IpAddress>
  /** Protocol names of the peers that BIRD exports the /32 or /128 to. */
  readonly exportedTo: ReadonlyArray<string>
}

/** What the address is to this node. */
export const Kind = Schema.Literals(["anycast", "chosen", "pod", "none"])
export type Kind = typeof Kind.Type
