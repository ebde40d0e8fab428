/**
 * Routers need a while to follow a withdrawal; what they still send here must reach the pod, which may well finish what
 * it has begun, rather than go back to them by the default route until its hop limit ends. So an announced anycast
 * address has a second route, never exported, that outlives the announced one by {@link LINGER_MS}. Pure.
 */
import { type HostRoute, PROTOCOL_LINGERING } from "../netlink/Netlink.ts"
import type { Index } from "./gate.ts"
import { desiredRoute, type Installed, type Plan, sameNextHops, type World } from "./routePlan.ts"

/**
 * Milliseconds. FRR follows in 60 (fixed timers of its own), BIRD in 5. Not longer, because clients on this node still
 * reach a pod that is not Ready for as long.
 */
export const LINGER_MS = 500

/**
 * What to do about the second routes. `until`: when each that should go may go, milliseconds; kept up to date here.
 */
export const lingerPlan = (
  keys: Iterable<string>,
  index: Index,
  world: World,
  lingering: Installed,
  until: Map<string, number>,
  now: number
): Plan => {
  const announce: Array<HostRoute> = []
  const withdraw: Array<HostRoute> = []
  for (const key of keys) {
    const wanted = desiredRoute(key, index.byDestination.get(key) ?? [], world)
    const routes = lingering.get(key) ?? []
    // A chosen address has the pod's own route for good.
    if (wanted !== undefined && wanted.nextHops.every(({ via }) => via !== undefined)) {
      until.delete(key)
      const second = { ...wanted, protocol: PROTOCOL_LINGERING }
      if (!routes.some((route) => sameNextHops(route, second))) announce.push(second)
    } else if (routes.length > 0) {
      const end = until.get(key) ?? now + LINGER_MS
      until.set(key, end)
      if (now >= end) withdraw.push(...routes)
    } else {
      until.delete(key)
    }
  }
  return { announce, withdraw }
}
