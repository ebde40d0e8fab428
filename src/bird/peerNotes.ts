/** What is known of a session beside what BIRD says of it now, added to it. Pure. */
import type { PortHolders } from "./birdEvents.ts"
import type { PeerStatus } from "./birdStatus.ts"
import { type LimitHit, limitHitWords } from "./exportLimit.ts"
import { isGivenUp } from "./recovery.ts"
import { type Notes, unusableOf } from "./sessionNotes.ts"

export const withHits = (peers: ReadonlyArray<PeerStatus>, hits: ReadonlyArray<LimitHit>): ReadonlyArray<PeerStatus> =>
  peers.map((peer) => {
    const words = hits.filter(({ protocol }) => protocol === peer.protocol).map(limitHitWords)
    return words.length === 0 ? peer : { ...peer, problem: [peer.problem ?? [], words].flat().join("; ") }
  })

/** BIRD's words for a session that has no socket to listen on (`bgp_misc_errors`, proto/bgp/bgp.c, 2.0.12 to 3.3.2). */
export const cannotListen = (peer: PeerStatus): boolean =>
  isGivenUp(peer) && peer.lastError.includes("No listening socket")

export const withNotes = (
  peers: ReadonlyArray<PeerStatus>,
  notes: Notes,
  unreachable: ReadonlyMap<string, ReadonlyArray<string>>,
  port: PortHolders | undefined
): ReadonlyArray<PeerStatus> =>
  peers.map((peer) => {
    const note = notes.get(peer.protocol)
    const unusable = unusableOf(note, unreachable.get(peer.protocol) ?? [])
    const givenUp = peer.problem === undefined ? givenUpWords(peer, port) : undefined
    return {
      ...peer,
      ...(note?.notification === undefined ? {} : { lastNotification: note.notification }),
      ...(unusable === undefined ? {} : { unusable }),
      ...(givenUp === undefined ? {} : { problem: givenUp })
    }
  })

/** Why BIRD disabled the session, and what comes of it; nothing until it is known who has the port. */
const givenUpWords = (peer: PeerStatus, port: PortHolders | undefined): string | undefined => {
  if (!isGivenUp(peer) || (cannotListen(peer) && port === undefined)) return undefined
  return cannotListen(peer) && port?.words !== undefined
    ? `BIRD cannot listen on port 179, which is taken by ${port.words}; the session is tried again until it is free`
    : `BIRD gave the session up (${peer.lastError}); it is tried again every 30 s at most`
}
