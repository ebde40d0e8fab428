/** The router at the other end of an interface, of those that advertised themselves there. Pure. */
import { equalAddress, formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { Peer } from "../domain/NodeConfig.ts"
import { isLinkLocal } from "../domain/peerAddress.ts"
import type { HostInterface, RouterNeighbour } from "../netlink/Netlink.ts"
import { protocolName } from "./protocolName.ts"

export interface Sighting {
  readonly interfaces: ReadonlyArray<HostInterface>
  readonly routers: ReadonlyArray<RouterNeighbour>
}

/** `problem`: in words that follow the interface's name; a session that is there goes on all the same. */
export interface Found {
  readonly address: IpAddress | undefined
  readonly problem: string | undefined
}

/** Why no session can be over this interface now; undefined: nothing. */
export const linkProblem = (interfaces: ReadonlyArray<HostInterface>, ifName: string): string | undefined => {
  const link = interfaces.find((it) => it.ifName === ifName)
  if (link === undefined) return "there is no such interface"
  if (!link.up) return "the interface is down"
  return link.addresses.some(({ address }) => isLinkLocal(address))
    ? undefined
    : "the interface has no IPv6 link-local address: IPv6 is off there, or it is a port of a bridge or bond"
}

const MOST_NAMED = 4

/** Any host of the link can make them many. */
const listed = (addresses: ReadonlyArray<IpAddress>): string => {
  const texts = addresses.map(formatAddress).toSorted()
  const more = texts.length - MOST_NAMED
  return `${texts.slice(0, MOST_NAMED).join(", ")}${more > 0 ? `, and ${more} more` : ""}`
}

/**
 * The one router of the link. `running`: the one that the session is with; it stays as long as it advertises itself, and
 * where nothing is known of any: the kernel forgets neighbours (carrier, garbage collection) that are there all the same.
 * Of several, none is chosen: any host of a shared link can advertise itself.
 */
export const routerOn = (
  ifName: string,
  { interfaces, routers }: Sighting,
  running: IpAddress | undefined
): Found => {
  const link = interfaces.find((it) => it.ifName === ifName)
  const isOwn = (address: IpAddress) => link?.addresses.some((own) => equalAddress(own.address, address)) === true
  const there = routers.filter(({ address, gone, ifIndex }) => ifIndex === link?.ifIndex && !gone && !isOwn(address))
    .map(({ address }) => address)
  const stays = running !== undefined && there.some((address) => equalAddress(address, running))
  const address = !stays && there.length === 1 ? there[0] : running
  const several = there.length > 1 && !stays
    ? `several routers advertise themselves there (${
      listed(there)
    }); write the address of the one that is meant, with ` +
      `%${ifName}`
    : undefined
  const none = address === undefined ? "no router advertisement seen" : undefined
  return { address, problem: linkProblem(interfaces, ifName) ?? several ?? none }
}

/** Routers that were asked last whether they are still there. */
export interface Probe {
  /** What made them doubtful; empty: nothing does. */
  readonly why: string
  /** Of `monotonicMillis`. */
  readonly at: number
}

export const NO_PROBE: Probe = { why: "", at: 0 }

/** More come from somebody who makes them up. */
const MOST_ASKED = 8

/** Milliseconds until the same routers are asked again: their answers are news too. */
const ASK_AGAIN = 15_000

/**
 * Routers of links without an Established session that have several: left alone, the kernel takes half a minute and more to
 * find that an address is gone. `up`: Established sessions, by BIRD's name.
 */
export const doubted = (
  peers: ReadonlyArray<Peer>,
  { interfaces, routers }: Sighting,
  up: ReadonlySet<string>,
  before: Probe,
  at: number
): { readonly ask: ReadonlyArray<RouterNeighbour>; readonly probe: Probe } => {
  const ask = peers.filter((peer) => !up.has(protocolName(peer))).flatMap((peer) => {
    const link = interfaces.find(({ ifName }) => ifName === peer.interface)
    const there = routers.filter(({ gone, ifIndex }) => ifIndex === link?.ifIndex && !gone)
    return there.length < 2 || there.length > MOST_ASKED ? [] : there
  })
  const why = ask.map(({ address, ifIndex }) => `${formatAddress(address)}%${ifIndex}`).toSorted().join(" ")
  if (why === "") return { ask, probe: NO_PROBE }
  return why === before.why && at - before.at < ASK_AGAIN ? { ask: [], probe: before } : { ask, probe: { why, at } }
}
