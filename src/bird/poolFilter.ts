/**
 * What `bird.conf` has to notice the node's own prefix in others' hands: routes in it are kept in BIRD, for `overlaps.ts` to
 * ask for, and go neither to the kernel nor to a peer. All other routes that are not to be learned are dropped as they
 * come, so a router's full table takes no memory. Pure.
 */
import { bitsOf, type Cidr, containsCidr, type Family, formatCidr, overlaps } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"

/** The node's prefix of this family, if there is a router that could announce something of it. */
export const watchedPool = ({ bgp, cidr4, cidr6 }: NodeConfigSpec, family: Family): Cidr | undefined =>
  bgp === undefined || bgp.peers.length === 0 ? undefined : family === 6 ? cidr6 : cidr4

/** A next hop that is neither the router nor this node, in a subnet that all three are on. BIRD takes no set for these. */
const thirdParty = (connected: ReadonlyArray<Cidr>, family: Family): string | undefined => {
  const shared = connected.filter((cidr) => cidr.family === family && cidr.prefix < bitsOf(family)).map(formatCidr)
  return shared.length === 0
    ? undefined
    : `bgp_next_hop != from && (${shared.map((it) => `(from ~ ${it} && bgp_next_hop ~ ${it})`).join(" || ")})`
}

/** Single addresses of the node's prefix that another node may announce as well: anycast and chosen ones. */
const sharedOf = ({ anycast: { allowedCIDRs, grants } }: NodeConfigSpec, pool: Cidr): ReadonlyArray<string> => {
  const bits = bitsOf(pool.family)
  return [...allowedCIDRs, ...grants.map(({ cidr }) => cidr)].filter((cidr) => overlaps(cidr, pool))
    .map((cidr) => `${formatCidr(cidr)}{${bits},${bits}}`)
}

/** What of the prefix this node announces itself as a whole: all of it, and parts that `spec.bgp.advertise` has. */
const ownOf = ({ bgp }: NodeConfigSpec, pool: Cidr): ReadonlyArray<string> => {
  const parts = (bgp?.advertise ?? []).filter((cidr) => containsCidr(pool, cidr))
  return [...new Set([pool, ...parts].map(formatCidr))]
}

/** Members of the prefix sets that {@link poolLines} looks into, by name. */
export const poolSets = (
  spec: NodeConfigSpec,
  family: Family
): ReadonlyArray<readonly [name: string, members: ReadonlyArray<string>]> => {
  const pool = watchedPool(spec, family)
  if (pool === undefined) return []
  const shared = sharedOf(spec, pool)
  return [
    [`flock_pool${family}`, [`${formatCidr(pool)}+`]],
    [`flock_own${family}`, ownOf(spec, pool)],
    ...(shared.length === 0 ? [] : [[`flock_shared${family}`, shared] as const])
  ]
}

/**
 * Lines of the import filter: keeps what can only be somebody else's. What this node announces as a whole may be that
 * announcement, which a router gives back, or a static route of the router to this node. That it is another node's shows by its origin, by
 * a route reflector's mark (BIRD drops this node's own), or by a next hop that is neither the router nor this node (BIRD
 * drops that too).
 */
export const poolLines = (
  spec: NodeConfigSpec,
  connected: ReadonlyArray<Cidr>,
  family: Family
): ReadonlyArray<string> => {
  const pool = watchedPool(spec, family)
  if (pool === undefined) return []
  const third = thirdParty(connected, family)
  const origin = "bgp_path.last_nonaggregated"
  return [
    `  if net ~ flock_pool${family} then {`,
    ...(sharedOf(spec, pool).length === 0 ? [] : [`    if net ~ flock_shared${family} then reject;`]),
    `    if net ~ flock_own${family} then {`,
    "      if bgp_path.len = 0 && !defined(bgp_originator_id) then reject;",
    `      if bgp_path.len > 0 && (${origin} = ${spec.bgp?.asn} || ${origin} = bgp_path.first) then {`,
    ...(third === undefined ? ["        reject;"] : [`        if !(${third}) then reject;`]),
    "      }",
    "    }",
    "    preference = 1;",
    "    accept;",
    "  }"
  ]
}

/** Lines of the kernel protocol's export filter. */
export const poolStaysOut = (spec: NodeConfigSpec | undefined, family: Family): ReadonlyArray<string> =>
  spec === undefined || watchedPool(spec, family) === undefined
    ? []
    : [`if source = RTS_BGP && net ~ flock_pool${family} then reject;`]
