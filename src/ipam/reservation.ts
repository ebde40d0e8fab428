/** What an ADD asks of the addresses, and what it gets. */
import type { IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { PodInfo } from "../domain/Pod.ts"

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
