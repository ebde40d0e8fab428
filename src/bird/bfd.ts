/** BFD's sessions as BIRD says them. */
import { Effect, Schema } from "effect"
import type { Control } from "./control.ts"
import type { Reply } from "./reply.ts"

export const BfdStatus = Schema.Struct({
  /** As RFC 5880 names it: Down, Init, Up, AdminDown. */
  state: Schema.String,
  /** Milliseconds without a packet after which the node gives the router up; 0 while that is not agreed. */
  timeoutMilliseconds: Schema.Number
})
export interface BfdStatus extends Schema.Schema.Type<typeof BfdStatus> {}

/** Address, interface, state, since, interval, timeout; the last two in seconds. */
const ROW = /^([0-9a-fA-F.:]+)(?:%\S+)?\s+(\S+)\s+(AdminDown|Down|Init|Up)\s.*\s([\d.]+)\s*$/

/** From the reply to `show bfd sessions`, by the peer's address; link-local ones with their interface (`fe80::1%eth0`). */
export const bfdSessions = (reply: Reply): ReadonlyMap<string, BfdStatus> =>
  new Map(reply.lines.flatMap(({ text }) => {
    const [, address, ifName = "", state = "", seconds] = ROW.exec(text) ?? []
    return address === undefined
      ? []
      : [
        [/^fe[89ab].:/i.test(address) ? `${address}%${ifName}` : address, {
          state,
          timeoutMilliseconds: Math.round(Number(seconds) * 1000)
        }] as const
      ]
  }))

const NONE: ReadonlyMap<string, BfdStatus> = new Map()

export const askBfd = (control: Control): Effect.Effect<ReadonlyMap<string, BfdStatus>> =>
  control.command("show bfd sessions").pipe(Effect.map(bfdSessions), Effect.orElseSucceed(() => NONE))

const DOWN: BfdStatus = { state: "Down", timeoutMilliseconds: 0 }

/** Adds BFD's state to the peers that are to have it; `wanted`: by BIRD's name of the session. */
export const withBfd = <P extends { readonly address: string; readonly protocol: string }>(
  peers: ReadonlyArray<P>,
  wanted: ReadonlySet<string>,
  sessions: ReadonlyMap<string, BfdStatus>
): ReadonlyArray<P & { readonly bfd?: BfdStatus }> =>
  peers.map((peer) => wanted.has(peer.protocol) ? { ...peer, bfd: sessions.get(peer.address) ?? DOWN } : peer)

export const bfdInWords = ({ state }: BfdStatus): string =>
  `BFD is ${state}: a dead link is noticed by the hold time only; see that the router has BFD for this node, and takes ` +
  "its packets"
