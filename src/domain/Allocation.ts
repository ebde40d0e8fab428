/** What one ADD gave to one interface of one container: the record that outlives the agent. */
import { Schema } from "effect"
import { AddressFromString, type IpAddress } from "./Ip.ts"

/** `containerId/ifName`, unique per attachment (CNI spec 1.1.0, section 2: container ID plus `CNI_IFNAME`). */
export const attachmentKey = (a: { readonly containerId: string; readonly ifName: string }): string =>
  `${a.containerId}/${a.ifName}`

export const Allocation = Schema.Struct({
  version: Schema.Literal(1),
  /** `/proc/sys/kernel/random/boot_id`: a record of another boot describes no pod that still runs. */
  bootId: Schema.String,
  /** `name` of the CNI network configuration: GC of one network never touches another's attachments. */
  network: Schema.String,
  containerId: Schema.String,
  ifName: Schema.String,
  netns: Schema.String,
  /** Empty strings where the runtime is not Kubernetes. */
  pod: Schema.Struct({ namespace: Schema.String, name: Schema.String, uid: Schema.String }),
  hostIfName: Schema.String,
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

/** The pod's own addresses, on its interface. */
export const primaryOf = (a: Allocation): ReadonlyArray<IpAddress> => [
  ...(a.ipv6 ? [a.ipv6] : []),
  ...(a.ipv4 ? [a.ipv4] : [])
]

/** The link alias that names the owner: `namespace/pod containerID ifname` (`- containerID ifname` outside Kubernetes). */
export const aliasOf = (a: Pick<Allocation, "pod" | "containerId" | "ifName">): string =>
  `${a.pod.name === "" ? "-" : `${a.pod.namespace}/${a.pod.name}`} ${a.containerId} ${a.ifName}`

/** The inverse of {@link aliasOf}; undefined for text that is not ours. */
export const parseAlias = (alias: string): Pick<Allocation, "pod" | "containerId" | "ifName"> | undefined => {
  const [owner = "", containerId = "", ifName = "", ...more] = alias.split(" ")
  const [namespace = "", name = "", ...rest] = owner === "-" ? [] : owner.split("/")
  if (containerId === "" || ifName === "" || more.length + rest.length > 0) return undefined
  return { pod: { namespace, name, uid: "" }, containerId, ifName }
}
