/** A BGP session and BFD as BIRD's protocols. Pure. */
import { formatAddress, type IpAddress } from "../domain/Ip.ts"
import { block } from "./block.ts"
import type { Session } from "./sessions.ts"

export const protocolName = (peer: IpAddress): string => `peer_${formatAddress(peer).replace(/[.:]/g, "_")}`

export const sessionBlock = (
  localAsn: number,
  drained: boolean,
  { end, multihop, password, peer }: Session,
  channels: ReadonlyArray<ReadonlyArray<string>>
): ReadonlyArray<string> =>
  block(`protocol bgp ${protocolName(peer.address)}`, [
    `local ${formatAddress(end.address)} as ${localAsn};`,
    `neighbor ${formatAddress(peer.address)} port ${peer.port} as ${peer.asn};`,
    ...(drained ? ["disabled yes;"] : []),
    multihop > 0 ? `multihop ${multihop};` : "direct;",
    ...(peer.ttlSecurity ? ["ttl security on;"] : []),
    ...(password === undefined ? [] : [`password ${password};`]),
    `hold time ${peer.holdTimeSeconds};`,
    "startup hold time 30;",
    "connect delay time 1;",
    "connect retry time 5;",
    "error wait time 1, 30;",
    "error forget time 60;",
    `graceful restart ${peer.gracefulRestart ? "on" : "off"};`,
    ...(peer.bfd ? ["bfd on;"] : []),
    // Nodes often share one AS number. Loops cannot arise, as nothing learned is announced again. Written even where
    // nothing is learned: to add it later would restart the session.
    ...(peer.asn === localAsn ? [] : ["allow local as 1;"]),
    ...channels.flat()
  ])

/**
 * A peer declares the session down after its own interval times this multiplier (RFC 5880, section 6.8.4): with BIRD's
 * default of 5, FRR's default of 300 ms takes 1.5 s; with 3 it takes 0.9 s.
 */
export const bfdBlock = block("protocol bfd", [
  ...block("interface \"*\"", ["multiplier 3;"], ";"),
  ...block("multihop", ["multiplier 3;"], ";")
])
