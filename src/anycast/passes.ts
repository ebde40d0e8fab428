/** Reads what a look needs, applies its plan to the kernel, and gives the state what came of it. */
import { Effect, HashMap, Metric, Option, Ref, SubscriptionRef } from "effect"
import { Attachments } from "../attachments/Attachments.ts"
import { NOTHING_OCCUPIED } from "../domain/occupied.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink, PROTOCOL_EXPORT, PROTOCOL_LINGERING } from "../netlink/Netlink.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { Allocations } from "../state/Allocations.ts"
import type { Event, State } from "./anycastState.ts"
import * as metrics from "./metrics.ts"
import { lacksLink, type Look, lookOf, needsFullPass, planPass, takeBatch } from "./pass.ts"
import { allKeys } from "./routePlan.ts"
import { applyPlan } from "./routeTables.ts"
import { occupiedOf } from "./troubles.ts"

export const make = Effect.fnUntraced(function*(
  state: Ref.Ref<State>,
  dispatch: (event: Event, seen?: Look["seen"]) => Effect.Effect<void>
) {
  const allocations = yield* Allocations
  const attachments = yield* Attachments
  const netlink = yield* Netlink
  const kube = yield* KubeApi
  const network = yield* NodeNetwork

  const readAllocations = Effect.flatMap(
    allocations.list,
    (allocations) => dispatch({ _tag: "AllocationsRead", allocations })
  )
  const readLinks = Effect.flatMap(netlink.links, (links) => dispatch({ _tag: "LinksRead", links }))
  const readRoutes = Effect.all({
    installed: netlink.routes(PROTOCOL_EXPORT),
    lingering: netlink.routes(PROTOCOL_LINGERING)
  }).pipe(Effect.flatMap((routes) => dispatch({ _tag: "RoutesRead", ...routes })))

  /** By which announcements are judged now. */
  const rules = Effect.gen(function*() {
    const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
    const spec = Option.getOrUndefined(current)?.spec
    return { spec, occupied: spec === undefined ? NOTHING_OCCUPIED : yield* network.occupied(spec) }
  })

  const pass = Effect.fnUntraced(function*({ keys, seen }: Look) {
    if (lacksLink(yield* Ref.get(state), keys)) yield* readLinks
    const cache = {
      pods: yield* kube.pods,
      synced: yield* kube.podsListed,
      unreachable: yield* attachments.unreachable,
      ...yield* rules
    }
    const plan = planPass(yield* Ref.get(state), cache, keys, yield* monotonicMillis)
    const installed = yield* applyPlan(netlink, plan.installed)
    yield* dispatch({ _tag: "Installed", taken: installed.taken }, seen)
    yield* Metric.update(metrics.installed, HashMap.size((yield* Ref.get(state)).installed))
    const lingering = yield* applyPlan(netlink, plan.lingering)
    yield* dispatch({ _tag: "Lingering", taken: lingering.taken, leaveAt: plan.leaveAt })
    const occupied = occupiedOf(keys, (yield* Ref.get(state)).index, cache)
    const refused = [...installed.refused, ...lingering.refused]
    yield* dispatch({ _tag: "PassEnded", keys, occupied, refused })
  })

  /** Everything that was marked since the last batch. */
  const batch = Effect.gen(function*() {
    const batch = yield* Ref.modify(state, takeBatch)
    const { loaded } = yield* Ref.get(state)
    if (batch.allocations || !loaded) yield* readAllocations
    // A route that vanishes is most often the first sign of its link's end.
    if (batch.routes.size > 0) yield* readLinks
    const look = lookOf(yield* Ref.get(state), batch)
    // Before a full pass: readiness does not wait for the kernel's tables.
    if (loaded && look.keys.size > 0) yield* pass(look)
    if (!needsFullPass(yield* Ref.get(state), batch)) return
    if ((yield* Ref.get(state)).index.byDestination.size > 0) yield* readLinks
    yield* readRoutes
    const { index, installed, lingering } = yield* Ref.get(state)
    yield* pass({ keys: allKeys(index, installed, lingering), seen: look.seen })
  })

  return { batch, rules }
})
