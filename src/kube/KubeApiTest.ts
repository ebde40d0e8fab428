/**
 * {@link KubeApi} in memory, for tests: what Kubernetes says is set through {@link KubeApiTest}, and what flock wrote is
 * read from it. Pods go through the same cache as those of the real layers, so that a repeat is no change.
 */
import { Context, Effect, Layer, Option, PubSub, Redacted, Ref, Stream, SubscriptionRef } from "effect"
import type { SecretKeyRef } from "../domain/NodeConfig.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import {
  type EventOn,
  KubeApi,
  KubeUnavailable,
  type NodeCondition,
  type NodeConfigState,
  type NodeConfigStatus,
  type PodChange
} from "./KubeApi.ts"
import { type Pods, step } from "./podCache.ts"
import type { Signal } from "./reflector.ts"

const NO_NODE_CONFIG: NodeConfigState = { current: Option.none(), rejected: Option.none() }

export class KubeApiTest extends Context.Service<KubeApiTest, {
  /** What is left out is as with no NodeConfig. */
  readonly setNodeConfig: (state: Partial<NodeConfigState>) => Effect.Effect<void>
  /** Adds or replaces; every difference is published in `podChanges`. */
  readonly setPods: (...pods: ReadonlyArray<PodInfo>) => Effect.Effect<void>
  readonly removePods: (...pods: ReadonlyArray<PodInfo>) => Effect.Effect<void>
  /** Published in `secretChanges`; `undefined`: there is no such key. */
  readonly setSecret: (ref: SecretKeyRef, value: string | undefined) => Effect.Effect<void>
  /** Until `undefined` is given, whatever needs the API server fails with this message. */
  readonly setUnavailable: (message: string | undefined) => Effect.Effect<void>
  /** Both true at first. */
  readonly setSynced: (synced: { readonly synced?: boolean; readonly podsListed?: boolean }) => Effect.Effect<void>
  /** Every one that was set, in order. */
  readonly conditions: Effect.Effect<ReadonlyArray<NodeCondition>>
  readonly statuses: Effect.Effect<ReadonlyArray<NodeConfigStatus>>
  readonly events: Effect.Effect<ReadonlyArray<EventOn>>
}>()("flock/KubeApiTest") {}

const make = (overrides: Partial<KubeApi["Service"]>) =>
  Effect.gen(function*() {
    const nodeConfig = yield* SubscriptionRef.make(NO_NODE_CONFIG)
    const pods = yield* Ref.make<Pods>(new Map())
    const podChanges = yield* PubSub.unbounded<PodChange>()
    const secrets = yield* Ref.make<ReadonlyMap<string, Redacted.Redacted>>(new Map())
    const secretChanges = yield* PubSub.unbounded<SecretKeyRef>()
    const unavailable = yield* Ref.make<string | undefined>(undefined)
    const lists = yield* Ref.make({ synced: true, podsListed: true })
    const conditions = yield* Ref.make<ReadonlyArray<NodeCondition>>([])
    const statuses = yield* Ref.make<ReadonlyArray<NodeConfigStatus>>([])
    const events = yield* Ref.make<ReadonlyArray<EventOn>>([])

    const append = <A>(ref: Ref.Ref<ReadonlyArray<A>>, value: A) => Ref.update(ref, (all) => [...all, value])
    const keyOf = ({ key, name }: SecretKeyRef) => `${name}/${key}`

    /** As the API server is asked: fails while it is unavailable. */
    const answered = <A>(effect: Effect.Effect<A>): Effect.Effect<A, KubeUnavailable> =>
      Effect.flatMap(
        Ref.get(unavailable),
        (message) => message === undefined ? effect : Effect.fail(new KubeUnavailable({ message }))
      )

    const apply = (signal: Signal<PodInfo>) =>
      Ref.modify(pods, (known) => {
        const next = step(known, signal)
        return [next.changes, next.pods]
      }).pipe(Effect.flatMap((changes) => PubSub.publishAll(podChanges, changes)))

    const kube = KubeApi.of({
      nodeConfig,
      findNodeConfig: Effect.void,
      pods: Ref.get(pods),
      podChanges: Stream.fromPubSub(podChanges),
      pod: (ref) =>
        Effect.flatMap(Ref.get(pods), (known) => {
          const pod = known.get(podKey(ref))
          const matches = pod !== undefined && (ref.uid === "" || pod.uid === ref.uid)
          return matches ? Effect.succeedSome(pod) : answered(Effect.succeedNone)
        }),
      secret: (ref) => answered(Effect.map(Ref.get(secrets), (all) => Option.fromUndefinedOr(all.get(keyOf(ref))))),
      secretChanges: Stream.fromPubSub(secretChanges),
      setNodeCondition: (condition) => answered(append(conditions, condition)),
      setStatus: (status) => answered(append(statuses, status)),
      event: (event) => append(events, event),
      synced: Effect.map(Ref.get(lists), ({ synced }) => synced),
      podsListed: Effect.map(Ref.get(lists), ({ podsListed }) => podsListed),
      unheard: Effect.succeed(""),
      api: Effect.undefined,
      fleet: undefined,
      missingRights: () => answered(Effect.succeed([])),
      run: Effect.never,
      ...overrides
    })

    const test = KubeApiTest.of({
      setNodeConfig: (state) => SubscriptionRef.set(nodeConfig, { ...NO_NODE_CONFIG, ...state }),
      setPods: (...list) => Effect.forEach(list, (item) => apply({ _tag: "Changed", item }), { discard: true }),
      removePods: (...list) => Effect.forEach(list, (item) => apply({ _tag: "Removed", item }), { discard: true }),
      setSecret: (ref, value) =>
        Ref.update(secrets, (all) => {
          const next = new Map(all)
          if (value === undefined) next.delete(keyOf(ref))
          else next.set(keyOf(ref), Redacted.make(value))
          return next
        }).pipe(Effect.andThen(PubSub.publish(secretChanges, ref)), Effect.asVoid),
      setUnavailable: (message) => Ref.set(unavailable, message),
      setSynced: (changed) => Ref.update(lists, (all) => ({ ...all, ...changed })),
      conditions: Ref.get(conditions),
      statuses: Ref.get(statuses),
      events: Ref.get(events)
    })
    return Context.make(KubeApi, kube).pipe(Context.add(KubeApiTest, test))
  })

/** `overrides` stand in place of single members, such as `pod` for a lookup that is slow or fails. */
export const layerTest = (
  overrides: Partial<KubeApi["Service"]> = {}
): Layer.Layer<KubeApi | KubeApiTest> => Layer.effectContext(make(overrides))
