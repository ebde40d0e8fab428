/**
 * `bird.conf` as a pure function of typed values. Everything written here is understood by BIRD 2.0.12, 2.17 and 3.x
 * (checked against their grammars: `nest/config.Y`, `proto/bgp/config.Y`, `sysdep/unix/krt.Y`, `filter/config.Y`).
 */
import { createHash } from "node:crypto"
import { neverAnnounced } from "../domain/announcement.ts"
import { type Family, formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec, PeerAsn } from "../domain/NodeConfig.ts"
import { linkOf, peerField, peerName } from "../domain/peerAddress.ts"
import { summaryOf } from "../domain/summaries.ts"
import { block } from "./block.ts"
import { channelsOf } from "./channels.ts"
import { communityFunction, grantStatements } from "./communities.ts"
import { connectedSubnets, importFilter, prefixSets } from "./filters.ts"
import { kernelMetric } from "./kernelMetric.ts"
import { type LocalEnd, type NodeAddress, nodeAddresses, routerId } from "./local.ts"
import { poolStaysOut } from "./poolFilter.ts"
import { protocolName } from "./protocolName.ts"
import { bfdBlock, radvBlock, sessionBlock } from "./sessionBlock.ts"
import { PeerProblem, type RenderInput, resolveSessions, type Session } from "./sessions.ts"
import { acceptLearned, sourceOf } from "./source.ts"
import { announcedOnly, staticBlocks } from "./statics.ts"

export interface RenderedPeer {
  readonly address: string
  readonly asn: PeerAsn
  /** BIRD's protocol name: from the address, so that removing one peer leaves the others' sessions alone. */
  readonly protocol: string
}

export interface Rendered {
  readonly text: string
  /** Value of the constant `flock_revision` in `text`: tells over the control socket what BIRD runs. */
  readonly revision: string
  readonly peers: ReadonlyArray<RenderedPeer>
  /** The node's ends of sessions, by `protocol`. */
  readonly ends: ReadonlyMap<string, LocalEnd>
  /** The routers of unnumbered sessions, by `protocol`. */
  readonly found: ReadonlyMap<string, IpAddress>
  /** Of BIRD's routes in the kernel. */
  readonly metric: number
  /** What is left out until the node has what it needs; everything else is in `text`. */
  readonly waiting: ReadonlyArray<PeerProblem>
}

/**
 * Seconds. BIRD 3.1 and 3.4 install what they learned while graceful recovery went on at the next scan only, if that ended
 * by its timeout: with 20 s a node waited as long for its first routes.
 */
const SCAN_TIME = 5

/**
 * Bytes of kernel notifications that may wait for BIRD, taken only as they come. The kernel's default holds some 160 routes:
 * of a burst that met a busy BIRD the rest was not seen before the next scan, so withdrawn addresses stayed announced.
 */
const NETLINK_BUFFER = 32 << 20

/** Routers that one learned destination is spread over at most. */
const WAYS = 16

const FAMILIES: ReadonlyArray<Family> = [6, 4]

const kernel = (
  spec: NodeConfigSpec | undefined,
  family: Family,
  addresses: ReadonlyArray<NodeAddress>,
  resolving: boolean
): ReadonlyArray<string> =>
  // Without `graceful restart`: with it BIRD learns nothing of the kernel, and so no anycast address, before every router has
  // come or 5 s are over, while it tells those that have come that it has said everything (End-of-RIB, RFC 4724): they let go
  // of the addresses. What it had learned of routers itself stays by keptRoutes.ts.
  block(`protocol kernel kernel${family}`, [
    "learn;",
    "persist;",
    `merge paths on limit ${WAYS};`,
    `scan time ${SCAN_TIME};`,
    `netlink rx buffer ${NETLINK_BUFFER};`,
    `metric ${kernelMetric(spec)};`,
    ...block(`ipv${family}`, [
      // Above BGP's 100: an address that is announced from here stays announced although another node announces it too.
      "preference 200;",
      ...(resolving
        ? block("import filter", [
          "if krt_source = 201 then accept;",
          "if krt_source = 200 || krt_source = 203 then reject;",
          "preference = 10;",
          "accept;"
        ], ";")
        : block("import filter", ["if krt_source = 201 then accept;", "reject;"], ";")),
      // A learned route whose next hop BIRD cannot reach would drop what the node's default route carries.
      ...block("export filter", [
        ...announcedOnly(spec, family).map((name) => `if proto = "${name}" then reject;`),
        "if source = RTS_STATIC then accept;",
        ...poolStaysOut(spec, family),
        ...acceptLearned(sourceOf(spec, family, addresses))
      ], ";")
    ], ";")
  ])

const sorted = (addresses: ReadonlyArray<IpAddress>): ReadonlyArray<IpAddress> => {
  const unique = new Map(addresses.map((address) => [`${address.family}/${address.value}`, address]))
  return [...unique.values()].toSorted((a, b) => a.value < b.value ? -1 : a.value > b.value ? 1 : 0)
}

/** A name in a comment; names come from a flag and could hold a line break. */
const plain = (text: string): string => text.replace(/[^-._a-zA-Z0-9]/g, "?")

const finish = (
  nodeName: string,
  metric: number,
  lines: ReadonlyArray<string>,
  sessions: ReadonlyArray<Session>,
  waiting: ReadonlyArray<PeerProblem>
): Rendered => {
  const body = lines.join("\n") + "\n"
  const revision = createHash("sha256").update(body).digest("hex").slice(0, 16)
  const head = `# Written by flock-agent for node ${plain(nodeName)}; changes made here are overwritten.\n` +
    `define flock_revision = "${revision}";\n`
  return {
    text: head + body,
    revision,
    peers: sessions.map(({ peer, remote }) => ({
      address: formatAddress(remote),
      asn: peer.asn,
      protocol: protocolName(peer)
    })),
    ends: new Map(sessions.map(({ end, peer }) => [protocolName(peer), end])),
    found: new Map(
      sessions.flatMap(({ peer, remote }) =>
        peer.interface === undefined ? [] : [[protocolName(peer), remote] as const]
      )
    ),
    metric,
    waiting
  }
}

/**
 * All but `remote`: what neighbours do wrong. BIRD writes a line of that class for each bad packet, BFD's without any
 * limit (10 MB in 5 s seen), and any host of the network may send them. What ends a session is in the agent's log.
 */
const LOG = "log stderr { debug, trace, info, warning, error, auth, fatal, bug };"

const head = (id: string): ReadonlyArray<string> => [
  LOG,
  "timeformat protocol iso long;",
  `router id ${id};`,
  "graceful restart wait 5;",
  ""
]

const device = block("protocol device", ["scan time 20;"])

/** The whole file. A peer that something is wrong with is in `waiting`, and never keeps the others out. */
export const renderConfig = (input: RenderInput): Rendered => {
  const { config, nodeName } = input
  const metric = kernelMetric(config?.spec)
  if (config === undefined) {
    const lines = [
      ...head(routerId(undefined, input.kept.routerId, [], [], nodeName)),
      ...device,
      ...FAMILIES.flatMap((family) => ["", ...kernel(undefined, family, [], false)])
    ]
    return finish(nodeName, metric, lines, [], [])
  }
  const { spec } = config
  const addresses = nodeAddresses(input.interfaces)
  const { sessions, waiting } = resolveSessions(input, spec, addresses)
  const exportSet = sorted(
    input.exportSet.filter((it) => neverAnnounced(it) === undefined && summaryOf(spec, it) === undefined)
  )
  const imports = spec.bgp?.importCIDRs ?? []
  const never = connectedSubnets(input.interfaces)
  const grants = grantStatements(spec.anycast)
  const blocks = sessions.map((it) => ({
    it,
    ...channelsOf(spec, it, addresses, { exportSet, ceiling: input.ceiling, leaving: input.leaving, grants })
  }))
  const unannounced = blocks.flatMap(({ it: { peer }, problem }) =>
    problem === undefined ? [] : [
      new PeerProblem({
        protocol: protocolName(peer),
        field: `spec.bgp.peers[${spec.bgp?.peers.indexOf(peer)}].${peerField(peer)}`,
        detail: `"${peerName(peer)}": ${problem}`
      })
    ]
  )

  // Also where no router was found yet: it may wait for the node in the same way.
  const links = [...new Set((spec.bgp?.peers ?? []).flatMap((peer) => linkOf(peer) ?? []))]
  // Next hops of multihop sessions are looked up in BIRD's own tables, which then need the node's routes.
  const resolving = imports.length > 0 && sessions.some(({ multihop }) => multihop > 0)
  const lines = [
    ...head(routerId(spec.bgp?.routerID, input.kept.routerId, sessions.map(({ end }) => end), addresses, nodeName)),
    ...prefixSets(spec, exportSet, never),
    ...device,
    ...(resolving ? ["", ...block("protocol direct", ["ipv6;", "ipv4;"])] : []),
    ...FAMILIES.flatMap((family) => ["", ...kernel(spec, family, addresses, resolving)]),
    ...FAMILIES.flatMap((family) => staticBlocks(spec, family)),
    ...FAMILIES.flatMap((family) => communityFunction(grants, family)),
    ...FAMILIES.flatMap((family) => importFilter(spec, never, family)),
    ...(sessions.some(({ peer }) => peer.bfd) ? ["", ...bfdBlock] : []),
    ...(links.length === 0 ? [] : ["", ...radvBlock(links)]),
    ...blocks.flatMap(({ channels, it }) => ["", ...sessionBlock(spec.bgp?.asn ?? 0, input.drained, it, channels)])
  ]
  return finish(nodeName, metric, lines, sessions, [...waiting, ...unannounced])
}
