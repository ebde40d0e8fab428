/** Tells Kubernetes how the node is: the `NetworkUnavailable` condition and NodeConfig's status; and the gauges of both. */
import { Context, Effect, Layer, Metric, Option, Ref, Stream, SubscriptionRef } from "effect"
import { Bird } from "../bird/Bird.ts"
import { AntiSpoofing } from "../firewall/AntiSpoofing.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi, type NodeCondition } from "../kube/KubeApi.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"
import { nodeCondition, nodeConfigStatus } from "./conditions.ts"
import { existingAffected, type Facts, newAffected } from "./health.ts"
import * as metrics from "./metrics.ts"

const isSame = (a: NodeCondition, b: NodeCondition | undefined): boolean =>
  a.status === b?.status && a.reason === b.reason && a.message === b.message

const make = Effect.gen(function*() {
  const allocations = yield* Allocations
  const antiSpoofing = yield* AntiSpoofing
  const bird = yield* Bird
  const ipam = yield* Ipam
  const kube = yield* KubeApi
  /** The condition that the API server took last. */
  const reported = yield* Ref.make<NodeCondition | undefined>(undefined)

  const facts = Effect.gen(function*() {
    const nodeConfig = yield* SubscriptionRef.get(kube.nodeConfig)
    const usage = Option.isSome(nodeConfig.current) ? yield* ipam.usage(nodeConfig.current.value.spec) : {}
    return { nodeConfig, usage, bird: yield* bird.lastStatus, antiSpoofing: yield* antiSpoofing.status } satisfies Facts
  })

  const report = Effect.fnUntraced(function*(options: { readonly repeat: boolean }) {
    const now = yield* facts
    yield* kube.setStatus(nodeConfigStatus(now))
    const condition = nodeCondition(now)
    if (!options.repeat && isSame(condition, yield* Ref.get(reported))) return
    yield* kube.setNodeCondition(condition)
    yield* Ref.set(reported, condition)
  }, Effect.catch((error) => Effect.logWarning(`could not report the node's state: ${error.message}`)))

  const publish = Effect.gen(function*() {
    const { usage } = yield* facts
    for (const [family, pool] of Object.entries(usage)) {
      yield* Metric.update(Metric.withAttributes(metrics.addresses, { family, state: "used" }), pool.used)
      yield* Metric.update(Metric.withAttributes(metrics.addresses, { family, state: "free" }), pool.free)
    }
    yield* Metric.update(metrics.allocated, (yield* allocations.list).length)
  })

  const changes = Stream.mergeAll([
    Stream.map(SubscriptionRef.changes(kube.nodeConfig), () => undefined),
    Stream.map(bird.statusChanges, () => undefined),
    Stream.map(antiSpoofing.statusChanges, () => undefined),
    allocations.changes
  ], { concurrency: "unbounded" })

  const run = bird.status.pipe(
    Effect.andThen(Effect.all([
      every("60 seconds")(report({ repeat: true })),
      changes.pipe(
        Stream.buffer({ capacity: 1, strategy: "sliding" }),
        Stream.runForEach(() => report({ repeat: false }))
      )
    ], { concurrency: "unbounded", discard: true })),
    Effect.andThen(Effect.never)
  )

  return NodeReporter.of({
    run,
    publish,
    notServing: Effect.map(facts, newAffected),
    notReady: Effect.map(facts, (now) => newAffected(now) ?? existingAffected(now))
  })
})

export class NodeReporter extends Context.Service<NodeReporter, {
  /** Reports every 60 s, and at once on change. The first round waits for BIRD's own word. Run it once. */
  readonly run: Effect.Effect<never>
  /** Sets the gauges; for the scrape. */
  readonly publish: Effect.Effect<void>
  /** Why no ADD can be served; undefined if it can. */
  readonly notServing: Effect.Effect<string | undefined>
  /** Why the node is not fully in the network: the above, or no way to a router. */
  readonly notReady: Effect.Effect<string | undefined>
}>()("flock/NodeReporter") {
  static readonly layer: Layer.Layer<NodeReporter, never, Allocations | AntiSpoofing | Bird | Ipam | KubeApi> = Layer
    .effect(
      NodeReporter,
      make
    )

  /** Members that a test does not give die when they are used. */
  static readonly layerTest = (members: Partial<NodeReporter["Service"]>) => Layer.mock(NodeReporter, members)
}
