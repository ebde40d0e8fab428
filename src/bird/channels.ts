/** The channels of a BGP session: what is exported and imported of each family, with which next hop. Pure. */
import { type Family, formatAddress, type IpAddress } from "../domain/Ip.ts"
import { isInternal, type NodeConfigSpec, type Peer } from "../domain/NodeConfig.ts"
import { block } from "./block.ts"
import { communityCall, communityLine, type GrantStatements } from "./communities.ts"
import { exportLimit } from "./exportLimit.ts"
import { filtersImport } from "./filters.ts"
import { nextHop, type NodeAddress } from "./local.ts"
import type { Session } from "./sessions.ts"
import { staticProtocols } from "./statics.ts"

/** Routes that BIRD may install at most per session and family; more are ignored, the session stays. */
export const IMPORT_LIMIT = 1000

const advertisedOf = ({ bgp }: NodeConfigSpec, family: Family) =>
  (bgp?.advertise ?? []).filter((cidr) => cidr.family === family)

/** Whether the node announces or learns anything of this family. */
const uses = (spec: NodeConfigSpec, family: Family): boolean =>
  (family === 6 ? spec.cidr6 : spec.cidr4) !== undefined ||
  advertisedOf(spec, family).length > 0 ||
  spec.anycast.allowedCIDRs.some((cidr) => cidr.family === family) ||
  spec.anycast.grants.some(({ cidr }) => cidr.family === family) ||
  (spec.bgp?.importCIDRs ?? []).some((cidr) => cidr.family === family)

/** GRACEFUL_SHUTDOWN, and within an AS what a router is asked to make of it (RFC 8326, sections 4.3 and 5). */
const leavingLines = (spec: NodeConfigSpec, peer: Peer): ReadonlyArray<string> => [
  "bgp_community.add((65535, 0));",
  ...(isInternal(peer.asn, spec.bgp?.asn) ? ["bgp_local_pref = 0;"] : []),
  ...(spec.bgp?.withdraw.med === undefined ? [] : [`bgp_med = ${spec.bgp.withdraw.med};`])
]

const exportFilter = (
  spec: NodeConfigSpec,
  peer: Peer,
  family: Family,
  { exportSet, grants, leaving }: Exports
): ReadonlyArray<string> => {
  const allowed = [
    ...staticProtocols(spec, family).map((name) => `proto = "${name}"`),
    ...(exportSet.some((address) => address.family === family)
      ? [`(proto = "kernel${family}" && krt_source = 201 && net ~ flock_export${family})`]
      : [])
  ]
  if (allowed.length === 0) return ["export none;"]
  return block("export filter", [
    ...block(`if ${allowed.join(" || ")} then`, [
      ...peer.communities.map(communityLine),
      ...communityCall(grants, family),
      ...(leaving ? leavingLines(spec, peer) : []),
      "accept;"
    ]),
    "reject;"
  ], ";")
}

export interface Exports {
  readonly exportSet: ReadonlyArray<IpAddress>
  /** `exportCeiling` */
  readonly ceiling: number
  /** `RenderInput.leaving` */
  readonly leaving: boolean
  readonly grants: GrantStatements
}

const channel = (
  spec: NodeConfigSpec,
  peer: Peer,
  family: Family,
  nextHop: ReadonlyArray<string>,
  exports: Exports
): ReadonlyArray<string> =>
  block(`ipv${family}`, [
    "next hop self;",
    ...nextHop,
    ...(filtersImport(spec, family)
      ? [`import limit ${IMPORT_LIMIT} action block;`, `import filter flock_import${family};`]
      : ["import none;"]),
    `export limit ${exportLimit(exports.ceiling, advertisedOf(spec, family).length)} action block;`,
    ...exportFilter(spec, peer, family, exports)
  ], ";")

const familyOf = ({ address }: Peer): Family => address?.family ?? 6

/** A session's channels: one address family, and the other too where no peer speaks it. */
export const channelsOf = (
  spec: NodeConfigSpec,
  { end, gone, hop: kept, link, peer, remote }: Session,
  addresses: ReadonlyArray<NodeAddress>,
  exports: Exports
): { readonly channels: ReadonlyArray<ReadonlyArray<string>>; readonly problem: string | undefined } => {
  const hopLine = (family: Family): ReadonlyArray<string> => {
    const hop = gone === true ? kept : nextHop(remote, end, family, addresses, kept)?.address
    return hop === undefined ? [] : [`next hop address ${formatAddress(hop)};`]
  }
  const family = remote.family
  const other: Family = family === 6 ? 4 : 6
  const first = channel(spec, peer, family, end.reach === "node" ? hopLine(family) : [], exports)
  const isSpoken = link === undefined && spec.bgp?.peers.some((it) => familyOf(it) === other)
  if (!uses(spec, other) || isSpoken) return { channels: [first], problem: undefined }
  // The router's end of such a link has no IPv4 address either.
  const hop = link === undefined ? hopLine(other) : []
  // RFC 8950: IPv4 prefixes with an IPv6 next hop. The reverse does not exist.
  const lines = hop.length > 0 ? hop : other === 4 ? ["extended next hop on;"] : undefined
  return lines === undefined
    ? {
      channels: [first],
      problem:
        `${end.ifName} has no IPv6 address to be the next hop of the node's IPv6 prefixes; they are not announced`
    }
    : { channels: [first, channel(spec, peer, other, lines, exports)], problem: undefined }
}
