/**
 * {@link KubeApi} served by a Kubernetes API server. Wiring only: what it does is in the modules beside it.
 */
import { Effect, Fiber, FileSystem, Layer, Option, PubSub, Result, Stream, SubscriptionRef } from "effect"
import { API_VERSION, decode, type NodeConfig } from "../domain/NodeConfig.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { record } from "../domain/record.ts"
import * as Access from "./access.ts"
import * as Client from "./client.ts"
import * as Events from "./events.ts"
import { KubeApi, KubeUnavailable, type NodeConfigState, type PodChange, type PodRef } from "./KubeApi.ts"
import * as NodeCondition from "./nodeCondition.ts"
import * as Status from "./nodeConfigStatus.ts"
import { decodePod, type Pods, step } from "./podCache.ts"
import { type BackOff, backOff, type Signal, signals } from "./reflector.ts"
import * as Saved from "./saved.ts"
import * as Secrets from "./secrets.ts"

export interface ClusterOptions {
  readonly nodeName: string
  /** A file; without it the pod's own service account is used. */
  readonly kubeconfig?: string
  /** Folder for the copy of the last good NodeConfig, such as `/run/flock`. */
  readonly stateDir: string
  /** flock's own, where `passwordSecretRef` points into, such as `flock-system`. */
  readonly namespace: string
  readonly timing?: Client.Timing
  readonly backOff?: BackOff
}

/** What `decode` reads and nothing else: no managed fields, no status. */
const essence = (object: unknown): unknown => {
  const { apiVersion, kind, metadata, spec } = record(object)
  const { generation, name, uid } = record(metadata)
  return { apiVersion, kind, metadata: { name, uid, generation }, spec }
}

const matches = (pod: PodInfo, ref: PodRef) => ref.uid === "" || pod.uid === ref.uid

const unavailable = (e: Access.ApiError) => new KubeUnavailable({ message: e.message })

/** Fails when there is no usable kubeconfig or service account; an API server that is away is no failure. */
export const layerCluster = (
  options: ClusterOptions
): Layer.Layer<KubeApi, KubeUnavailable, FileSystem.FileSystem> =>
  Layer.effect(
    KubeApi,
    Effect.gen(function*() {
      const { namespace, nodeName, stateDir } = options
      const times = options.backOff ?? backOff
      const accesses = Access.make(options.kubeconfig)
      yield* Effect.mapError(accesses.get, unavailable)
      const client = Client.make(accesses, options.timing)
      const saved = Saved.make(yield* FileSystem.FileSystem, stateDir)
      const recorder = yield* Events.make(client, nodeName)
      const status = yield* Status.make(client, nodeName)
      const secrets = yield* Secrets.make(client, namespace, times)
      const setCondition = NodeCondition.make(client, nodeName)
      const nodeConfig = yield* SubscriptionRef.make<NodeConfigState>({
        current: Option.none(),
        rejected: Option.none()
      })
      const changes = yield* PubSub.unbounded<PodChange>()
      let pods: Pods = new Map()
      let podsListed = false
      let nodeConfigListed = false
      let seen = ""

      const accept = Effect.fnUntraced(function*(object: unknown, source: string) {
        const trimmed = essence(object)
        const text = JSON.stringify(trimmed)
        // our own status writes come back as changes: nothing to tell anyone
        if (text === seen) return false
        seen = text
        const { current } = yield* SubscriptionRef.get(nodeConfig)
        return yield* Result.match(decode(nodeName, trimmed), {
          onSuccess: (good: NodeConfig) =>
            SubscriptionRef.set(nodeConfig, { current: Option.some(good), rejected: Option.none() }).pipe(
              Effect.andThen(Effect.logInfo(`NodeConfig ${nodeName} generation ${good.generation} from ${source}`)),
              Effect.as(true)
            ),
          onFailure: (bad) =>
            SubscriptionRef.set(nodeConfig, { current, rejected: Option.some(bad) }).pipe(
              Effect.andThen(Effect.logError(bad.message)),
              Effect.andThen(
                recorder.tell({
                  on: { kind: "Node" },
                  type: "Warning",
                  reason: "NodeConfigRejected",
                  message: bad.message
                })
              ),
              Effect.as(false)
            )
        })
      })

      const arrived = (object: unknown) =>
        status.seen(object).pipe(
          Effect.andThen(accept(object, "the API server")),
          Effect.flatMap((changed) => changed ? saved.save(essence(object)) : Effect.void)
        )

      const gone = Effect.gen(function*() {
        yield* status.seen(undefined)
        const { current, rejected, unknown } = yield* SubscriptionRef.get(nodeConfig)
        if (Option.isNone(current) && Option.isNone(rejected) && unknown === undefined) return
        seen = ""
        yield* Effect.logWarning(`NodeConfig ${nodeName} was deleted: no pod can be added until there is one again`)
        yield* SubscriptionRef.set(nodeConfig, { current: Option.none(), rejected: Option.none() })
        yield* saved.remove
      })

      const unlisted = (error: Access.ApiError) =>
        nodeConfigListed ? Effect.void : SubscriptionRef.update(nodeConfig, (state) => ({
          ...state,
          unknown: `the API server did not say whether there is a NodeConfig ${nodeName}: ${error.message}`
        }))

      const onNodeConfig = (signal: Signal<unknown>) => {
        switch (signal._tag) {
          case "Failed":
            return Effect.andThen(
              Effect.logWarning(`NodeConfig watch: ${signal.error.message}`),
              unlisted(signal.error)
            )
          case "Removed":
            return gone
          case "Changed":
            return arrived(signal.item)
          case "Listed":
            nodeConfigListed = true
            return signal.items[0] === undefined ? gone : arrived(signal.items[0])
        }
      }

      const onPod = (signal: Signal<PodInfo>) => {
        const next = step(pods, signal)
        pods = next.pods
        if (signal._tag === "Failed") return Effect.logWarning(`Pod watch: ${signal.error.message}`)
        if (signal._tag === "Listed") podsListed = true
        return PubSub.publishAll(changes, next.changes)
      }

      const nodeConfigs = signals(client, {
        name: "nodeconfigs",
        path: `/apis/${API_VERSION}/nodeconfigs`,
        fieldSelector: `metadata.name=${nodeName}`,
        decode: (object): unknown => object
      }, times)

      const podSignals = signals(client, {
        name: "pods",
        path: "/api/v1/pods",
        fieldSelector: `spec.nodeName=${nodeName}`,
        decode: decodePod
      }, times)

      const scope = yield* Effect.scope
      const asked = new Map<string, Fiber.Fiber<Option.Option<PodInfo>, Access.ApiError>>()

      const ask = (ref: PodRef) =>
        client.request({
          verb: "get",
          resource: "pods",
          path: `/api/v1/namespaces/${encodeURIComponent(ref.namespace)}/pods/${encodeURIComponent(ref.name)}`
        }).pipe(
          Effect.map((object) => Option.fromUndefinedOr(decodePod(object))),
          Effect.catchIf((e) => e.status === 404, () => Effect.succeedNone)
        )

      /** Calls for one pod at one time share one request, which no caller's interruption ends for the others. */
      const askOnce = Effect.fnUntraced(function*(ref: PodRef) {
        const key = podKey(ref)
        const running = asked.get(key)
        if (running !== undefined) return yield* Fiber.join(running)
        const fiber = yield* Effect.forkIn(Effect.ensuring(ask(ref), Effect.sync(() => asked.delete(key))), scope)
        if (fiber.pollUnsafe() === undefined) asked.set(key, fiber)
        return yield* Fiber.join(fiber)
      })

      const pod = Effect.fn("KubeApi.pod")(function*(ref: PodRef) {
        const cached = pods.get(podKey(ref))
        if (cached !== undefined && matches(cached, ref)) return Option.some(cached)
        const answer = yield* askOnce(ref).pipe(
          Effect.mapError((e) =>
            new KubeUnavailable({
              message: `Pod ${podKey(ref)} is not in the agent's cache, and asking failed: ${e.message}`
            })
          )
        )
        return Option.filter(answer, (found) => matches(found, ref))
      })

      yield* Effect.flatMap(
        saved.load,
        (object) => Option.isNone(object) ? Effect.void : accept(object.value, `the copy in ${stateDir}`)
      )

      return KubeApi.of({
        nodeConfig,
        pod,
        pods: Effect.sync(() => pods),
        podChanges: Stream.fromPubSub(changes),
        secret: secrets.get,
        secretChanges: secrets.changes,
        setNodeCondition: (condition) => Effect.mapError(setCondition(condition), unavailable),
        setStatus: status.set,
        event: recorder.tell,
        podsListed: Effect.sync(() => podsListed),
        synced: Effect.map(
          SubscriptionRef.get(nodeConfig),
          ({ current }) => (nodeConfigListed && podsListed) || (!nodeConfigListed && Option.isSome(current))
        ),
        run: Effect.all([
          Stream.runForEach(nodeConfigs, onNodeConfig),
          Stream.runForEach(podSignals, onPod),
          status.run,
          recorder.run
        ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))
      })
    })
  )
