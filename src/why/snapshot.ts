/** What `why` judges: facts of the node, of Kubernetes and of BIRD, read at one moment. */
import { Schema } from "effect"
import { type Holder, holdersOf } from "../anycast/holders.ts"
import type { BirdStatus } from "../bird/birdStatus.ts"
import type { Allocation } from "../domain/Allocation.ts"
import type { Unreachable } from "../domain/announcement.ts"
import { type Cidr, contains, equalAddress, hostCidr, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { Occupied } from "../domain/occupied.ts"
import type { PodInfo } from "../domain/Pod.ts"
import { primaryOf } from "../domain/PodAddresses.ts"
import { summaryOf } from "../domain/summaries.ts"
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
  /** `Attachments.unreachable`. */
  readonly unreachable: ReadonlyMap<string, Unreachable>
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
  /** What the agent wants BIRD to be allowed to export. */
  readonly exportSet: ReadonlyArray<IpAddress>
  /** `Bird.mayExport` of {@link destinationOf}. */
  readonly mayExport: boolean | undefined
  /** Protocol names of the Established peers that BIRD exports {@link destinationOf} to. */
  readonly exportedTo: ReadonlyArray<string>
}

/** The node's prefix that has the address in it. */
export const aggregateOf = (spec: NodeConfigSpec | undefined, address: IpAddress): Cidr | undefined =>
  [spec?.cidr6, spec?.cidr4].find((cidr) => cidr !== undefined && contains(cidr, address))

/** Who holds the address, and whose own it is. */
export const ownersOf = (
  address: IpAddress,
  allocations: ReadonlyArray<Allocation>
): { readonly holders: ReadonlyArray<Holder>; readonly primary: Allocation | undefined; readonly kind: Kind } => {
  const holders = allocations.flatMap(holdersOf).filter((holder) => equalAddress(holder.address, address))
  const primary = allocations.find((a) => {
    const held = primaryOf(a.addresses, address.family)
    return held !== undefined && equalAddress(held, address)
  })
  return { holders, primary, kind: holders[0]?.kind ?? (primary === undefined ? "none" : "pod") }
}

/** What is announced in the address's place: the node's prefix for a pod's own, a summary; undefined: its host route. */
export const prefixFor = (address: IpAddress, kind: Kind, spec: NodeConfigSpec | undefined): Cidr | undefined =>
  kind === "pod" ? aggregateOf(spec, address) : spec && summaryOf(spec, address)

/** What draws packets to the address if anything does. */
export const destinationOf = (
  address: IpAddress,
  { allocations, spec }: Pick<Snapshot, "allocations" | "spec">
): Cidr => prefixFor(address, ownersOf(address, allocations).kind, spec) ?? hostCidr(address)

/** What the address is to this node. */
export const Kind = Schema.Literals(["anycast", "chosen", "pod", "none"])
export type Kind = typeof Kind.Type
