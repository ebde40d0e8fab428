/** Tells Kubernetes how the node is: the `NetworkUnavailable` condition and NodeConfig's status; and the gauges of both. */
import { Effect, Metric, Option, Stream, SubscriptionRef } from "effect"
import { Bird } from "../bird/Bird.ts"
import { Ipam, type PoolUsage } from "../ipam/Ipam.ts"
import { KubeApi, type NodeCondition, type NodeConfigStatus, type StatusCondition } from "../kube/KubeApi.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"
import { existingAffected, type Facts, newAffected } from "./health.ts"

/** Pure: the Node's condition. `False` means: the network is available. */
export const nodeCondition = (facts: Facts): NodeCondition => {
  const fresh = newAffected(facts)
  const existing = existingAffected(facts)
  if (fresh !== undefined) {
    return {
      status: "True",
      reason: "FlockCannotServe",
      message: existing === undefined ? fresh : `${fresh}; ${existing}`
    }
  }
  if (existing !== undefined) return { status: "True", reason: "FlockNoRoute", message: existing }
  return { status: "False", reason: "FlockReady", message: "flock serves pods and announces their routes" }
}

const condition = (
  type: StatusCondition["type"],
  problem: string | undefined,
  reasons: readonly [good: string, bad: string],
  fine: string
): StatusCondition => ({
  type,
  status: problem === undefined ? "True" : "False",
  reason: problem === undefined ? reasons[0] : reasons[1],
  message: problem ?? fine
})

const usageOf = (pool: PoolUsage | undefined) => pool && { used: pool.used, free: pool.free }

/** Pure: NodeConfig's status. */
export const nodeConfigStatus = (facts: Facts): NodeConfigStatus => {
  const { bird, nodeConfig, usage } = facts
  const established = bird.peers.filter((peer) => peer.state === "Established").length
  const rejected = Option.getOrUndefined(nodeConfig.rejected)
  const birdProblem = !bird.up
    ? "BIRD does not answer on its control socket"
    : bird.stale
    ? `the wanted configuration is not in force: ${bird.configError}`
    : undefined
  const conditions = [
    condition("Ready", rejected?.message ?? newAffected(facts) ?? existingAffected(facts), [
      "FlockReady",
      "FlockNotReady"
    ], "pods are served"),
    ...(bird.enabled
      ? [
        condition(
          "BIRDReady",
          birdProblem,
          ["BIRDRunning", "BIRDNotReady"],
          `BIRD ${bird.version} runs the wanted configuration`
        ),
        condition(
          "BGPEstablished",
          bird.peers.length > 0 && established === 0 ? `0 of ${bird.peers.length} sessions are Established` : undefined,
          ["SessionsEstablished", "NoSession"],
          bird.peers.length === 0
            ? "no peers are configured"
            : `${established} of ${bird.peers.length} sessions are Established`
        )
      ]
      : [])
  ]
  const ipv6 = usageOf(usage.ipv6)
  const ipv4 = usageOf(usage.ipv4)
  return {
    observedGeneration: rejected?.generation ??
      Option.match(nodeConfig.current, { onNone: () => 0, onSome: (config) => config.generation }),
    conditions,
    addresses: { ...(ipv6 ? { ipv6 } : {}), ...(ipv4 ? { ipv4 } : {}) },
    peers: bird.peers.map(({ address, asn, state }) => ({ address, asn, state }))
  }
}

const addresses = Metric.gauge("flock_addresses", { description: "Addresses of the node's prefixes" })
const allocated = Metric.gauge("flock_allocations", { description: "Committed allocations" })

export const make = Effect.gen(function*() {
  const allocations = yield* Allocations
  const bird = yield* Bird
  const ipam = yield* Ipam
  const kube = yield* KubeApi

  const facts = Effect.gen(function*() {
    const nodeConfig = yield* SubscriptionRef.get(kube.nodeConfig)
    const usage = Option.isSome(nodeConfig.current) ? yield* ipam.usage(nodeConfig.current.value.spec) : {}
    return { nodeConfig, usage, bird: yield* bird.lastStatus } satisfies Facts
  })

  const report = Effect.gen(function*() {
    const now = yield* facts
    yield* kube.setStatus(nodeConfigStatus(now))
    return nodeCondition(now)
  })

  let last: string | undefined
  const send = (always: boolean) =>
    report.pipe(
      Effect.flatMap((condition) => {
        const text = JSON.stringify(condition)
        if (!always && text === last) return Effect.void
        return Effect.andThen(kube.setNodeCondition(condition), Effect.sync(() => void (last = text)))
      }),
      Effect.catch((error) => Effect.logWarning(`could not report the node's state: ${error.message}`))
    )

  /** Sets the gauges; for the scrape. */
  const publish = Effect.gen(function*() {
    const { usage } = yield* facts
    for (const [family, pool] of Object.entries(usage)) {
      yield* Metric.update(Metric.withAttributes(addresses, { family, state: "used" }), pool.used)
      yield* Metric.update(Metric.withAttributes(addresses, { family, state: "free" }), pool.free)
    }
    yield* Metric.update(allocated, (yield* allocations.list).length)
  })

  const triggers = Stream.mergeAll([
    Stream.map(SubscriptionRef.changes(kube.nodeConfig), () => undefined),
    Stream.map(bird.statusChanges, () => undefined),
    allocations.changes
  ], { concurrency: "unbounded" })

  /** Every 60 s, and at once on change. The first round waits for BIRD's own word. */
  const run = bird.status.pipe(
    Effect.andThen(Effect.all([
      every("60 seconds")(send(true)),
      triggers.pipe(Stream.buffer({ capacity: 1, strategy: "sliding" }), Stream.runForEach(() => send(false)))
    ], { concurrency: "unbounded", discard: true })),
    Effect.andThen(Effect.never)
  )

  return {
    run,
    publish,
    /** Why no ADD can be served; undefined if it can. */
    notServing: Effect.map(facts, newAffected),
    /** Why the node is not fully in the network: the above, or no way to a router. */
    notReady: Effect.map(facts, (now) => newAffected(now) ?? existingAffected(now))
  }
})
