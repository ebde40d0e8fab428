/** Changes the kernel's routes in batches. */
import { Effect, Metric } from "effect"
import { formatCidr } from "../domain/Ip.ts"
import type { HostRoute, Netlink } from "../netlink/Netlink.ts"
import type { Taken } from "./anycastState.ts"
import { destinationKey } from "./holders.ts"
import * as metrics from "./metrics.ts"
import type { Plan } from "./routePlan.ts"

/** At most ten destinations in words. */
export const named = (routes: ReadonlyArray<HostRoute>): string =>
  routes.slice(0, 10).map((route) => formatCidr(route.destination)).join(", ") +
  (routes.length > 10 ? ` and ${routes.length - 10} more` : "")

/** The routes that the kernel took; one that it refused holds up no other. */
const change = Effect.fnUntraced(function*(
  verb: "add" | "delete",
  routes: ReadonlyArray<HostRoute>,
  call: Netlink["Service"]["putRoutes"]
) {
  if (routes.length === 0) return routes
  const errors = yield* Effect.catch(
    call(routes),
    (error) => Effect.succeed(routes.map((route) => ({ route, error })))
  )
  const [first] = errors
  if (first === undefined) return routes
  yield* Metric.update(metrics.failures, errors.length)
  yield* Effect.logWarning(
    `anycast: could not ${verb} ${named(errors.map(({ route }) => route))} (protocol ${first.route.protocol}): ` +
      `${first.error.message}; will try again`
  )
  const refused = new Set(errors.map(({ route }) => destinationKey(route.destination)))
  return routes.filter(({ destination }) => !refused.has(destinationKey(destination)))
})

/** `complete`: the kernel took all of it. */
export const applyPlan = Effect.fnUntraced(function*(netlink: Netlink["Service"], { install, remove }: Plan) {
  const deleted = yield* change("delete", remove, netlink.deleteRoutes)
  const added = yield* change("add", install, netlink.putRoutes)
  const taken: Taken = { added, deleted }
  return { taken, complete: deleted.length === remove.length && added.length === install.length }
})
