/**
 * {@link KubeApi} served by a folder, for podman, nerdctl, tests and the demo: `DIR/nodeconfig.yaml`, `DIR/pods/*.yaml`
 * (Pod objects: metadata and status) and `DIR/secrets/NAME/KEY`. The folder is watched; a slow rescan covers what a watch
 * can miss.
 */
import { Effect, FiberHandle, FileSystem, Layer, Option, Redacted, Stream } from "effect"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { every } from "../process/tick.ts"
import { changedNames, settled } from "./folder.ts"
import { KubeApi, type PodRef } from "./KubeApi.ts"
import * as NodeConfigCache from "./nodeConfigCache.ts"
import { CONFIG_FILE, look } from "./nodeConfigFile.ts"
import { isValid } from "./nodeConfigState.ts"
import * as PodFolder from "./podFolder.ts"
import * as Saved from "./saved.ts"

export interface StandaloneOptions {
  readonly directory: string
  /** Empty: the node has the name that `nodeconfig.yaml` gives. */
  readonly nodeName: string
  /** Folder for the copy of the last good NodeConfig, such as `/run/flock`. */
  readonly stateDir: string
}

const make = Effect.fnUntraced(function*({ directory, nodeName, stateDir }: StandaloneOptions) {
  const fs = yield* FileSystem.FileSystem
  const nodeConfig = yield* NodeConfigCache.make({
    nodeName,
    saved: Saved.make(fs, stateDir),
    savedIn: stateDir,
    // The log has it already, and there is nobody else to tell.
    record: () => Effect.void
  })
  const pods = yield* PodFolder.make(fs, directory)
  const reading = yield* FiberHandle.make()

  const lookAtConfig = look(fs, directory)
  const readConfig = settled(lookAtConfig, (event) => isValid(nodeName, event)).pipe(Effect.flatMap(nodeConfig.handle))
  const rescan = Effect.andThen(FiberHandle.run(reading, readConfig, { onlyIfMissing: true }), pods.rescan)

  const watch = changedNames(directory).pipe(
    Stream.runForEach((name) =>
      name === "" || name === PodFolder.PODS
        ? rescan
        : name === CONFIG_FILE
        ? FiberHandle.run(reading, readConfig)
        : Effect.void
    ),
    Effect.ignore
  )

  const pod = Effect.fnUntraced(function*(ref: PodRef) {
    // Who calls may be ahead of the watch, by an edit too: what the pod's own file says now counts.
    yield* pods.refresh(`${ref.name}.yaml`)
    const found = (yield* pods.pods).get(podKey(ref))
    return Option.some(found ?? { ...ref, ready: false, deleting: false, annotations: {} } satisfies PodInfo)
  })

  yield* Effect.flatMap(lookAtConfig, nodeConfig.handle)
  yield* pods.list

  return KubeApi.of({
    nodeConfig: nodeConfig.ref,
    // It was read when this layer was made.
    findNodeConfig: Effect.void,
    pod,
    pods: pods.pods,
    podChanges: pods.changes,
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
    synced: nodeConfig.synced(pods.listed),
    podsListed: pods.listed,
    unheard: nodeConfig.unheard,
    api: Effect.undefined,
    fleet: undefined,
    missingRights: () => Effect.succeed([]),
    run: Effect.all([
      every("1 second")(watch),
      every("1 second")(pods.watch),
      every("15 seconds")(rescan)
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))
  })
})

export const layer = (options: StandaloneOptions): Layer.Layer<KubeApi, never, FileSystem.FileSystem> =>
  Layer.effect(KubeApi, make(options))
