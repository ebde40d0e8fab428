/**
 * Kubernetes as a folder, for podman, nerdctl, tests and the demo: `DIR/nodeconfig.yaml`, `DIR/pods/*.yaml` (Pod objects:
 * metadata and status) and `DIR/secrets/NAME/KEY`. The folder is watched (inotify(7)); a slow rescan covers what a watch
 * can miss. A file that cannot be read as what it should be leaves the last good state in force: it may be half-written.
 */
import {
  Cause,
  Effect,
  FileSystem,
  Layer,
  Option,
  PubSub,
  Queue,
  Redacted,
  Result,
  Stream,
  SubscriptionRef
} from "effect"
import * as NodeFs from "node:fs"
import * as Yaml from "yaml"
import * as NodeConfig from "../domain/NodeConfig.ts"
import { fromObject, type PodInfo, podKey } from "../domain/Pod.ts"
import { every } from "../process/tick.ts"
import { KubeApi, type NodeConfigState, type PodChange, type PodRef } from "./KubeApi.ts"

export interface StandaloneOptions {
  readonly directory: string
  /** Empty: the node has the name that `nodeconfig.yaml` gives. */
  readonly nodeName: string
}

const CONFIG_FILE = "nodeconfig.yaml"
const PODS = "pods"

/** Every document of a file. JSON is tried first: its parser is native. */
const parseDocuments = (text: string): ReadonlyArray<unknown> => {
  if (text.trimStart().startsWith("{")) {
    try {
      return [JSON.parse(text)]
    } catch {
      // Flow-style YAML may start like this too.
    }
  }
  return Yaml.parseAllDocuments(text).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0]
    return document.toJS() as unknown
  }).filter((document) => document !== null)
}

const isYaml = (name: string): boolean => /^[^.].*\.ya?ml$/.test(name)

const samePod = (a: PodInfo, b: PodInfo): boolean => JSON.stringify(a) === JSON.stringify(b)

/** Names of directory entries that changed; `""` where the kernel did not say which. Ends with an error if the folder goes. */
const watchFolder = (path: string): Stream.Stream<string, Cause.UnknownError> =>
  Stream.callback((queue) =>
    Effect.acquireRelease(
      Effect.try({
        try: () => {
          const watcher = NodeFs.watch(path, { persistent: false }, (_event, name) => {
            Queue.offerUnsafe(queue, name ?? "")
          })
          watcher.on("error", (error) => Queue.failCauseUnsafe(queue, Cause.fail(new Cause.UnknownError(error))))
          return watcher
        },
        catch: (error) => new Cause.UnknownError(error)
      }),
      (watcher) => Effect.sync(() => watcher.close())
    )
  )

const pool = { concurrency: 16, discard: true } as const

const make = Effect.fnUntraced(function*({ directory, nodeName }: StandaloneOptions) {
  const fs = yield* FileSystem.FileSystem
  const nodeConfig = yield* SubscriptionRef.make<NodeConfigState>({ current: Option.none(), rejected: Option.none() })
  const podChanges = yield* PubSub.unbounded<PodChange>()
  const pods = new Map<string, PodInfo>()
  const podsOfFile = new Map<string, ReadonlyArray<string>>()
  let listed = false

  const readNodeConfig = Effect.gen(function*() {
    const text = yield* fs.readFileString(`${directory}/${CONFIG_FILE}`)
    const [object] = yield* Effect.try({
      try: () => parseDocuments(text),
      catch: (error) => new Cause.UnknownError(error)
    })
    // Truncated, about to be written.
    if (object === undefined) return
    const named = typeof object === "object" && object !== null && "metadata" in object ? object.metadata : undefined
    const name = nodeName !== "" || typeof named !== "object" || named === null || !("name" in named)
      ? nodeName
      : String(named.name)
    const decoded = NodeConfig.decode(name, object)
    const { current } = yield* SubscriptionRef.get(nodeConfig)
    if (Result.isFailure(decoded)) {
      yield* Effect.logError(decoded.failure.message)
      yield* SubscriptionRef.set(nodeConfig, { current, rejected: Option.some(decoded.failure) })
    } else if (Option.isNone(current) || !NodeConfig.sameSpec(current.value, decoded.success)) {
      yield* Effect.logInfo(`NodeConfig ${name} read`)
      yield* SubscriptionRef.set(nodeConfig, { current: Option.some(decoded.success), rejected: Option.none() })
    } else {
      yield* SubscriptionRef.update(
        nodeConfig,
        (state) => Option.isNone(state.rejected) ? state : { ...state, rejected: Option.none() }
      )
    }
  }).pipe(
    Effect.catchReason("PlatformError", "NotFound", () => Effect.void),
    Effect.catch((error) => Effect.logError(`${directory}/${CONFIG_FILE} is kept as it was: ${String(error)}`))
  )

  const publish = (change: PodChange) => PubSub.publish(podChanges, change)

  const setPods = Effect.fnUntraced(function*(file: string, next: ReadonlyArray<PodInfo>) {
    const keys = next.map(podKey)
    const gone = (podsOfFile.get(file) ?? []).filter((key) => !keys.includes(key))
    if (keys.length > 0) podsOfFile.set(file, keys)
    else podsOfFile.delete(file)
    for (const pod of gone.flatMap((key) => pods.get(key) ?? [])) {
      pods.delete(podKey(pod))
      yield* publish({ _tag: "Removed", pod })
    }
    for (const pod of next) {
      const before = pods.get(podKey(pod))
      if (before !== undefined && samePod(before, pod)) continue
      pods.set(podKey(pod), pod)
      yield* publish({ _tag: "Changed", pod })
    }
  })

  const readPods = Effect.fnUntraced(function*(file: string) {
    const text = yield* fs.readFileString(`${directory}/${PODS}/${file}`)
    const documents = yield* Effect.try({
      try: () => parseDocuments(text),
      catch: (error) => new Cause.UnknownError(error)
    })
    if (documents.length === 0) return
    const read = documents.map(fromObject)
    if (read.includes(undefined)) {
      return yield* Effect.logError(`${PODS}/${file}: metadata.name is missing: file ignored`)
    }
    yield* setPods(file, read.filter((pod) => pod !== undefined))
  }, (effect, file) =>
    effect.pipe(
      Effect.catchReason("PlatformError", "NotFound", () => setPods(file, [])),
      Effect.catch((error) => Effect.logError(`${directory}/${PODS}/${file} is kept as it was: ${String(error)}`))
    ))

  const rescan = Effect.gen(function*() {
    yield* fs.makeDirectory(`${directory}/${PODS}`, { recursive: true })
    const present = (yield* fs.readDirectory(`${directory}/${PODS}`)).filter(isYaml)
    const gone = [...podsOfFile.keys()].filter((file) => !present.includes(file))
    yield* Effect.forEach([...present, ...gone], readPods, pool)
    yield* readNodeConfig
    listed = true
  })

  /** Changed names, each read once however often it was named while the last batch was being read. */
  const follow = (path: string, read: (names: ReadonlySet<string>) => Effect.Effect<void>) =>
    watchFolder(path).pipe(
      Stream.runForEachArray((names) => read(new Set(names)))
    )

  const watchConfig = follow(
    directory,
    (names) => names.has(CONFIG_FILE) || names.has("") ? readNodeConfig : Effect.void
  )
  const watchPods = follow(
    `${directory}/${PODS}`,
    (names) =>
      names.has("") ? Effect.ignore(rescan, { log: true }) : Effect.forEach([...names].filter(isYaml), readPods, pool)
  )

  yield* rescan

  return KubeApi.of({
    nodeConfig,
    pod: Effect.fnUntraced(function*(ref: PodRef) {
      const isIt = (pod: PodInfo | undefined) =>
        pod !== undefined && (ref.uid === "" || pod.uid === "" || pod.uid === ref.uid)
      // The runtime may be ahead of the watch: the file of the pod's own name is looked at, as the API would be asked.
      if (!isIt(pods.get(podKey(ref)))) yield* readPods(`${ref.name}.yaml`)
      return Option.some(
        pods.get(podKey(ref)) ?? { ...ref, ready: false, deleting: false, annotations: {} } satisfies PodInfo
      )
    }),
    pods: Effect.succeed(pods),
    podChanges: Stream.fromPubSub(podChanges),
    secret: ({ key, name }) =>
      fs.readFileString(`${directory}/secrets/${name}/${key}`).pipe(
        Effect.map((text) => Option.some(Redacted.make(text.replace(/\n$/, "")))),
        Effect.orElseSucceed(() => Option.none())
      ),
    secretChanges: Stream.never,
    setNodeCondition: ({ message, reason, status }) =>
      Effect.logDebug(`NetworkUnavailable=${status} ${reason}: ${message}`),
    setStatus: () => Effect.void,
    event: ({ message, on, reason }) =>
      Effect.logInfo(`${on.kind === "Pod" ? `pod ${podKey(on.pod)}` : "node"}: ${reason}: ${message}`),
    synced: Effect.sync(() => listed),
    podsListed: Effect.sync(() => listed),
    run: Effect.all([
      watchConfig.pipe(Effect.ignore, every("1 second")),
      watchPods.pipe(Effect.ignore, every("1 second")),
      rescan.pipe(
        Effect.catch((error) => Effect.logWarning(`cannot read ${directory}: ${error.message}`)),
        every("15 seconds")
      )
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))
  })
})

export const layer = (options: StandaloneOptions) => Layer.effect(KubeApi, make(options))
