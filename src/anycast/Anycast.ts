/**
 * Anycast that follows readiness: an address of the export set has a kernel route of protocol 201 exactly while a pod that
 * holds it is Ready and not being deleted. BIRD exports those routes with no reload; its export set follows
 * allocations only.
 */
import { Context, Effect, HashMap, Layer, Ref, Schedule, Stream, SubscriptionRef } from "effect"
import type { Bird } from "../bird/Bird.ts"
import type { IpAddress } from "../domain/Ip.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink } from "../netlink/Netlink.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { Allocations } from "../state/Allocations.ts"
import { addressesOf } from "./addresses.ts"
import type { AnycastAddress } from "./AnycastAddress.ts"
import { initial } from "./anycastState.ts"
import * as exportProbe from "./exportProbe.ts"
import { destinationKey } from "./holders.ts"
import * as reconciler from "./reconciler.ts"

export class Anycast extends Context.Service<Anycast, {
  /** Follows pods, allocations and the kernel, and looks at everything every 2 s. */
  readonly run: Effect.Effect<never>
  /** Every anycast and chosen address of the committed allocations. */
  readonly status: Effect.Effect<ReadonlyArray<AnycastAddress>>
  /** The export set that BIRD was given last. */
  readonly exportSet: Effect.Effect<ReadonlyArray<IpAddress>>
}>()("flock/Anycast") {
  static readonly layer: Layer.Layer<Anycast, never, Allocations | Bird | KubeApi | Netlink | NodeNetwork> = Layer
    .effect(
      Anycast,
      Effect.gen(function*() {
        const allocations = yield* Allocations
        const kube = yield* KubeApi
        const netlink = yield* Netlink
        const network = yield* NodeNetwork
        const state = yield* Ref.make(initial)
        const probe = yield* exportProbe.make((flip) =>
          Effect.map(
            Ref.get(state),
            ({ installed }) => HashMap.has(installed, destinationKey(flip.destination)) === flip.exported
          )
        )
        const worker = yield* reconciler.make(state, probe.offer)

        /** A source that ends or fails is opened again; what was missed meanwhile is found by a full pass. */
        const forever = <E>(name: string, source: Effect.Effect<void, E>) =>
          source.pipe(
            Effect.catchCause((cause) => Effect.logWarning(`anycast: ${name} failed; opening it again`, cause)),
            Effect.andThen(Effect.sleep("1 second")),
            Effect.andThen(worker.markFull),
            Effect.forever
          )

        const run = Effect.all([
          worker.work,
          worker.retries,
          worker.leaves,
          probe.run,
          forever(
            "the watch of pods",
            Stream.runForEachArray(kube.podChanges, (changes) => worker.markPods(changes.map(({ pod }) => pod)))
          ),
          forever(
            "the watch of allocations",
            Stream.runForEachArray(allocations.changes, () => worker.markAllocations)
          ),
          forever(
            "the watch of the node's network",
            Stream.runForEach(
              Stream.merge(network.changes, Stream.drop(SubscriptionRef.changes(kube.nodeConfig), 1)),
              () => worker.markFull
            )
          ),
          forever("the kernel's notifications", Stream.runForEachArray(netlink.changes, worker.markKernel)),
          Effect.repeat(worker.markFull, Schedule.spaced("2 seconds"))
        ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))

        return Anycast.of({
          run,
          status: Effect.gen(function*() {
            const cache = { pods: yield* kube.pods, synced: yield* kube.podsListed }
            return addressesOf(yield* Ref.get(state), { ...cache, ...yield* worker.rules })
          }),
          exportSet: Effect.map(Ref.get(state), ({ index }) => index.exportSet)
        })
      })
    )
}
