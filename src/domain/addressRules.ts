/**
 * Which address may be what: one row per special-purpose range (IANA IPv4 and IPv6 Special-Purpose Address Registries,
 * RFC 6890), with the uses that it has all the same. What lies in no row is ordinary unicast, and may be anything.
 * Validation, `bird.conf` and messages come from here; tests hold `manifests/crd.yaml` and docs/nodeconfig.md against it.
 */
import { type Cidr, cidr, contains, containsCidr, type Family, hostCidr, type IpAddress, overlaps } from "./Ip.ts"

/** What an address or a prefix can be used for. */
export const USES = ["pool", "pod", "peer", "import", "local"] as const
/**
 * - `pool`: a node's `cidr6` or `cidr4`.
 * - `pod`: an address that a pod has on its interface or its `lo`, and that is announced.
 * - `peer`: the address of a BGP peer.
 * - `import`: a destination learned from a peer.
 * - `local`: the node's end of a session. A special one serves only towards peers of its own range.
 */
export type Use = typeof USES[number]

export interface SpecialRange {
  readonly range: Cidr
  /** With its source, to follow the word "is". */
  readonly words: string
  readonly uses: ReadonlyArray<Use>
}

const row = (range: string, words: string, ...uses: ReadonlyArray<Use>): SpecialRange => ({
  range: cidr(range),
  words,
  uses
})

export const SPECIAL_RANGES: ReadonlyArray<SpecialRange> = [
  row("::/128", "unspecified (RFC 4291)"),
  // A router on this node.
  row("::1/128", "loopback (RFC 4291)", "peer", "local"),
  row("::ffff:0:0/96", "IPv4-mapped (RFC 4291)"),
  row("fe80::/10", "link-local (RFC 4291)"),
  row("ff00::/8", "multicast (RFC 4291)"),
  row("0.0.0.0/8", "\"this network\" (RFC 1122)"),
  row("127.0.0.0/8", "loopback (RFC 1122)", "peer", "local"),
  // Clouds give their gateways such addresses, on a /30 of the node's or some hops away.
  row("169.254.0.0/16", "link-local (RFC 3927)", "peer", "local"),
  row("224.0.0.0/4", "multicast (RFC 5771)"),
  row("255.255.255.255/32", "limited broadcast (RFC 919)")
]

const refusing = (use: Use, matches: (range: Cidr) => boolean): SpecialRange | undefined =>
  SPECIAL_RANGES.find(({ range, uses }) => !uses.includes(use) && matches(range))

/** What keeps an address from this use, in words such as `loopback (RFC 1122)`; undefined if nothing does. */
export const addressProblem = (use: Use, address: IpAddress): string | undefined =>
  refusing(use, (range) => contains(range, address))?.words

/** The same for a prefix all of whose addresses must be fit: it may not even touch a range that is not. */
export const overlapProblem = (use: Use, prefix: Cidr): string | undefined =>
  refusing(use, (range) => overlaps(range, prefix))?.words

/** The same for a prefix that bounds what others choose from: something in it must be fit. */
export const insideProblem = (use: Use, prefix: Cidr): string | undefined =>
  refusing(use, (range) => containsCidr(range, prefix))?.words

/** The ranges of one family that are never fit. */
export const refusedRanges = (use: Use, family: Family): ReadonlyArray<Cidr> =>
  SPECIAL_RANGES.filter(({ range, uses }) => range.family === family && !uses.includes(use)).map(({ range }) => range)

/** In no special range: it means the same to every router, so it can be a next hop or tell nodes apart. */
export const isOrdinary = (address: IpAddress): boolean =>
  !SPECIAL_RANGES.some(({ range }) => overlaps(range, hostCidr(address)))

/** Whether a session with `peer` may have this address of the node as its local end. */
export const mayReach = (local: IpAddress, peer: IpAddress): boolean => {
  const special = SPECIAL_RANGES.find(({ range }) => contains(range, local))
  return special === undefined || (special.uses.includes("local") && contains(special.range, peer))
}
