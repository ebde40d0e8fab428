/** Changes the kernel's routes in batches. */
import { Effect, Metric } from "effect"
import { formatCidr } from "../domain/Ip.ts"
import type { HostRoute, Netlink } from "../netlink/Netlink.ts"
import type { Taken } from "./anycastState.ts"
import { destinationKey } from "./holders.ts"
import * as metrics from "./metrics.ts"
import type { Plan } from "./routePlan.ts"
import type { Refused } from "./troubles.ts"

/** At most ten destinations in words. */
export const named = (routes: ReadonlyArray<HostRoute>): string =>
  routes.slice(0, 10).map((route) => formatCidr(route.destination)).join(", ") +
  (routes.length > 10 ? ` and ${routes.length - 10} more` : "")

/** What the kernel took and what it did not; one that it refused holds up no other. */
const change = Effect.fnUntraced(function*(
  verb: "add" | "delete",
  routes: ReadonlyArray<HostRoute>,
  call: Netlink["Service"]["putRoutes"]
) {
  if (routes.length === 0) return { done: routes, refused: [] }
  const errors = yield* Effect.catch(
    call(routes),
    (error) => Effect.succeed(routes.map((route) => ({ route, error })))
  )
  if (errors.length === 0) return { done: routes, refused: [] }
  yield* Metric.update(metrics.failures, errors.length)
  const keys = new Set(errors.map(({ route }) => destinationKey(route.destination)))
  return {
    done: routes.filter(({ destination }) => !keys.has(destinationKey(destination))),
    refused: errors.map(({ error, route }): Refused => ({ verb, route, detail: error.message }))
  }
})

export const applyPlan = Effect.fnUntraced(function*(netlink: Netlink["Service"], { install, remove }: Plan) {
  const deleted = yield* change("delete", remove, netlink.deleteRoutes)
  const added = yield* change("add", install, netlink.putRoutes)
  const taken: Taken = { added: added.done, deleted: deleted.done }
  return { taken, refused: [...deleted.refused, ...added.refused] }
})
