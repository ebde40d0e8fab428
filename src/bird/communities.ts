/** Communities of what is announced, as statements of BIRD's filters. Pure. */
import { type Cidr, containsCidr, type Family, formatCidr } from "../domain/Ip.ts"
import type { AnycastSpec } from "../domain/NodeConfig.ts"
import { block } from "./block.ts"

/** IANA, BGP Well-known Communities: RFC 1997, RFC 3765, RFC 8326. */
const WELL_KNOWN: Readonly<Record<string, string>> = {
  "graceful-shutdown": "65535:0",
  "no-export": "65535:65281",
  "no-advertise": "65535:65282",
  "no-peer": "65535:65284"
}

export const communityLine = (community: string): string => {
  const parts = (WELL_KNOWN[community] ?? community).split(":").map(Number)
  return `bgp_${parts.length === 3 ? "large_" : ""}community.add((${parts.join(", ")}));`
}

const set = (cidrs: ReadonlyArray<Cidr>): string => `[ ${cidrs.map((cidr) => `${formatCidr(cidr)}+`).join(", ")} ]`

const same = (a: Cidr, b: Cidr): boolean => a.family === b.family && a.prefix === b.prefix && a.base === b.base

/** What a grant adds to its addresses: to those that it decides about (`domain/grants.ts`), so not where a longer prefix does. */
const ofGrants = ({ allowedCIDRs, grants }: AnycastSpec, family: Family): ReadonlyArray<string> => {
  const all = [...allowedCIDRs, ...grants.map(({ cidr }) => cidr)].filter((cidr) => cidr.family === family)
  const marked = grants.filter(({ cidr, communities }) => cidr.family === family && communities.length > 0)
  const first = marked.filter(({ cidr }, i) => marked.findIndex((it) => same(it.cidr, cidr)) === i)
  return first.flatMap(({ cidr }) => {
    const longer = all.filter((it) => it.prefix > cidr.prefix && containsCidr(cidr, it))
    const communities = marked.filter((it) => same(it.cidr, cidr)).flatMap((it) => it.communities)
    const decides = longer.length === 0 ? "" : ` && ! (net ~ ${set(longer)})`
    return block(`if net ~ ${set([cidr])}${decides} then`, [...new Set(communities)].map(communityLine))
  })
}

/** By family; once for all sessions, as it compares every grant with every prefix. */
export type GrantStatements = Readonly<Record<Family, ReadonlyArray<string>>>

export const grantStatements = (anycast: AnycastSpec): GrantStatements => ({
  6: ofGrants(anycast, 6),
  4: ofGrants(anycast, 4)
})

const NAME = "flock_communities"

/** The statement that calls {@link communityFunction}, where there is one. */
export const communityCall = (statements: GrantStatements, family: Family): ReadonlyArray<string> =>
  statements[family].length === 0 ? [] : [`${NAME}${family}();`]

export const communityFunction = (statements: GrantStatements, family: Family): ReadonlyArray<string> =>
  statements[family].length === 0 ? [] : ["", ...block(`function ${NAME}${family}()`, statements[family])]
