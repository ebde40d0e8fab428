/** A BGP session and BFD as BIRD's protocols. Pure. */
import { formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { Peer } from "../domain/NodeConfig.ts"
import { block } from "./block.ts"
import type { Session } from "./sessions.ts"

export const protocolName = (peer: IpAddress): string => `peer_${formatAddress(peer).replace(/[.:]/g, "_")}`

/**
 * The slower of one end's transmit and the other's receive interval is in force, and each end gives up after the other's
 * multiplier (RFC 5880, section 6.8.4). BIRD's own default, a multiplier of 5, is not the field's.
 */
const bfdOptions = ({ bfd, bfdTimers }: Peer): ReadonlyArray<string> =>
  bfd
    ? block("bfd", [
      `min rx interval ${bfdTimers.receiveIntervalMilliseconds} ms;`,
      `min tx interval ${bfdTimers.transmitIntervalMilliseconds} ms;`,
      `multiplier ${bfdTimers.detectMultiplier};`
    ], ";")
    : []

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
    ...(peer.passive ? ["passive on;"] : []),
    ...(peer.localRole === undefined ? [] : [`local role ${peer.localRole.replace("-", "_")};`]),
    ...(peer.roleStrictMode ? ["require roles on;"] : []),
    `hold time ${peer.holdTimeSeconds};`,
    "startup hold time 30;",
    "connect delay time 1;",
    "connect retry time 5;",
    "error wait time 1, 30;",
    "error forget time 60;",
    `graceful restart ${peer.gracefulRestart ? "on" : "off"};`,
    "long lived graceful restart off;",
    ...bfdOptions(peer),
    // Nodes often share one AS number. Loops cannot arise, as nothing learned is announced again. Written even where
    // nothing is learned: to add it later would restart the session.
    ...(peer.asn === localAsn ? [] : ["allow local as 1;"]),
    ...channels.flat()
  ])

/** Timers are the sessions'. */
export const bfdBlock = ["protocol bfd { }"]
