/**
 * The metric of BIRD's routes in the kernel, and the end of those that still have the other one. BIRD restarts its kernel
 * protocol when the metric changes, and leaves what it had installed there for ever (seen with 2.0.12): it deletes by
 * destination and its own metric.
 */
import { Effect, Stream, SubscriptionRef } from "effect"
import { formatCidr } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { BirdRoute, Netlink } from "../netlink/Netlink.ts"
import { monotonicMillis } from "../process/monotonic.ts"

/** Above every metric that a network manager gives the node's own routes: they go first. */
const LAST = 65535
/** Below every metric that a network manager gives, but for none at all (IPv4's 0): learned routes go first. */
export const FIRST = 16

export const kernelMetric = (spec: NodeConfigSpec | undefined): number => spec?.bgp?.preferLearned ? FIRST : LAST

/** How soon those that wait are looked at again. */
const AGAIN = "500 millis"
/** … and after the kernel refused. */
const LATER = "15 seconds"

/** Milliseconds that a route of the other metric may stay without one of this metric: BIRD, restarted, has yet to learn it. */
const PATIENCE = 60_000

/** Routes of the metric that is not in force: those that can go, and those that have to wait for their successors. */
export const outdated = (
  routes: ReadonlyArray<BirdRoute>,
  metric: number,
  patient: boolean
): { readonly gone: ReadonlyArray<BirdRoute>; readonly waiting: ReadonlyArray<BirdRoute> } => {
  const inForce = new Set(routes.filter((it) => it.metric === metric).map(({ destination }) => formatCidr(destination)))
  const old = routes.filter((it) => it.metric !== metric && (it.metric === LAST || it.metric === FIRST))
  const replaced = (it: BirdRoute) => !patient || inForce.has(formatCidr(it.destination))
  return { gone: old.filter(replaced), waiting: old.filter((it) => !replaced(it)) }
}

const retire = Effect.fnUntraced(function*(netlink: Netlink["Service"], metric: number) {
  const start = yield* monotonicMillis
  const pass = Effect.gen(function*() {
    const patient = (yield* monotonicMillis) - start < PATIENCE
    const { gone, waiting } = outdated(yield* netlink.birdRoutes, metric, patient)
    if (gone.length > 0) {
      yield* netlink.deleteBirdRoutes(gone)
      yield* Effect.logInfo(`removed ${gone.length} routes of BIRD's whose metric is not ${metric} any more`)
    }
    if (waiting.length > 0) yield* Effect.sleep(AGAIN)
    return waiting.length > 0
  }).pipe(
    Effect.catch(({ message }) =>
      Effect.logWarning(`routes of BIRD's former metric stay for now: ${message}`).pipe(
        Effect.andThen(Effect.sleep(LATER)),
        Effect.as(true)
      )
    )
  )
  yield* Effect.repeat(pass, { while: (again) => again })
})

/** `runsWith` says which metric BIRD has; `run` looks once for each that it came to have, after a start of the agent too. */
export const makeRetire = Effect.fnUntraced(function*(netlink: Netlink["Service"]) {
  const metrics = yield* SubscriptionRef.make<number | undefined>(undefined)
  return {
    runsWith: (metric: number) => SubscriptionRef.set(metrics, metric),
    run: SubscriptionRef.changes(metrics).pipe(
      Stream.changes,
      Stream.switchMap((metric) => metric === undefined ? Stream.empty : Stream.fromEffect(retire(netlink, metric))),
      Stream.runDrain
    )
  }
})
