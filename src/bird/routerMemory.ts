/** What BIRD's sessions tell of the routers on links. Pure. */
import { type IpAddress, parseAddress } from "../domain/Ip.ts"
import { isLinkLocal } from "../domain/peerAddress.ts"
import type { BirdStatus, PeerStatus } from "./birdStatus.ts"

/** By protocol: an agent that starts learns from BIRD which of the routers of a link the one before it had found. */
export const routersOf = (peers: ReadonlyArray<PeerStatus>): ReadonlyMap<string, IpAddress> =>
  new Map(peers.flatMap(({ address, protocol }) => {
    const parsed = parseAddress(address.split("%")[0] ?? "")
    return parsed === undefined || !isLinkLocal(parsed) ? [] : [[protocol, parsed] as const]
  }))

/** Whether an unnumbered session has just ended: its router may have another address now. */
export const hasLostRouter = (now: BirdStatus, before: BirdStatus): boolean =>
  before.peers.some((peer) =>
    peer.interface !== undefined && peer.state === "Established" &&
    now.peers.some(({ protocol, state }) => protocol === peer.protocol && state !== "Established")
  )
