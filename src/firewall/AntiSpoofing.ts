/** Keeps the {@link Firewall} at what NodeConfig, allocations and pods want, and says how it stands. */
import { Context, Effect, Layer, Option, Ref, Schema, Stream, SubscriptionRef } from "effect"
import type { Allocation } from "../domain/Allocation.ts"
import { podKey } from "../domain/Pod.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"
import { type Drops, Firewall } from "./Firewall.ts"
import { format } from "./metrics.ts"
import { REASONS } from "./ruleset.ts"
import { wantedOf } from "./wanted.ts"

export const AntiSpoofingStatus = Schema.Struct({
  /** `failed`: the kernel's tables are not what is wanted; `problem` says why. */
  state: Schema.Literals(["on", "off", "failed"]),
  problem: Schema.optionalKey(Schema.String),
  /** Pods that may send from any address, as `namespace/name`. */
  exempt: Schema.Array(Schema.String)
})
export type AntiSpoofingStatus = typeof AntiSpoofingStatus.Type

/** Packets of one pod that were dropped. */
export const PodDrops = Schema.Struct({
  namespace: Schema.String,
  pod: Schema.String,
  hostIfName: Schema.String,
  /** `spoofed`: not its own source; `forbidden`: spoke as a router; `flooding`: asked for too many neighbours. */
  reason: Schema.Literals(REASONS),
  packets: Schema.Number
})
export type PodDrops = typeof PodDrops.Type

/** For tables that somebody changed unseen, and counts of links that are gone. */
const TICK = "15 seconds"

/** Between two looks: whoever else changes our tables again and again does not keep the agent busy. */
const PAUSE = "100 millis"

const podDrops = (drops: ReadonlyArray<Drops>, allocations: ReadonlyArray<Allocation>): ReadonlyArray<PodDrops> => {
  const owners = new Map(allocations.map((allocation) => [allocation.hostIfName, allocation]))
  return drops.flatMap(({ ifName, packets, reason }) => {
    const owner = owners.get(ifName)
    return owner === undefined
      ? []
      : [{ namespace: owner.pod.namespace, pod: owner.pod.name, hostIfName: ifName, reason, packets }]
  })
}

const make = Effect.gen(function*() {
  const allocations = yield* Allocations
  const firewall = yield* Firewall
  const kube = yield* KubeApi
  const status = yield* SubscriptionRef.make<AntiSpoofingStatus>({ state: "on", exempt: [] })
  /** What the kernel was given last; undefined after a failure. */
  const given = yield* Ref.make<string | undefined>(undefined)

  const wanted = Effect.gen(function*() {
    const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
    const all = yield* allocations.list
    const pods = (yield* kube.podsListed) ? yield* kube.pods : undefined
    return { all, wanted: wantedOf(Option.getOrUndefined(current)?.spec, all, pods) }
  })

  const apply = Effect.fnUntraced(function*(options: { readonly always: boolean }) {
    const { all, wanted: now } = yield* wanted
    const text = JSON.stringify(now, (_, value) => typeof value === "bigint" ? String(value) : value)
    if (!options.always && text === (yield* Ref.get(given))) return
    const before = yield* SubscriptionRef.get(status)
    const result = yield* Effect.result(firewall.apply(now))
    const exempt = now.exempt === undefined
      ? before.exempt
      : all.filter(({ hostIfName }) => now.exempt?.includes(hostIfName)).map(({ pod }) => podKey(pod))
    if (result._tag === "Failure") {
      yield* Ref.set(given, undefined)
      const problem = result.failure.message
      if (before.problem !== problem) yield* Effect.logError(`pods' packets are not checked: ${problem}`)
      return yield* SubscriptionRef.set(status, { state: "failed", problem, exempt })
    }
    const last = yield* Ref.getAndSet(given, text)
    // A first look, and one that put right what was no change of ours.
    if (result.success && last === text) yield* Effect.logWarning("somebody changed flock's nftables tables: restored")
    if (before.state === "failed") yield* Effect.logInfo("pods' packets are checked again")
    yield* SubscriptionRef.set(status, { state: now.antiSpoofing ? "on" : "off", exempt })
  })

  const drops = Effect.gen(function*() {
    const counted = yield* Effect.catch(firewall.drops, () => Effect.succeed<ReadonlyArray<Drops>>([]))
    return podDrops(counted, yield* allocations.list)
  })

  /** Counts of links that are gone would be the next link's of that name. */
  const forgetGone = Effect.gen(function*() {
    const links = new Set((yield* allocations.list).map(({ hostIfName }) => hostIfName))
    const counted = yield* firewall.drops
    yield* firewall.forget(counted.filter(({ ifName }) => !links.has(ifName)))
  }).pipe(Effect.catch(() => Effect.void))

  const follow = <E>(changes: Stream.Stream<unknown, E>, always: boolean) =>
    changes.pipe(
      Stream.buffer({ capacity: 1, strategy: "sliding" }),
      Stream.runForEach(() => Effect.andThen(apply({ always }), Effect.sleep(PAUSE))),
      Effect.catch(() => Effect.void),
      Effect.andThen(Effect.sleep("1 second")),
      Effect.forever
    )

  const run = Effect.all([
    follow(firewall.changes, true),
    follow(
      Stream.mergeAll<unknown, never, never>([
        SubscriptionRef.changes(kube.nodeConfig),
        allocations.changes,
        kube.podChanges
      ], {
        concurrency: "unbounded"
      }),
      false
    ),
    every(TICK)(Effect.andThen(apply({ always: true }), forgetGone))
  ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))

  const metrics = Effect.gen(function*() {
    const { all, wanted: now } = yield* wanted
    return yield* format(now.antiSpoofing ? all.map(({ pod }) => pod) : [], yield* drops)
  })

  return AntiSpoofing.of({
    enforce: apply({ always: true }),
    run,
    status: SubscriptionRef.get(status),
    statusChanges: Stream.changesWith(
      SubscriptionRef.changes(status),
      (a, b) => a.state === b.state && a.problem === b.problem
    ),
    drops,
    metrics
  })
})

export class AntiSpoofing extends Context.Service<AntiSpoofing, {
  /** Once, before the first pod is served. What fails is in `status` and tried again by `run`. */
  readonly enforce: Effect.Effect<void>
  /** Follows all that it depends on, the kernel's tables too. Run it once. */
  readonly run: Effect.Effect<never>
  readonly status: Effect.Effect<AntiSpoofingStatus>
  readonly statusChanges: Stream.Stream<AntiSpoofingStatus>
  /** Of pods that are there; none where the kernel cannot say. */
  readonly drops: Effect.Effect<ReadonlyArray<PodDrops>>
  /** The same, in Prometheus' text format. */
  readonly metrics: Effect.Effect<string>
}>()("flock/AntiSpoofing") {
  static readonly layer: Layer.Layer<AntiSpoofing, never, Allocations | Firewall | KubeApi> = Layer.effect(
    AntiSpoofing,
    make
  )

  /** On, and nothing dropped; says what a test gives it. */
  static readonly layerTest = (members: Partial<AntiSpoofing["Service"]> = {}): Layer.Layer<AntiSpoofing> =>
    Layer.succeed(AntiSpoofing, {
      enforce: Effect.void,
      run: Effect.never,
      status: Effect.succeed<AntiSpoofingStatus>({ state: "on", exempt: [] }),
      statusChanges: Stream.never,
      drops: Effect.succeed([]),
      metrics: Effect.succeed(""),
      ...members
    })
}
