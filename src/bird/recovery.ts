/**
 * Sessions that BIRD has given up: it disabled them by itself, and would leave them so for ever. They are enabled again,
 * with back-off. Pure.
 *
 * BIRD does so (`p->p.disabled = 1` in proto/bgp/bgp.c and packets.c, alike in 2.0.12, 2.17, 2.18, 3.1.8 and 3.3.2) where it
 * gets no socket to listen on, where the kernel refuses TCP MD5, and where the peer's address is none at that moment
 * ("Invalid next hop"). The other three do not happen: `disable after error`, `disable after cease` and limits with the action
 * `disable` are not in `bird.conf`. An error that BIRD waits after, or a neighbour, address or link that is away, is no
 * such state.
 */
import type { PeerStatus } from "./birdStatus.ts"

export interface GivenUp {
  /** How often it was enabled again. */
  readonly attempts: number
  /** When to do so next, of `monotonicMillis`. */
  readonly nextAt: number
}

/** By BIRD's protocol name. */
export type Recovery = ReadonlyMap<string, GivenUp>

/** Milliseconds until the first attempt: a session that BIRD itself restarts is down for a moment too. */
const FIRST = 1000
const LONGEST = 30_000
/** One that was enabled and is not down counts as recovered after so many milliseconds. */
const FORGOTTEN = 60_000

/** Down by no command and by no configuration: those leave no error (`BE_MAN_DOWN`). */
export const isGivenUp = ({ lastError, state }: Pick<PeerStatus, "lastError" | "state">): boolean =>
  state === "Down" && lastError !== ""

/** BIRD says these sessions, `at`. `due` are to be enabled now. */
export const recover = (
  before: Recovery,
  sessions: ReadonlyArray<Pick<PeerStatus, "lastError" | "protocol" | "state">>,
  at: number
): { readonly recovery: Recovery; readonly due: ReadonlyArray<string> } => {
  const due: Array<string> = []
  const recovery = new Map(sessions.flatMap((session): ReadonlyArray<readonly [string, GivenUp]> => {
    const { protocol } = session
    const known = before.get(protocol)
    if (!isGivenUp(session)) {
      const over = known === undefined || session.state === "Established" || at - known.nextAt > FORGOTTEN
      return over ? [] : [[protocol, known]]
    }
    if (known === undefined) return [[protocol, { attempts: 0, nextAt: at + FIRST }]]
    if (at < known.nextAt) return [[protocol, known]]
    due.push(protocol)
    const attempts = known.attempts + 1
    return [[protocol, { attempts, nextAt: at + Math.min(LONGEST, FIRST * 2 ** attempts) }]]
  }))
  return { recovery, due }
}

/** What stood in the way of these may be gone: no waiting. */
export const hurry = (recovery: Recovery, protocols: ReadonlyArray<string>): Recovery =>
  new Map([...recovery].map(([protocol, it]) => [protocol, protocols.includes(protocol) ? { ...it, nextAt: 0 } : it]))
