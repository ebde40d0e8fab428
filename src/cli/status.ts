/** `flock-agent status`: what this node's agent has given out and announces. */
import { Console, Effect } from "effect"
import { Command } from "effect/cli"
import { asnText, type PeerStatus, peerText, troubleOf } from "../bird/birdStatus.ts"
import { oneLine } from "../domain/quote.ts"
import { deafInWords, heardInWords } from "../kube/apiHealth.ts"
import { ask } from "../socket/ask.ts"
import type { StatusReport } from "../socket/StatusReport.ts"
import { jsonFlag, socketFlag } from "./flags.ts"
import { table } from "./table.ts"
import { toJson } from "./toJson.ts"

const orDash = (text: string | undefined): string => text === undefined || text === "" ? "-" : text

/** Of an IPv6 prefix, more than a number can say exactly. */
const freeText = (free: number): string => free === Number.MAX_SAFE_INTEGER ? "over 2^53" : String(free)

const poolLines = ({ usage }: StatusReport): ReadonlyArray<string> =>
  [usage.ipv6, usage.ipv4].flatMap((pool) =>
    pool === undefined ? [] : [`prefix  ${pool.cidr}: ${pool.used} used, ${freeText(pool.free)} free`]
  )

const apiLines = ({ api }: StatusReport): ReadonlyArray<string> => {
  if (api === undefined) return []
  const deaf = deafInWords({ ...api, refused: [] })
  return [
    `API     last heard: ${heardInWords(api)}`,
    ...(deaf === undefined ? [] : [`        ${deaf}`]),
    ...api.refused.map(({ at, message }) => `        refused at ${at}: ${message}`)
  ]
}

const peerRow = (peer: PeerStatus): ReadonlyArray<string> => [
  peerText(peer),
  orDash(peer.localAddress),
  asnText(peer),
  peer.state,
  orDash(peer.since),
  `${peer.ipv6.announced}/${peer.ipv4.announced}`,
  `${peer.ipv6.learned}/${peer.ipv4.learned}`,
  orDash(troubleOf(peer))
]

const birdLines = ({ bird }: StatusReport): ReadonlyArray<string> => {
  if (!bird.enabled) return ["BIRD    off (--no-bird)"]
  const state = bird.up ? `${bird.version || "up"}, ${bird.reloads} reloads` : "does not answer"
  return [
    `BIRD    ${state}`,
    ...(bird.drained === true
      ? ["        withdrawn: sessions are shut by `flock-agent withdraw`, and opened by `flock-agent restore`"]
      : []),
    ...(bird.leaving === true
      ? [
        "        leaving: everything is announced with GRACEFUL_SHUTDOWN, as the last choice, before the sessions are shut"
      ]
      : []),
    ...(bird.stale ? [`        the wanted configuration is NOT in force: ${bird.configError}`] : []),
    ...(bird.peers.length === 0 ? [] : [
      "",
      ...table([
        ["PEER", "FROM", "ASN", "STATE", "SINCE", "ANNOUNCED 6/4", "LEARNED 6/4", "LAST ERROR"],
        ...bird.peers.map(peerRow)
      ])
    ])
  ]
}

const antiSpoofingLines = ({ antiSpoofing, drops }: StatusReport): ReadonlyArray<string> => [
  ...(antiSpoofing.state === "on" ? [] : [
    antiSpoofing.state === "off"
      ? "spoof   off (spec.antiSpoofing: false): pods may send from any address"
      : `spoof   NOT in force: ${antiSpoofing.problem}`
  ]),
  ...(antiSpoofing.exempt.length === 0 ? [] : [`exempt  ${antiSpoofing.exempt.join(", ")}: may send from any address`]),
  ...(drops.length === 0 ? [] : [
    "",
    ...table([
      ["DROPPED FROM", "HOST LINK", "REASON", "PACKETS"],
      ...drops.map(({ hostIfName, namespace, packets, pod, reason }) => [
        pod === "" ? "-" : `${namespace}/${pod}`,
        hostIfName,
        reason,
        String(packets)
      ])
    ])
  ])
]

const announcementLines = ({ announcements }: StatusReport): ReadonlyArray<string> =>
  announcements.length === 0 ? [] : [
    "",
    ...table([
      ["ADDRESS", "STATE", "EXPORTED TO", "PODS"],
      ...announcements.map(({ address, exportedTo, holders, state }) => [
        address,
        state,
        orDash(exportedTo.join(",")),
        holders.map((holder) => `${holder.namespace}/${holder.pod} (${holder.gate})`).join(", ")
      ])
    ])
  ]

/** For people. */
export const renderStatus = (report: StatusReport): string =>
  [
    `node    ${report.node} (flock ${report.version}, up since ${report.startedAt})`,
    report.nodeConfig.present
      ? `config  NodeConfig ${report.node}, generation ${report.nodeConfig.generation}`
      : `config  none: ${report.nodeConfig.unknown ?? "write a NodeConfig with this node's name"}`,
    ...(report.nodeConfig.warnings ?? []).map((words) => `        warning: ${words}`),
    // With an API server, its own lines say it.
    ...(report.nodeConfig.unheard === undefined || report.api !== undefined
      ? []
      : [`        kept as it was: ${report.nodeConfig.unheard}`]),
    ...(report.nodeConfig.rejected === undefined ? [] : [`        NOT in force: ${report.nodeConfig.rejected}`]),
    ...(report.newerState ?? []).map((words) => `state   ${words}`),
    ...poolLines(report),
    ...(report.nodeConfig.conflicts ?? []).map((words) => `        no new pod gets an address: ${words}`),
    ...apiLines(report),
    ...birdLines(report),
    ...antiSpoofingLines(report),
    ...announcementLines(report),
    "",
    ...(report.allocations.length === 0 ? ["no pods"] : table([
      ["POD", "INTERFACE", "IPV6", "IPV4", "ANYCAST", "HOST LINK", "CONTAINER"],
      ...report.allocations.map((a) => [
        a.pod === "" ? "-" : `${a.namespace}/${a.pod}`,
        a.ifName,
        orDash(a.ipv6),
        orDash(a.ipv4),
        orDash(a.anycast.join(",")),
        a.hostIfName,
        a.containerId.slice(0, 13)
      ])
    ]))
  ].map(oneLine).join("\n")

export const status = Command.make(
  "status",
  { socket: socketFlag, json: jsonFlag },
  ({ json, socket }) =>
    ask(socket, { ask: "status" }).pipe(
      Effect.flatMap((report) => Console.log(json ? toJson(report) : renderStatus(report)))
    )
).pipe(Command.withDescription("show allocations, prefixes and BGP sessions of this node's agent"))
