/**
 * Routers need a while to follow a withdrawal; what they still send here must reach the pod, which may well finish what
 * it has begun, rather than go back to them by the default route until its hop limit ends. So an installed anycast
 * route has a second one, never exported, that outlives it by {@link LINGER_MS}. Pure.
 */
import { HashMap, Option } from "effect"
import { type HostRoute, PROTOCOL_LINGERING } from "../netlink/Netlink.ts"
import type { Index } from "./holders.ts"
import { desiredRoute, type Installed, type Plan, routesTo, sameNextHops, type World } from "./routePlan.ts"

/**
 * Milliseconds. FRR follows in 60 (fixed timers of its own), BIRD in 5. Not longer, because clients on this node still
 * reach a pod that is not Ready for as long.
 */
export const LINGER_MS = 500

/** When each route that lingers may go, of `monotonicMillis`. */
export type LeaveAt = HashMap.HashMap<string, number>

/**
 * What to do about the second routes, and `leaveAt` as it is then.
 */
export const lingerPlan = (
  keys: Iterable<string>,
  index: Index,
  world: World,
  lingering: Installed,
  leaveAt: LeaveAt,
  now: number
): { readonly plan: Plan; readonly leaveAt: LeaveAt } => {
  const install: Array<HostRoute> = []
  const remove: Array<HostRoute> = []
  let next = leaveAt
  for (const key of keys) {
    const wanted = desiredRoute(key, index.byDestination.get(key) ?? [], world)
    const routes = routesTo(lingering, key)
    // A chosen address has the pod's own route for good.
    if (wanted !== undefined && wanted.nextHops.every(({ via }) => via !== undefined)) {
      next = HashMap.remove(next, key)
      const second = { ...wanted, protocol: PROTOCOL_LINGERING }
      if (!routes.some((route) => sameNextHops(route, second))) install.push(second)
    } else if (routes.length > 0) {
      const end = Option.getOrElse(HashMap.get(leaveAt, key), () => now + LINGER_MS)
      next = HashMap.set(next, key, end)
      if (now >= end) remove.push(...routes)
    } else {
      next = HashMap.remove(next, key)
    }
  }
  return { plan: { install, remove }, leaveAt: next }
}
