/** From who may announce what to the routes that the kernel lacks or has too many of. Pure. */
import { HashMap, Option } from "effect"
import { mayAnnounce, type PodCache, type Rules } from "../domain/announcement.ts"
import { hostCidr, type IpAddress } from "../domain/Ip.ts"
import { primaryOf } from "../domain/PodAddresses.ts"
import { type HostRoute, type NextHop, PROTOCOL_EXPORT } from "../netlink/Netlink.ts"
import { destinationKey, type Holder, type Index } from "./holders.ts"

/**
 * The kernel's routes of one protocol by destination. More than one for a destination: they differ in metric. A flip
 * makes the next value of it, which must not cost a copy of a thousand others.
 */
export type Installed = HashMap.HashMap<string, ReadonlyArray<HostRoute>>

export const routesTo = (installed: Installed, key: string): ReadonlyArray<HostRoute> =>
  Option.getOrElse(HashMap.get(installed, key), () => [])

export interface World extends PodCache, Rules {
  /** Index of a host-side link; undefined: there is no such link. */
  readonly ifIndexOf: (hostIfName: string) => number | undefined
  readonly installed: Installed
}

export interface Plan {
  /** To delete, before anything is added. */
  readonly remove: ReadonlyArray<HostRoute>
  /** To add or replace, with those that lose a next hop first. */
  readonly install: ReadonlyArray<HostRoute>
}

export const byDestination = (routes: ReadonlyArray<HostRoute>): Installed => {
  const map = new Map<string, Array<HostRoute>>()
  for (const route of routes) {
    const key = destinationKey(route.destination)
    const list = map.get(key)
    if (list === undefined) map.set(key, [route])
    else list.push(route)
  }
  return HashMap.fromIterable(map)
}

/**
 * An anycast address is on the pod's `lo`, so its neighbour entry is that of the pod's own address: `via`, and `onlink`
 * because no connected prefix covers it. A chosen address has a neighbour entry of its own and needs neither.
 */
const nextHopOf = ({ address, allocation, kind }: Holder, ifIndex: number): NextHop => {
  const via = kind === "anycast" ? primaryOf(allocation.addresses, address.family) : undefined
  return via === undefined ? { ifIndex, onlink: false } : { ifIndex, via, onlink: true }
}

const hasNextHop = (routes: ReadonlyArray<HostRoute>, ifIndex: number): boolean =>
  routes.some((route) => route.nextHops.some((hop) => hop.ifIndex === ifIndex))

/** The route that a destination should have now; undefined: none. */
export const desiredRoute = (
  key: string,
  holders: ReadonlyArray<Holder>,
  world: World
): HostRoute | undefined => {
  const nextHops: Array<NextHop> = []
  let address: IpAddress | undefined
  for (const holder of holders) {
    const no = mayAnnounce(holder.address, holder.allocation, world)
    if (no !== undefined && no._tag !== "Unknown") continue
    const ifIndex = world.ifIndexOf(holder.allocation.hostIfName)
    if (ifIndex === undefined) continue
    if (no !== undefined && !hasNextHop(routesTo(world.installed, key), ifIndex)) continue
    address = holder.address
    nextHops.push(nextHopOf(holder, ifIndex))
  }
  return address === undefined
    ? undefined
    : { destination: hostCidr(address), protocol: PROTOCOL_EXPORT, nextHops }
}

const sameAddress = (a: IpAddress | undefined, b: IpAddress | undefined): boolean =>
  a?.family === b?.family && a?.value === b?.value

/** Whether two routes to one destination lead the same way, whatever the order of their next hops. */
export const sameNextHops = (a: HostRoute, b: HostRoute): boolean =>
  a.nextHops.length === b.nextHops.length &&
  a.nextHops.every((hop) =>
    b.nextHops.some((other) =>
      other.ifIndex === hop.ifIndex && other.onlink === hop.onlink && sameAddress(other.via, hop.via)
    )
  )

/** What to do for these destinations. A destination without holders should have no route. */
export const plan = (keys: Iterable<string>, index: Index, world: World): Plan => {
  const remove: Array<HostRoute> = []
  const install: Array<{ readonly route: HostRoute; readonly shrinks: boolean }> = []
  for (const key of keys) {
    const wanted = desiredRoute(key, index.byDestination.get(key) ?? [], world)
    const routes = routesTo(world.installed, key)
    if (wanted === undefined) {
      remove.push(...routes)
    } else if (!routes.some((route) => sameNextHops(route, wanted))) {
      install.push({ route: wanted, shrinks: (routes[0]?.nextHops.length ?? 0) > wanted.nextHops.length })
    }
  }
  return {
    remove,
    install: [...install.filter((a) => a.shrinks), ...install.filter((a) => !a.shrinks)].map((a) => a.route)
  }
}

/** Every destination that has a holder or a route. */
export const allKeys = (index: Index, ...tables: ReadonlyArray<Installed>): Set<string> =>
  new Set([...index.byDestination.keys(), ...tables.flatMap((installed) => [...HashMap.keys(installed)])])
