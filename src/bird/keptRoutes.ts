/**
 * What was learned stays in the kernel while BIRD is started anew. BIRD itself keeps it until it has heard the End-of-RIB of each
 * router (RFC 4724); FRR 8.4 sends that a second before its routes, so BIRD took the default route away for a second (seen).
 * The copies have a metric of their own, above BIRD's: they count only where BIRD's are gone.
 */
import { Effect, Queue, Stream, SubscriptionRef } from "effect"
import { formatCidr } from "../domain/Ip.ts"
import { type HostRoute, type Netlink, PROTOCOL_BIRD, PROTOCOL_KEPT } from "../netlink/Netlink.ts"
import type { State } from "./birdEvents.ts"

/** After BIRD came back: its own routes of before may be there still, and go. */
const SETTLED = "15 seconds"
/** … and what no router teaches again by then is gone. */
const FORGOTTEN = "45 seconds"

/** Routes over gateways; BIRD learns no others. */
export const copies = (routes: ReadonlyArray<HostRoute>): ReadonlyArray<HostRoute> =>
  routes.filter(({ nextHops }) => nextHops.length > 0 && nextHops.every(({ via }) => via !== undefined))
    .map((route) => ({ ...route, protocol: PROTOCOL_KEPT }))

/** Those of the kept that BIRD has again. */
export const learnedAgain = (
  kept: ReadonlyArray<HostRoute>,
  learned: ReadonlyArray<HostRoute>
): ReadonlyArray<HostRoute> => {
  const there = new Set(learned.map(({ destination }) => formatCidr(destination)))
  return kept.filter(({ destination }) => there.has(formatCidr(destination)))
}

export const makeKeep = Effect.fnUntraced(function*(
  netlink: Netlink["Service"],
  state: SubscriptionRef.SubscriptionRef<State>
) {
  /** The generation of the connection that was lost. */
  const losses = yield* Queue.sliding<number>(1)

  const keep = (which: (route: HostRoute) => boolean, why: string) =>
    Effect.gen(function*() {
      const wanted = copies(yield* netlink.routes(PROTOCOL_BIRD)).filter(which)
      if (wanted.length === 0) return
      const failed = yield* netlink.putRoutes(wanted)
      const kept = wanted.length - failed.length
      yield* Effect.logInfo(`${why}: ${kept} routes that BIRD has learned are kept until it has them again`)
    }).pipe(Effect.catch(({ message }) => Effect.logWarning(`learned routes cannot be kept for BIRD: ${message}`)))

  const lost = Effect.gen(function*() {
    const { generation } = yield* SubscriptionRef.get(state)
    yield* keep(() => true, "BIRD is gone")
    yield* Queue.offer(losses, generation)
  })

  /**
   * A roll-out ends BIRD together with the agent. Nobody looks after the copies then, so they are of default routes only:
   * none of them can be in the way of a better route.
   */
  const leave = keep(({ destination }) => destination.prefix === 0, "the agent ends")

  const remove = (which: (kept: ReadonlyArray<HostRoute>) => Effect.Effect<ReadonlyArray<HostRoute>, unknown>) =>
    netlink.routes(PROTOCOL_KEPT).pipe(
      Effect.flatMap((kept) => kept.length === 0 ? Effect.succeed([]) : which(kept)),
      Effect.flatMap((gone) => gone.length === 0 ? Effect.void : netlink.deleteRoutes(gone)),
      Effect.ignore({ log: true })
    )

  const letGo = (generation: number) =>
    SubscriptionRef.changes(state).pipe(
      Stream.filter(({ generation: now, status }) => status.up && now !== generation),
      Stream.take(1),
      Stream.runDrain,
      Effect.andThen(Effect.sleep(SETTLED)),
      Effect.andThen(
        remove((kept) => Effect.map(netlink.routes(PROTOCOL_BIRD), (learned) => learnedAgain(kept, learned)))
      ),
      Effect.andThen(Effect.sleep(FORGOTTEN)),
      Effect.andThen(remove(Effect.succeed))
    )

  return {
    lost,
    /** First those of the agent before. */
    run: Stream.concat(Stream.succeed(0), Stream.fromQueue(losses)).pipe(
      Stream.switchMap((generation) => Stream.fromEffect(letGo(generation))),
      Stream.runDrain,
      Effect.onInterrupt(() => leave)
    )
  }
})
