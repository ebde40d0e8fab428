/**
 * Routes in the node's own prefixes that routers announce: BIRD is asked for those that `poolFilter.ts` lets it keep. One
 * counts when it has stood for a while, since routers pass on for a moment what an operator is just moving from one node
 * to another. Pure but for the question.
 */
import { Effect } from "effect"
import { type Cidr, type Family, formatCidr, parseCidr } from "../domain/Ip.ts"
import type { LearnedPrefix } from "../domain/occupied.ts"
import { asnText, type PeerStatus, peerText } from "./birdStatus.ts"
import type { Control } from "./control.ts"
import type { Reply } from "./reply.ts"

/** Milliseconds. */
export const STANDS_FOR = 10_000

export interface Overlap {
  readonly destination: Cidr
  /** BIRD's name of the session. */
  readonly protocol: string
  /** AS number in which the route began; undefined: this node's own. */
  readonly origin: number | undefined
}

/** `10.42.1.0/25  unicast [peer_192_0_2_1 10:11:12.345 from 192.0.2.1] * (1) [AS65002i]`, the prefix of the line before left out. */
const ROUTE = /^(\S+\/\d+)?\s+(?:unicast|unreachable|blackhole|prohibit) \[(\S+) .*?\](?:.*\[AS(\d+)[ie?]\])?/

/** Of the reply to `show route`. */
export const parseOverlaps = (reply: Reply): ReadonlyArray<Overlap> => {
  const found: Array<Overlap> = []
  let prefix = ""
  for (const { text } of reply.lines) {
    const [, destination, protocol, origin] = ROUTE.exec(text) ?? []
    prefix = destination ?? prefix
    const cidr = parseCidr(prefix)
    if (protocol === undefined || "problem" in cidr) continue
    found.push({ destination: cidr, protocol, origin: origin === undefined ? undefined : Number(origin) })
  }
  return found
}

/** A set that the running configuration does not define is a syntax error, and has nothing in it. */
const overlapsOf = (control: Control, family: Family) =>
  control.command(`show route table master${family} where source = RTS_BGP && net ~ flock_pool${family}`).pipe(
    Effect.map(parseOverlaps),
    Effect.catchTag("BirdRefused", () => Effect.succeed([]))
  )

/** Asked only where a session has taught anything at all. */
export const overlaps = (control: Control, peers: ReadonlyArray<PeerStatus>) =>
  Effect.forEach(
    ([6, 4] as const).filter((family) => peers.some((peer) => peer[family === 6 ? "ipv6" : "ipv4"].learned > 0)),
    (family) => overlapsOf(control, family)
  ).pipe(Effect.map((lists) => lists.flat()))

/** What is no conflict is no learned route either: nothing uses it. */
export const withoutOverlaps = (
  peers: ReadonlyArray<PeerStatus>,
  found: ReadonlyArray<Overlap>
): ReadonlyArray<PeerStatus> =>
  peers.map((peer) => {
    const count = (family: Family) =>
      found.filter(({ destination, protocol }) => protocol === peer.protocol && destination.family === family).length
    const less = (family: Family, { announced, learned }: PeerStatus["ipv6"]) => ({
      announced,
      learned: Math.max(0, learned - count(family))
    })
    return { ...peer, ipv6: less(6, peer.ipv6), ipv4: less(4, peer.ipv4) }
  })

/** By session and prefix, with when each was seen first, of `monotonicMillis`. */
export type Seen = ReadonlyMap<string, { readonly overlap: Overlap; readonly since: number }>

const keyOf = ({ destination, protocol }: Overlap): string => `${protocol} ${formatCidr(destination)}`

/** BIRD has these now. */
export const seenNow = (before: Seen, found: ReadonlyArray<Overlap>, at: number): Seen =>
  new Map(found.map((overlap) => [keyOf(overlap), { overlap, since: before.get(keyOf(overlap))?.since ?? at }]))

const byOf = (protocol: string, peers: ReadonlyArray<PeerStatus>): string => {
  const peer = peers.find((it) => it.protocol === protocol)
  return peer === undefined ? `the router of ${protocol}` : `${peerText(peer)} (AS ${asnText(peer)})`
}

/** Those that have stood long enough, in words; each prefix once, the widest first, single addresses last. */
export const standing = (
  seen: Seen,
  peers: ReadonlyArray<PeerStatus>,
  at: number
): ReadonlyArray<LearnedPrefix> => {
  const standing = [...seen.values()].filter(({ since }) => at - since >= STANDS_FOR).map(({ overlap }) => overlap)
  const unique = new Map(standing.toReversed().map((overlap) => [formatCidr(overlap.destination), overlap]))
  return [...unique.values()]
    .toSorted((a, b) =>
      a.destination.prefix - b.destination.prefix || (a.destination.base < b.destination.base ? -1 : 1)
    )
    .map(({ destination, origin, protocol }) => ({ destination, by: byOf(protocol, peers), origin }))
}

/** To tell two of them apart. */
export const textOf = (learned: ReadonlyArray<LearnedPrefix>): string =>
  learned.map(({ by, destination, origin }) => `${formatCidr(destination)} ${by} ${origin}`).join()
