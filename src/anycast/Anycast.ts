/**
 * Anycast that follows readiness: an address of the export set has a kernel route of protocol 201 exactly while a pod that
 * holds it is Ready and not being deleted. BIRD exports those routes with no reload; its export set follows
 * allocations only.
 */
import { Context, Effect, HashMap, Layer, Metric, PubSub, Ref, Schedule, Stream, SubscriptionRef } from "effect"
import { Attachments } from "../attachments/Attachments.ts"
import { Bird } from "../bird/Bird.ts"
import type { IpAddress } from "../domain/Ip.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink, PROTOCOL_EXPORT } from "../netlink/Netlink.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { Allocations } from "../state/Allocations.ts"
import { addressesOf, heldAddresses } from "./addresses.ts"
import type { AnycastAddress, HeldAddress } from "./AnycastAddress.ts"
import { initial } from "./anycastState.ts"
import * as exportProbe from "./exportProbe.ts"
import { destinationKey } from "./holders.ts"
import * as metrics from "./metrics.ts"
import * as reconciler from "./reconciler.ts"
import { byDestination } from "./routePlan.ts"

/** A BIRD that answers later than this is up for nothing: the scrape must not wait. */
const PUBLISH_TIMEOUT = "2 seconds"

export class Anycast extends Context.Service<Anycast, {
  /** Follows pods, allocations and the kernel, and looks at everything every 2 s. */
  readonly run: Effect.Effect<never>
  /** Every anycast and chosen address of the committed allocations, and who has it. */
  readonly held: Effect.Effect<ReadonlyArray<HeldAddress>>
  /** The same with what the kernel and BIRD say now: both are asked. Not for what happens often. */
  readonly status: Effect.Effect<ReadonlyArray<AnycastAddress>>
  /** Emits when {@link status} may have changed by what is done here. */
  readonly changes: Stream.Stream<void>
  /** Sets the gauge of what is announced, which BIRD is asked for; for the scrape. */
  readonly publish: Effect.Effect<void>
  /** The export set that BIRD was given last. */
  readonly exportSet: Effect.Effect<ReadonlyArray<IpAddress>>
}>()("flock/Anycast") {
  static readonly layer: Layer.Layer<
    Anycast,
    never,
    Allocations | Attachments | Bird | KubeApi | Netlink | NodeNetwork
  > = Layer
    .effect(
      Anycast,
      Effect.gen(function*() {
        yield* metrics.started
        const allocations = yield* Allocations
        const attachments = yield* Attachments
        const bird = yield* Bird
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
        const changes = yield* PubSub.sliding<void>(1)
        const worker = yield* reconciler.make(state, probe.offer, PubSub.publish(changes, undefined))

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
          forever("the watch of pods' links", Stream.runForEach(attachments.changes, worker.markReach)),
          forever("the kernel's notifications", Stream.runForEachArray(netlink.changes, worker.markKernel)),
          Effect.repeat(worker.markFull, Schedule.spaced("2 seconds"))
        ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))

        const cache = Effect.gen(function*() {
          return {
            pods: yield* kube.pods,
            synced: yield* kube.podsListed,
            unreachable: yield* attachments.unreachable,
            ...yield* worker.rules
          }
        })

        const status = Effect.gen(function*() {
          const { index, installed: mirror } = yield* Ref.get(state)
          if (index.exportSet.length === 0) return []
          const installed = yield* netlink.routes(PROTOCOL_EXPORT).pipe(
            Effect.map(byDestination),
            Effect.catch((error) =>
              Effect.as(Effect.logWarning(`anycast: the kernel's routes, for the status: ${error.message}`), mirror)
            )
          )
          return addressesOf(index, yield* cache, { installed, exports: yield* bird.exports })
        })

        return Anycast.of({
          run,
          held: Effect.gen(function*() {
            return heldAddresses((yield* Ref.get(state)).index, yield* cache)
          }),
          status,
          changes: Stream.fromPubSub(changes),
          publish: status.pipe(
            Effect.map((all) => all.filter(({ state }) => state === "announced").length),
            Effect.timeoutOrElse({ duration: PUBLISH_TIMEOUT, orElse: () => Effect.succeed(0) }),
            Effect.flatMap((count) => Metric.update(metrics.announced, count))
          ),
          exportSet: Effect.map(Ref.get(state), ({ index }) => index.exportSet)
        })
      })
    )
}
