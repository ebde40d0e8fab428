/**
 * What sessions had when they were Established last, and have again as long as it is on the node: a session that moves to
 * another address is a new one for its router, which may not know it. Pure.
 */
import { Option, Schema } from "effect"
import { type Family, formatAddress, type IpAddress, parseAddress } from "../domain/Ip.ts"
import type { Reply } from "./reply.ts"

export interface KeptEnd {
  readonly local: IpAddress
  /** Next hop of the family that is not the session's own, where the session carries both. */
  readonly hop?: IpAddress
}

export interface Kept {
  /** The router ID that a session is, or was, Established with. */
  readonly routerId: string | undefined
  /** By BIRD's protocol name. */
  readonly ends: ReadonlyMap<string, KeptEnd>
}

export const NOTHING_KEPT: Kept = { routerId: undefined, ends: new Map() }

/** What BIRD itself says is in force. */
export interface InForce {
  readonly routerId: string | undefined
  /** Next hops by BIRD's protocol name; of Established sessions only. */
  readonly hops: ReadonlyMap<string, ReadonlyArray<IpAddress>>
}

const HEAD = /^(\S+)\s+BGP\s/
const HOP = /^\s+BGP Next hop:\s+(\S+)/

/** The next hops in the reply to `show protocols all`. */
export const parseHops = (reply: Reply): InForce["hops"] => {
  const hops = new Map<string, Array<IpAddress>>()
  let current: Array<IpAddress> = []
  for (const { code, text } of reply.lines) {
    const name = code === 1002 ? HEAD.exec(text)?.[1] : undefined
    if (code === 1002) current = []
    if (name !== undefined) hops.set(name, current)
    const hop = parseAddress(HOP.exec(` ${text}`)?.[1] ?? "")
    if (hop !== undefined) current.push(hop)
  }
  return hops
}

/** The reply to `show status`. */
export const parseRouterId = (reply: Reply): string | undefined =>
  reply.lines.map(({ text }) => /Router ID is (\S+)/.exec(text)?.[1]).find((id) => id !== undefined)

/** Of `PeerStatus`. */
interface Seen {
  readonly protocol: string
  readonly state: string
  readonly localAddress?: string
}

const otherThan = (family: Family) => (address: IpAddress): boolean => address.family !== family

/**
 * BIRD says these sessions. Others than those of `configured` are forgotten; undefined: which are configured is not known
 * yet.
 */
export const keep = (
  before: Kept,
  sessions: ReadonlyArray<Seen>,
  { hops, routerId }: InForce,
  configured: ReadonlySet<string> | undefined
): Kept => {
  const established = sessions.filter(({ state }) => state === "Established")
  const now = established.flatMap(({ localAddress, protocol }): ReadonlyArray<[string, KeptEnd]> => {
    const local = parseAddress(localAddress ?? "")
    const hop = local && hops.get(protocol)?.find(otherThan(local.family))
    return local === undefined ? [] : [[protocol, hop === undefined ? { local } : { local, hop }]]
  })
  return {
    routerId: established.length > 0 ? routerId ?? before.routerId : before.routerId,
    ends: new Map([...before.ends, ...now].filter(([protocol]) => configured?.has(protocol) ?? true))
  }
}

export const sameKept = (a: Kept, b: Kept): boolean => encode(a) === encode(b)

const File = Schema.fromJsonString(Schema.Struct({
  routerId: Schema.optionalKey(Schema.String),
  sessions: Schema.Record(
    Schema.String,
    Schema.Struct({ local: Schema.String, hop: Schema.optionalKey(Schema.String) })
  )
}))

const ROUTER_ID = /^\d{1,3}(\.\d{1,3}){3}$/

export const encode = ({ ends, routerId }: Kept): string =>
  JSON.stringify({
    ...(routerId === undefined ? {} : { routerId }),
    sessions: Object.fromEntries(
      [...ends].map(([protocol, { hop, local }]) => [protocol, {
        local: formatAddress(local),
        ...(hop === undefined ? {} : { hop: formatAddress(hop) })
      }])
    )
  })

/** What is not understood is left out. */
export const decode = (text: string): Kept => {
  const file = Option.getOrUndefined(Schema.decodeUnknownOption(File)(text))
  if (file === undefined) return NOTHING_KEPT
  return {
    routerId: ROUTER_ID.test(file.routerId ?? "") ? file.routerId : undefined,
    ends: new Map(
      Object.entries(file.sessions).flatMap(([protocol, it]): ReadonlyArray<[string, KeptEnd]> => {
        const local = parseAddress(it.local)
        const hop = parseAddress(it.hop ?? "")
        return local === undefined ? [] : [[protocol, hop === undefined ? { local } : { local, hop }]]
      })
    )
  }
}
