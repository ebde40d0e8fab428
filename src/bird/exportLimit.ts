/**
 * BIRD's own bound of what a session's channel may export: above everything that the node may ever announce, so that no
 * mistake of flock's reaches the router's maximum-prefix, which would end the session for all pods.
 *
 * What BIRD 2.0.12 does with `export limit N action block` (tried): it is a channel's, and the session stays. Routes that
 * are exported stay so, also where N was made smaller; further ones are held back, also after others were withdrawn, until
 * `reload out` or a new session. A session that starts with more takes any N of them, so the node's own prefix may be
 * among what is held back: N must never be below what is rightly announced.
 */
import type { IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { Reply } from "./reply.ts"

/** For prefixes that come before others have gone: an edited `cidr6`, an address that moves to another pod. */
export const EXPORT_MARGIN = 16

/**
 * How many addresses may be announced: `maxPerNode`, and what was there already when that was made smaller, as pods that
 * run keep theirs. It follows what is held downwards and never upwards, so an export set that grows by mistake does not
 * lift it. `before`: the ceiling so far; undefined: an agent that starts has to believe what it finds.
 */
export const exportCeiling = (
  before: number | undefined,
  { anycast }: NodeConfigSpec,
  held: ReadonlyArray<IpAddress>
): number => Math.max(anycast.maxPerNode, Math.min(before ?? held.length, held.length))

/** Of one family: the node's prefix, those of `advertise`, the addresses, and the margin. */
export const exportLimit = (ceiling: number, advertised: number): number => 1 + advertised + ceiling + EXPORT_MARGIN

const HEAD = /^(\S+)\s+BGP\s/
const CHANNEL = /^\s+Channel (\S+)$/
const LIMIT = /^\s+Export limit:\s+(\d+) \[HIT\]$/
const ROUTES = /^\s+Routes:\s+.*?(\d+) exported/

export interface LimitHit {
  readonly protocol: string
  /** BIRD's name of it, such as `ipv6`. */
  readonly channel: string
  readonly limit: number
  /** Others have been withdrawn since: what is held back could be exported. */
  readonly room: boolean
}

/** From the reply to `show protocols all`. */
export const limitHits = (reply: Reply): ReadonlyArray<LimitHit> => {
  const hits: Array<LimitHit> = []
  let [protocol, channel, limit] = ["", "", 0]
  for (const { code, text } of reply.lines) {
    if (code === 1002) [protocol, channel, limit] = [HEAD.exec(text)?.[1] ?? "", "", 0]
    if (code !== 1006 || protocol === "") continue
    const line = ` ${text}`
    const name = CHANNEL.exec(line)?.[1]
    if (name !== undefined) [channel, limit] = [name, 0]
    limit = Number(LIMIT.exec(line)?.[1] ?? limit)
    const exported = ROUTES.exec(line)?.[1]
    if (exported !== undefined && limit > 0) hits.push({ protocol, channel, limit, room: Number(exported) < limit })
  }
  return hits
}

export const limitHitWords = ({ channel, limit }: LimitHit): string =>
  `more than ${limit} ${channel} prefixes are to be announced, the export limit (spec.anycast.maxPerNode, spec.bgp.advertise and ` +
  `${EXPORT_MARGIN + 1}); BIRD holds the rest back`
