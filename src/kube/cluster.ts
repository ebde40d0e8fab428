/**
 * {@link KubeApi} served by a Kubernetes API server. Wiring only: what it does is in the modules beside it.
 */
import { Effect, FileSystem, Layer, Option, PubSub, Ref, type Scope, Stream, SubscriptionRef } from "effect"
import { API_VERSION } from "../domain/NodeConfig.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { keepRunning } from "../process/keepRunning.ts"
import { sayChanges } from "../process/sayOnce.ts"
import * as Access from "./access.ts"
import * as Client from "./client.ts"
import * as FleetApi from "./fleetApi.ts"

import { KubeApi, KubeUnavailable, type PodChange, type PodRef } from "./KubeApi.ts"
import * as NetworkPolicies from "./networkPolicies.ts"
import * as NodeCondition from "./nodeCondition.ts"
import * as NodeConfigCache from "./nodeConfigCache.ts"
import * as Status from "./nodeConfigStatus.ts"
import { decodePod, type Pods, step } from "./podCache.ts"
import * as PodLookup from "./podLookup.ts"
import * as Recorder from "./recorder.ts"
import { listAndWatch, type Signal } from "./reflector.ts"
import { type BackOff, backOff } from "./reflectorState.ts"
import { started } from "./requestMetrics.ts"
import * as Rights from "./rights.ts"
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

const matches = (pod: PodInfo, ref: PodRef) => ref.uid === "" || pod.uid === ref.uid

const unavailable = (e: Access.ApiError) => new KubeUnavailable({ message: e.message })

const nodeConfigsOf = (nodeName: string) => ({
  name: "nodeconfigs",
  path: `/apis/${API_VERSION}/nodeconfigs`,
  fieldSelector: `metadata.name=${nodeName}`,
  decode: (object: unknown): unknown => object
})

const podsOf = (nodeName: string) => ({
  name: "pods",
  path: "/api/v1/pods",
  // A pod that ended has no network, and jobs leave many behind. The watch says DELETED when one ends.
  fieldSelector: `spec.nodeName=${nodeName},status.phase!=Succeeded,status.phase!=Failed`,
  decode: decodePod
})

/** The NodeConfig watch as events of the cache; `observe` sees every object too. */
const onNodeConfig = (
  cache: NodeConfigCache.NodeConfigCache,
  observe: (object: unknown) => Effect.Effect<void>
) => {
  const arrived = (object: unknown) =>
    Effect.andThen(observe(object), cache.handle({ _tag: "Arrived", object, source: "the API server" }))
  const gone = Effect.andThen(observe(undefined), cache.handle({ _tag: "Gone", detail: "the API server has none" }))
  return (signal: Signal<unknown>): Effect.Effect<void> => {
    switch (signal._tag) {
      case "Failed":
        return cache.handle({ _tag: "Unlisted", reason: signal.error.message })
      case "Resumed":
        return cache.handle({ _tag: "Answered" })
      case "Removed":
        return gone
      case "Changed":
        return arrived(signal.item)
      case "Listed":
        return signal.items[0] === undefined ? gone : arrived(signal.items[0])
    }
  }
}

/** The pods of this node, kept by the watch. */
const makePods = Effect.gen(function*() {
  const pods = yield* Ref.make<Pods>(new Map())
  const listed = yield* Ref.make(false)
  const changes = yield* PubSub.unbounded<PodChange>()
  const say = sayChanges((reason) => Effect.logWarning(`Pod watch: ${reason}`))
  const on = Effect.fnUntraced(function*(signal: Signal<PodInfo>) {
    const next = step(yield* Ref.get(pods), signal)
    yield* Ref.set(pods, next.pods)
    if (signal._tag === "Failed") return yield* say(signal.error.message)
    yield* say("")
    if (signal._tag === "Listed") yield* Ref.set(listed, true)
    return yield* PubSub.publishAll(changes, next.changes)
  })
  return { pods: Ref.get(pods), listed: Ref.get(listed), changes: Stream.fromPubSub(changes), on }
})

const make = Effect.fnUntraced(function*(
  options: ClusterOptions
): Effect.fn.Return<KubeApi["Service"], KubeUnavailable, FileSystem.FileSystem | Scope.Scope> {
  const { nodeName, stateDir } = options
  const times = options.backOff ?? backOff
  const accesses = Access.make(options.kubeconfig)
  // Without any source there never will be one. A file that cannot be used may be mended while pods are served.
  if (options.kubeconfig === undefined && !Access.inCluster()) yield* Effect.mapError(accesses.get, unavailable)
  yield* started
  const client = Client.make(accesses, options.timing, options.backOff)
  const recorder = yield* Recorder.make(client, nodeName)
  const status = yield* Status.make(client, nodeName)
  const secrets = yield* Secrets.make(client, options.namespace, times)
  const setCondition = yield* NodeCondition.make(client, nodeName)
  const lookUp = yield* PodLookup.make(client)
  const pods = yield* makePods
  const policies = yield* NetworkPolicies.make(client)
  const own = yield* SubscriptionRef.make<FleetApi.OwnNodeConfig>({ listed: false, object: undefined })
  const trouble = yield* SubscriptionRef.make<FleetApi.TemplateTrouble | undefined>(undefined)
  const observe = (object: unknown) =>
    Effect.andThen(status.observe(object), SubscriptionRef.set(own, { listed: true, object }))
  const nodeConfig = yield* NodeConfigCache.make({
    nodeName,
    saved: Saved.make(yield* FileSystem.FileSystem, stateDir),
    savedIn: stateDir,
    record: recorder.record
  })

  const pod = Effect.fn("KubeApi.pod")(function*(ref: PodRef) {
    const cached = (yield* pods.pods).get(podKey(ref))
    if (cached !== undefined && matches(cached, ref)) return Option.some(cached)
    const answer = yield* lookUp(ref).pipe(Effect.mapError((e) =>
      new KubeUnavailable({
        message: `Pod ${podKey(ref)} is not in the agent's cache, and asking failed: ${e.message}`
      })
    ))
    return Option.filter(answer, (found) => matches(found, ref))
  })

  const findNodeConfig = Effect.gen(function*() {
    if (Option.isSome((yield* SubscriptionRef.get(nodeConfig.ref)).current)) return
    const { fieldSelector, name, path } = nodeConfigsOf(nodeName)
    const found: Array<unknown> = []
    yield* client.list({ verb: "list", resource: name, path, query: { fieldSelector } }, (object) => found.push(object))
    for (const object of found) yield* nodeConfig.handle({ _tag: "Arrived", object, source: "the API server" })
  }).pipe(
    Effect.timeout("3 seconds"),
    Effect.catch((error) => Effect.logWarning(`the NodeConfig could not be asked for: ${error.message}`))
  )

  return KubeApi.of({
    nodeConfig: nodeConfig.ref,
    findNodeConfig,
    pod,
    pods: pods.pods,
    podChanges: pods.changes,
    secret: secrets.get,
    secretChanges: secrets.changes,
    setNodeCondition: (condition) => Effect.mapError(setCondition(condition), unavailable),
    setStatus: status.set,
    event: recorder.record,
    podsListed: pods.listed,
    unheard: nodeConfig.unheard,
    api: Effect.map(
      Effect.all([client.health, policies.found]),
      ([health, found]) => found === undefined ? health : { ...health, policies: found }
    ),
    fleet: FleetApi.make(client, nodeName, {
      nodeConfig: own,
      trouble,
      times,
      fallBack: (object, why) => nodeConfig.handle({ _tag: "FellBack", object, why })
    }),
    synced: nodeConfig.synced(pods.listed),
    missingRights: (names) =>
      Effect.mapError(Rights.missing(client, Rights.rightsOf(options.namespace, names)), unavailable),
    run: Effect.all([
      keepRunning("the NodeConfig watch")(
        Stream.runForEach(listAndWatch(client, nodeConfigsOf(nodeName), times), onNodeConfig(nodeConfig, observe))
      ),
      keepRunning("the Pod watch")(Stream.runForEach(listAndWatch(client, podsOf(nodeName), times), pods.on)),
      keepRunning("the NodeConfig's status")(status.run),
      keepRunning("Events")(recorder.run),
      keepRunning("the look for NetworkPolicies")(policies.run)
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))
  })
})

/** Fails where there is neither a kubeconfig nor a service account. One that cannot be used is read again and again, as a
 * server that is away is asked again. */
export const layer = (options: ClusterOptions): Layer.Layer<KubeApi, KubeUnavailable, FileSystem.FileSystem> =>
  Layer.effect(KubeApi, make(options))
