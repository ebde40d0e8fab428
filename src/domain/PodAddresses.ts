/** The addresses of one pod: the same value in its reservation, its record, the plan of its link and the report. */
import { Schema, Struct } from "effect"
import { address, AddressFromString, equalAddress, type Family, type IpAddress } from "./Ip.ts"

/** The pod's IPv6 gateway, on the host end of its veth. */
export const GATEWAY6: IpAddress = address("fe80::1")

/** Its encoded form is part of the records on disk, so a new field is an optional one. */
export const PodAddresses = Schema.Struct({
  /** The pod's primary addresses on its interface, at most one per family. */
  ipv6: Schema.optionalKey(AddressFromString),
  ipv4: Schema.optionalKey(AddressFromString),
  /** The gateway in the pod for IPv4: the node CIDR's first address. */
  gateway4: Schema.optionalKey(AddressFromString),
  /** Those of the primary addresses that the operator chose (`addresses` annotation): announced like anycast. */
  chosen: Schema.Array(AddressFromString),
  /** On the pod's `lo`, announced while the pod is Ready. Only of families that the pod has. */
  anycast: Schema.Array(AddressFromString)
})
export type PodAddresses = typeof PodAddresses.Type

export const make = (parts: {
  /** The first of each family is taken. */
  readonly primaries: ReadonlyArray<IpAddress>
  readonly gateway4: IpAddress | undefined
  readonly chosen: ReadonlyArray<IpAddress>
  readonly anycast: ReadonlyArray<IpAddress>
}): PodAddresses => {
  const { anycast, chosen, gateway4, primaries } = parts
  const [ipv6, ipv4] = [6, 4].map((family) => primaries.find((primary) => primary.family === family))
  return { ...(ipv6 && { ipv6 }), ...(ipv4 && { ipv4 }), ...(ipv4 && gateway4 && { gateway4 }), chosen, anycast }
}

/** The primary address of one family. */
export const primaryOf = (addresses: PodAddresses, family: Family): IpAddress | undefined =>
  family === 6 ? addresses.ipv6 : addresses.ipv4

/** The primary addresses, IPv6 first. */
export const primariesOf = ({ ipv4, ipv6 }: PodAddresses): ReadonlyArray<IpAddress> => [
  ...(ipv6 ? [ipv6] : []),
  ...(ipv4 ? [ipv4] : [])
]

/** The pod's gateway for one family, whether or not it has that family. */
export const gatewayOf = (addresses: PodAddresses, family: Family): IpAddress | undefined =>
  family === 6 ? GATEWAY6 : addresses.gateway4

/** The gateways of the families that the pod has, IPv6 first. */
export const gatewaysOf = (addresses: PodAddresses): ReadonlyArray<IpAddress> =>
  primariesOf(addresses).flatMap(({ family }) => gatewayOf(addresses, family) ?? [])

/** `chosen`: the pod's primary address on its interface. `anycast`: on the pod's `lo`, reached via a primary one. */
export type AnnouncedKind = "anycast" | "chosen"

/**
 * What follows the pod's readiness, each address once. One that is a primary address is a chosen one, also where a record
 * rebuilt from the kernel's routes does not say so.
 */
export const followsReadiness = (
  addresses: PodAddresses
): ReadonlyArray<{ readonly address: IpAddress; readonly kind: AnnouncedKind }> =>
  [...addresses.chosen, ...addresses.anycast]
    .filter((address, i, all) => !all.slice(0, i).some((other) => equalAddress(other, address)))
    .map((address) => {
      const primary = primaryOf(addresses, address.family)
      return { address, kind: primary !== undefined && equalAddress(primary, address) ? "chosen" : "anycast" }
    })

const { gateway4: _, ...reported } = PodAddresses.fields

/** What `flock-agent status --json` says of them. */
const ReportedAddresses = Schema.Struct(reported)
export const reportedFields = Struct.map(reported, Schema.toEncoded)
export type ReportedAddresses = typeof ReportedAddresses.Encoded

export const report: (addresses: PodAddresses) => ReportedAddresses = Schema.encodeSync(ReportedAddresses)
