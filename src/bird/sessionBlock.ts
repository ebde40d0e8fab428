/** A BGP session, BFD and router advertisements as BIRD's protocols. Pure. */
import { formatAddress } from "../domain/Ip.ts"
import { isInternal, type Peer } from "../domain/NodeConfig.ts"
import { block } from "./block.ts"
import { protocolName } from "./protocolName.ts"
import type { Session } from "./sessions.ts"

const asnText = (asn: Session["peer"]["asn"]): string => typeof asn === "number" ? `as ${asn}` : asn

/** A link-local session is from the address that BIRD's router advertisements are from: the router expects that one. */
const ends = ({ end, link, peer, remote }: Session, localAsn: number): ReadonlyArray<string> => [
  `local ${link === undefined ? `${formatAddress(end.address)} ` : ""}as ${localAsn};`,
  `neighbor ${formatAddress(remote)} port ${peer.port} ${asnText(peer.asn)};`,
  ...(link === undefined ? [] : [`interface "${link}";`])
]

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
  session: Session,
  channels: ReadonlyArray<ReadonlyArray<string>>
): ReadonlyArray<string> => {
  const { multihop, password, peer } = session
  return block(`protocol bgp ${protocolName(peer)}`, [
    ...ends(session, localAsn),
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
    "error wait time 1, 5;",
    "error forget time 60;",
    `graceful restart ${peer.gracefulRestart ? "on" : "off"};`,
    "long lived graceful restart off;",
    ...bfdOptions(peer),
    // Nodes often share one AS number. Loops cannot arise, as nothing learned is announced again. Written even where
    // nothing is learned: to add it later would restart the session.
    ...(isInternal(peer.asn, localAsn) ? [] : ["allow local as 1;"]),
    ...channels.flat()
  ])
}

/** Timers are the sessions'. */
export const bfdBlock = ["protocol bfd { }"]

/**
 * Tells the routers on these links of the node, which unnumbered peers wait for. It is no default router (lifetime 0, RFC
 * 4861 section 6.2.3), and gives hosts on the link neither prefixes nor settings.
 */
export const radvBlock = (links: ReadonlyArray<string>): ReadonlyArray<string> =>
  block(
    "protocol radv radv1",
    links.flatMap((link) =>
      block(`interface "${link}"`, [
        "min ra interval 3;",
        "max ra interval 10;",
        "default lifetime 0;",
        "current hop limit 0;",
        "prefix ::/0 { skip; };"
      ], ";")
    )
  )
