/** Tells Kubernetes how the node is: the `NetworkUnavailable` condition, NodeConfig's status, an Event; and the gauges of both. */
import { Context, Effect, Layer, Ref, Stream, SubscriptionRef } from "effect"
import { Anycast } from "../anycast/Anycast.ts"
import type { AnycastAddress } from "../anycast/AnycastAddress.ts"
import { Attachments } from "../attachments/Attachments.ts"
import { Bird } from "../bird/Bird.ts"
import { AntiSpoofing } from "../firewall/AntiSpoofing.ts"
import type { Ipam } from "../ipam/Ipam.ts"
import { KubeApi, type NodeCondition } from "../kube/KubeApi.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"
import { nodeCondition, nodeConfigStatus } from "./conditions.ts"
import { makeFacts } from "./facts.ts"
import * as Grace from "./grace.ts"
import { exhausted, existingAffected, type Facts, newAffected, notReady } from "./health.ts"
import * as metrics from "./metrics.ts"

const isSame = (a: NodeCondition, b: NodeCondition | undefined): boolean =>
  a.status === b?.status && a.reason === b.reason && a.message === b.message

const say = ({ message, reason, status }: NodeCondition): Effect.Effect<void> =>
  Effect.logWithLevel(status === "True" ? "Warn" : "Info")(`NetworkUnavailable=${status}: ${message}`).pipe(
    Effect.annotateLogs({ reason })
  )

/** Kernel and BIRD are asked, so not for each of many changes. */
const followAnnouncements = Effect.fnUntraced(function*(
  addresses: Ref.Ref<ReadonlyArray<AnycastAddress> | undefined>,
  report: Effect.Effect<void>
) {
  const anycast = yield* Anycast
  const bird = yield* Bird
  // Once at the start too: an agent before this one may have said what is not so any more.
  return Stream.mergeAll([
    Stream.make(undefined),
    anycast.changes,
    Stream.map(bird.statusChanges, () => undefined)
  ], { concurrency: "unbounded" }).pipe(
    Stream.debounce("1 second"),
    Stream.runForEach(() => Effect.flatMap(anycast.status, (all) => Effect.andThen(Ref.set(addresses, all), report)))
  )
})

const make = Effect.gen(function*() {
  const allocations = yield* Allocations
  const antiSpoofing = yield* AntiSpoofing
  const attachments = yield* Attachments
  const bird = yield* Bird
  const kube = yield* KubeApi
  const network = yield* NodeNetwork
  /** The condition that the API server took last. */
  const reported = yield* Ref.make<NodeCondition | undefined>(undefined)
  /** The one that was logged last. */
  const said = yield* Ref.make<NodeCondition | undefined>(undefined)
  /** What is known to be full or in conflict, so that an Event tells of it once. */
  const told = yield* Ref.make<ReadonlyArray<string>>([])
  const reach = yield* Ref.make(Grace.initial(false))
  const addresses = yield* Ref.make<ReadonlyArray<AnycastAddress> | undefined>(undefined)

  const facts = yield* makeFacts

  const tell = Effect.fnUntraced(function*(now: Facts) {
    const before = yield* Ref.getAndSet(told, [...exhausted(now), ...now.conflicts])
    for (
      const [reason, messages] of [["AddressesExhausted", exhausted(now)], ["PrefixConflict", now.conflicts]] as const
    ) {
      for (const message of messages) {
        if (before.includes(message)) continue
        if (reason === "PrefixConflict") yield* Effect.logWarning(`${message}: no new pod gets an address of it`)
        yield* kube.event({ on: { kind: "Node" }, type: "Warning", reason, message })
      }
    }
  })

  const graceLeft = Effect.fnUntraced(function*(now: Facts) {
    const millis = yield* monotonicMillis
    const cutOff = existingAffected(now) !== undefined
    const seen = { cutOff, well: !cutOff && newAffected(now) === undefined }
    return Grace.left(yield* Ref.updateAndGet(reach, (before) => Grace.step(before, seen, millis)), millis)
  })

  const report = Effect.fnUntraced(function*(options: { readonly repeat: boolean }) {
    const now = yield* facts
    yield* tell(now)
    const condition = nodeCondition(now, { grace: (yield* graceLeft(now)) > 0 })
    if (!isSame(condition, yield* Ref.getAndSet(said, condition))) yield* say(condition)
    yield* kube.setStatus(nodeConfigStatus(now, yield* Ref.get(addresses)))
    if (!options.repeat && isSame(condition, yield* Ref.get(reported))) return
    yield* kube.setNodeCondition(condition)
    yield* Ref.set(reported, condition)
  }, Effect.catch((error) => Effect.logWarning(`could not report the node's state: ${error.message}`)))

  /** Emits when the grace is over, if there is one. */
  const afterGrace = Stream.fromEffect(facts.pipe(
    Effect.flatMap(graceLeft),
    Effect.flatMap((millis) => millis > 0 ? Effect.sleep(millis) : Effect.never)
  ))

  const changes = Stream.mergeAll([
    Stream.map(SubscriptionRef.changes(kube.nodeConfig), () => undefined),
    Stream.map(bird.statusChanges, () => undefined),
    Stream.map(antiSpoofing.statusChanges, () => undefined),
    Stream.map(attachments.changes, () => undefined),
    kube.fleet === undefined ? Stream.empty : Stream.map(SubscriptionRef.changes(kube.fleet.trouble), () => undefined),
    network.changes
  ], { concurrency: "unbounded" }).pipe(
    Stream.switchMap(() => Stream.concat(Stream.make(undefined), afterGrace)),
    Stream.merge(allocations.changes)
  )

  const announcements = yield* followAnnouncements(addresses, report({ repeat: false }))

  const run = bird.status.pipe(
    Effect.andThen(allocations.list),
    // Allocations of this boot: an agent before this one served, and this start may be a roll-out.
    Effect.flatMap((served) => Ref.set(reach, Grace.initial(served.length > 0))),
    Effect.andThen(Effect.all([
      every("60 seconds")(report({ repeat: true })),
      announcements,
      changes.pipe(
        Stream.buffer({ capacity: 1, strategy: "sliding" }),
        Stream.runForEach(() => report({ repeat: false }))
      )
    ], { concurrency: "unbounded", discard: true })),
    Effect.andThen(Effect.never)
  )

  return NodeReporter.of({
    run,
    publish: Effect.flatMap(
      Effect.all([facts, allocations.list]),
      ([now, list]) => metrics.publish(now, list.length)
    ),
    notServing: Effect.map(facts, newAffected),
    notReady: Effect.map(facts, notReady)
  })
})

export class NodeReporter extends Context.Service<NodeReporter, {
  /** Reports every 60 s, and at once on change. The first round waits for BIRD's own word. Run it once. */
  readonly run: Effect.Effect<never>
  /** Sets the gauges; for the scrape. */
  readonly publish: Effect.Effect<void>
  /** Why no ADD can be served; undefined if it can. */
  readonly notServing: Effect.Effect<string | undefined>
  /** Why the node is not fully in the network: the above, no way to a router, or an API server that is not heard. */
  readonly notReady: Effect.Effect<string | undefined>
}>()("flock/NodeReporter") {
  static readonly layer: Layer.Layer<
    NodeReporter,
    never,
    Allocations | Anycast | AntiSpoofing | Attachments | Bird | Ipam | KubeApi | NodeNetwork
  > = Layer
    .effect(
      NodeReporter,
      make
    )

  /** Members that a test does not give die when they are used. */
  static readonly layerTest = (members: Partial<NodeReporter["Service"]>) => Layer.mock(NodeReporter, members)
}
