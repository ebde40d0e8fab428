/** Ranges that no pod address can come from, whatever an operator allows (IANA special-purpose registries, RFC 6890). */
import { type Cidr, cidr, overlaps } from "./Ip.ts"

const SPECIAL: ReadonlyArray<readonly [Cidr, string]> = [
  [cidr("::/128"), "unspecified (RFC 4291)"],
  [cidr("::1/128"), "loopback (RFC 4291)"],
  [cidr("::ffff:0:0/96"), "IPv4-mapped (RFC 4291)"],
  [cidr("fe80::/10"), "link-local (RFC 4291)"],
  [cidr("ff00::/8"), "multicast (RFC 4291)"],
  [cidr("0.0.0.0/8"), "\"this network\" (RFC 1122)"],
  [cidr("127.0.0.0/8"), "loopback (RFC 1122)"],
  [cidr("169.254.0.0/16"), "link-local (RFC 3927)"],
  [cidr("224.0.0.0/4"), "multicast (RFC 5771)"],
  [cidr("255.255.255.255/32"), "limited broadcast (RFC 919)"]
]

/** What `range` overlaps that cannot be routed to a pod, in words; `undefined` if it is ordinary unicast. */
export const specialUse = (range: Cidr): string | undefined => SPECIAL.find(([other]) => overlaps(range, other))?.[1]
