/** What an ADD asks of the addresses, and what it gets. */
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { Occupied } from "../domain/occupied.ts"
import type { PodInfo } from "../domain/Pod.ts"
import type { PodAddresses } from "../domain/PodAddresses.ts"

export interface AddressRequest {
  /** `attachmentKey`: the owner of what is reserved. */
  readonly owner: string
  readonly containerId: string
  readonly pod: PodInfo
  readonly spec: NodeConfigSpec
  /** What no pod may name for itself. */
  readonly occupied: Occupied
}

export interface Reservation {
  readonly addresses: PodAddresses
  /** In words, for the log and an Event: skipped families, an invalid `ip-algo`. */
  readonly warnings: ReadonlyArray<string>
}
