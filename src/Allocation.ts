/** What one ADD gave to one interface of one container: the record that outlives the agent. */
import { Schema } from "effect"
import { AddressFromString } from "./Ip.ts"

/** `containerId/ifName`, unique per attachment (CNI spec 1.1.0, section 2: container ID plus `CNI_IFNAME`). */
export const attachmentKey = (a: { readonly containerId: string; readonly ifName: string }): string =>
  `${a.containerId}/${a.ifName}`

export const Allocation = Schema.Struct({
  version: Schema.Literal(1),
  /** `/proc/sys/kernel/random/boot_id`: a record of another boot describes no pod that still runs. */
  bootId: Schema.String,
  containerId: Schema.String,
  ifName: Schema.String,
  netns: Schema.String,
  /** Empty strings where the runtime is not Kubernetes. */
  pod: Schema.Struct({ namespace: Schema.String, name: Schema.String, uid: Schema.String }),
  hostIfName: Schema.String,
  hostMac: Schema.String,
  podMac: Schema.String,
  /** Bytes. */
  mtu: Schema.Int,
  /** The pod's primary addresses on its interface, at most one per family. */
  ipv6: Schema.optionalKey(AddressFromString),
  ipv4: Schema.optionalKey(AddressFromString),
  /** The gateway in the pod for IPv4: the node CIDR's first address. */
  gateway4: Schema.optionalKey(AddressFromString),
  /** Those of the primary addresses that the operator chose (`addresses` annotation): announced like anycast. */
  chosen: Schema.Array(AddressFromString),
  /** On the pod's `lo`, announced while the pod is Ready. */
  anycast: Schema.Array(AddressFromString),
  /** RFC 3339. */
  createdAt: Schema.String
})
export type Allocation = typeof Allocation.Type
