/** The kernel's routes of one protocol, changed in batches and mirrored: the mirror holds only what the kernel took. */
import { Effect, Metric } from "effect"
import { formatCidr } from "../domain/Ip.ts"
import type { HostRoute, Netlink, NetlinkError } from "../netlink/Netlink.ts"
import { destinationKey } from "./gate.ts"
import * as metrics from "./metrics.ts"
import { byDestination, type Installed, type Plan } from "./routePlan.ts"

/** Destinations that have a route now and had none, and the other way round. */
export interface Changed {
  readonly announced: ReadonlyArray<HostRoute>
  readonly withdrawn: ReadonlyArray<HostRoute>
}

export interface Table {
  readonly installed: () => Installed
  /** Reads the kernel's routes anew. */
  readonly load: Effect.Effect<void, NetlinkError>
  /** Forgets a route that is gone; false if the mirror had none. */
  readonly forget: (key: string) => boolean
  readonly apply: (plan: Plan) => Effect.Effect<Changed>
}

/** At most ten destinations in words. */
export const named = (routes: ReadonlyArray<HostRoute>): string =>
  routes.slice(0, 10).map((route) => formatCidr(route.destination)).join(", ") +
  (routes.length > 10 ? ` and ${routes.length - 10} more` : "")

/** `onFailure` runs when the kernel refused something. */
export const make = (netlink: Netlink["Service"], protocol: number, onFailure: Effect.Effect<void>): Table => {
  let installed = new Map<string, ReadonlyArray<HostRoute>>()

  const run = Effect.fnUntraced(function*(
    verb: "add" | "delete",
    routes: ReadonlyArray<HostRoute>,
    call: Netlink["Service"]["putRoutes"]
  ) {
    if (routes.length === 0) return []
    const errors = yield* Effect.catch(
      call(routes),
      (error) => Effect.succeed(routes.map((route) => ({ route, error })))
    )
    if (errors.length > 0) {
      yield* Metric.update(metrics.failures, errors.length)
      const names = named(errors.map(({ route }) => route))
      yield* Effect.logWarning(
        `anycast: could not ${verb} ${names} (protocol ${protocol}): ${errors[0]?.error.message}; will try again`
      )
      yield* onFailure
    }
    const broken = new Set(errors.map(({ route }) => destinationKey(route.destination)))
    return routes.filter((route) => {
      const key = destinationKey(route.destination)
      if (broken.has(key)) return false
      const had = installed.has(key)
      if (verb === "add") installed.set(key, [route])
      else installed.delete(key)
      return had !== installed.has(key)
    })
  })

  return {
    installed: () => installed,
    load: Effect.map(netlink.routes(protocol), (routes) => {
      installed = byDestination(routes)
    }),
    forget: (key) => installed.delete(key),
    apply: Effect.fnUntraced(function*({ announce, withdraw }) {
      const withdrawn = yield* run("delete", withdraw, netlink.deleteRoutes)
      const announced = yield* run("add", announce, netlink.putRoutes)
      return { announced, withdrawn }
    })
  }
}
