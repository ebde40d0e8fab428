/** Addresses of this node: who has which, and the next free one. Pure rules are in `addresses/`. */
import { Context, type Effect } from "effect"
import type { AddressError } from "./addresses/errors.ts"
import type { IpAddress } from "./Ip.ts"
import type { NodeConfigSpec } from "./NodeConfig.ts"
import type { PodInfo } from "./Pod.ts"

export interface AddressRequest {
  /** `attachmentKey`: the owner of what is reserved. */
  readonly owner: string
  readonly containerId: string
  readonly pod: PodInfo
  readonly spec: NodeConfigSpec
}

export interface Reservation {
  readonly ipv6?: IpAddress
  readonly ipv4?: IpAddress
  /** Present with `ipv4`. */
  readonly gateway4?: IpAddress
  /** Those of `ipv6` and `ipv4` that the `addresses` annotation chose. */
  readonly chosen: ReadonlyArray<IpAddress>
  /** Anycast addresses whose family the pod has. */
  readonly anycast: ReadonlyArray<IpAddress>
  /** In words, for the log and an Event: skipped families, an invalid `ip-algo`. */
  readonly warnings: ReadonlyArray<string>
}

export interface PoolUsage {
  readonly cidr: string
  readonly used: number
  /** Free addresses; capped at `Number.MAX_SAFE_INTEGER`. */
  readonly free: number
}

export class Ipam extends Context.Service<Ipam, {
  /** Reserves every address that the pod gets, or none. */
  readonly reserve: (request: AddressRequest) => Effect.Effect<Reservation, AddressError>
  /** Gives back everything of an owner. Idempotent. */
  readonly release: (owner: string) => Effect.Effect<void>
  /** Records addresses that are in use already (start-up, adopted state); an address may have one owner only. */
  readonly markInUse: (owner: string, addresses: ReadonlyArray<IpAddress>) => Effect.Effect<void>
  /** Per family, for the node's CIDRs. */
  readonly usage: (spec: NodeConfigSpec) => Effect.Effect<{ readonly ipv6?: PoolUsage; readonly ipv4?: PoolUsage }>
}>()("flock/Ipam") {}
