/** Addresses of a range that are never given to a pod, and how many that leaves. */
import { type Cidr, contains, type IpAddress, lastOf, sizeOf } from "./Ip.ts"

const LOW_64 = (1n << 64n) - 1n
/** RFC 2526 section 2: the 128 reserved subnet anycast identifiers in EUI-64 form, `fdff:ffff:ffff:ff80` and up. */
const RFC_2526_EUI_64 = 0xfdff_ffff_ffff_ff80n
const RFC_2526_COUNT = 128n
/** Where RFC 2526's 128 identifiers would be all or most of the range, they are not set apart. */
const RFC_2526_LONGEST = 120

/** The longest prefix of an ordinary range: network, gateway, one usable address or more, (IPv4) broadcast. */
export const LONGEST_RANGE = { 4: 30, 6: 126 } as const

const reserved6 = (range: Cidr, value: bigint): string | undefined => {
  const low = value & LOW_64
  if (value === range.base || (range.prefix < 64 && low === 0n)) return "the subnet-router anycast address (RFC 4291)"
  if (value === range.base + 1n) return "the gateway's address"
  return (range.prefix <= RFC_2526_LONGEST && lastOf(range) - value < RFC_2526_COUNT) ||
      (range.prefix <= 64 && low >= RFC_2526_EUI_64 && low < RFC_2526_EUI_64 + RFC_2526_COUNT)
    ? "a reserved subnet anycast address (RFC 2526)"
    : undefined
}

const reserved4 = (range: Cidr, value: bigint): string | undefined =>
  value === range.base
    ? "the network address"
    : value === range.base + 1n
    ? "the gateway's address"
    : value === lastOf(range)
    ? "the broadcast address"
    : undefined

/**
 * What `address` is set apart for in `range`, in words; `undefined` if a pod may have it, if it lies elsewhere, or if
 * the range is longer than {@link LONGEST_RANGE} and so has no reserved addresses of its own.
 */
export const reservedIn = (range: Cidr, address: IpAddress): string | undefined =>
  !contains(range, address) || range.prefix > LONGEST_RANGE[range.family]
    ? undefined
    : range.family === 4
    ? reserved4(range, address.value)
    : reserved6(range, address.value)

/** Addresses of an ordinary range that pods may have (for IPv6 prefixes of /64 and shorter to within a few). */
export const usableIn = (range: Cidr): bigint =>
  sizeOf(range) - (range.family === 4 ? 3n : range.prefix <= RFC_2526_LONGEST ? 2n + RFC_2526_COUNT : 2n)

/** The IPv4 gateway that pods see: the node CIDR's first address. */
export const gatewayOf = (cidr4: Cidr): IpAddress => ({ family: 4, value: cidr4.base + 1n })
