/**
 * The agent from its start on, to be read from top to bottom: {@link run} prepares, {@link start} takes over from the
 * agent before this one and listens, {@link serve} runs until the end; the layers come last. What taking over means is in
 * `state/takeOver.ts`.
 */
import { Effect, FileSystem, Layer, Option, Schedule } from "effect"
import { Anycast } from "./anycast/Anycast.ts"
import { Attachments } from "./attachments/Attachments.ts"
import { Bird } from "./bird/Bird.ts"
import { Cni } from "./cni/Cni.ts"
import type { Allocation } from "./domain/Allocation.ts"
import { AntiSpoofing } from "./firewall/AntiSpoofing.ts"
import { Firewall } from "./firewall/Firewall.ts"
import { Fleet } from "./fleet/Fleet.ts"
import { conflistWhenReady } from "./install/install.ts"
import { Ipam } from "./ipam/Ipam.ts"
import { KubeApi, type KubeUnavailable } from "./kube/KubeApi.ts"
import * as NetlinkLayer from "./netlink/layer.ts"
import { Netlink } from "./netlink/Netlink.ts"
import { NodeNetwork } from "./netlink/NodeNetwork.ts"
import { Uplink } from "./netlink/Uplink.ts"
import { fileProblem } from "./process/fileProblem.ts"
import { keepRunning } from "./process/keepRunning.ts"
import * as LoopDelay from "./process/LoopDelay.ts"
import { makeFolder } from "./process/makeFolder.ts"
import { sayOnce } from "./process/sayOnce.ts"
import { keepTrimmed } from "./process/trim.ts"
import { VERSION } from "./process/version.ts"
import * as Http from "./report/Http.ts"
import { NodeReporter } from "./report/NodeReporter.ts"
import { nodeNameOf, type Settings } from "./Settings.ts"
import * as DelQueue from "./socket/DelQueue.ts"
import { Introspection } from "./socket/Introspection.ts"
import { assertUnserved, RpcServer } from "./socket/RpcServer.ts"
import { warmUp } from "./socket/warmUp.ts"
import { Allocations } from "./state/Allocations.ts"
import { countUnreadable, takeOver } from "./state/takeOver.ts"

/** Identifies this boot of the kernel (Documentation/admin-guide/sysctl/kernel.rst). */
const BOOT_ID = "/proc/sys/kernel/random/boot_id"

/** Never returns but by failure or interruption. */
export const run = (settings: Settings) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const target = yield* Effect.fromResult(Http.targetOf(settings.http))
    yield* assertUnserved(settings.socket)
    const bootId = (yield* fs.readFileString(BOOT_ID)).trim()
    yield* makeFolder(fs, settings.stateDir, 0o755).pipe(
      Effect.catch((error) => Effect.logError(`cannot make ${settings.stateDir}: ${fileProblem(error)}`))
    )
    const loopDelay = yield* LoopDelay.make
    return yield* start(settings, bootId).pipe(
      Effect.flatMap((begun) => serve(settings, target, begun)),
      // Building them reads the records, and the NodeConfig that the agent before this one knew.
      Effect.provide(layerOf(settings, bootId, loopDelay))
    )
  }).pipe(Effect.scoped)

interface Begun {
  /** Queued DELs that failed. */
  readonly failedDels: number
  /** See {@link takeOver}. */
  readonly rebuilt: ReadonlyArray<Allocation>
}

/** Until calls are accepted. */
const start = Effect.fn("start")(function*(settings: Settings, bootId: string) {
  const netlink = yield* Netlink
  const rpc = yield* RpcServer
  const antiSpoofing = yield* AntiSpoofing
  for (const problem of (yield* netlink.prepareHost).problems) yield* Effect.logWarning(problem)
  yield* antiSpoofing.enforce
  const rebuilt = yield* takeOver({ bootId })
  yield* (yield* Attachments).restore
  yield* warmUp(settings.stateDir)
  // No ADD may be served while an address that a queued DEL frees is still held.
  const failedDels = yield* doQueuedDels(settings, rpc.listen).pipe(
    // Where the queue cannot be locked or read, plugins cannot write into it either.
    Effect.catchTag(
      "DelQueueError",
      (error) => Effect.logError(error.message).pipe(Effect.andThen(rpc.listen), Effect.as(1))
    )
  )
  return { failedDels, rebuilt } satisfies Begun
})

const serve = Effect.fnUntraced(function*(
  settings: Settings,
  target: Http.Target,
  { failedDels, rebuilt }: Begun
) {
  const antiSpoofing = yield* AntiSpoofing
  const anycast = yield* Anycast
  const attachments = yield* Attachments
  const bird = yield* Bird
  const cni = yield* Cni
  const fleet = yield* Fleet
  const kube = yield* KubeApi
  const network = yield* NodeNetwork
  const reporter = yield* NodeReporter
  const http = Http.serve({
    target,
    beforeScrape: anycast.publish,
    podMetrics: antiSpoofing.metrics
  })
  const milliseconds = Math.round(performance.now())
  yield* Effect.logInfo(`flock-agent ${VERSION} serves on ${settings.socket}`).pipe(
    Effect.annotateLogs({ node: nodeNameOf(settings), milliseconds })
  )
  const loops = [
    keepRunning("freeing what ended pods had")(cni.run),
    keepRunning("Kubernetes")(kube.run),
    keepRunning("BIRD")(bird.run),
    keepRunning("anycast")(anycast.run),
    keepRunning("anti-spoofing")(antiSpoofing.run),
    keepRunning("the node's network")(network.run),
    keepRunning("the node's condition and status")(reporter.run),
    keepRunning("the NodeConfigTemplate")(fleet.run),
    keepRunning("HTTP")(Effect.scoped(http)),
    keepRunning("the conflist")(Effect.andThen(writeConflist(settings, reporter.notServing), Effect.never)),
    keepRunning("what was built")(attachments.run),
    keepRunning("rebuilt allocations")(Effect.andThen(cni.completeRebuilt(rebuilt), Effect.never)),
    keepRunning("giving memory back")(keepTrimmed),
    keepRunning("queued DELs")(Effect.andThen(retryQueuedDels(settings, failedDels), Effect.never))
  ]
  return yield* Effect.all(loops, { concurrency: "unbounded", discard: true })
})

/**
 * Does the DELs that came while there was no agent. `then` runs with the queue still locked, so no DEL falls in between.
 * Returns how many failed.
 */
const doQueuedDels = Effect.fn("doQueuedDels")(function*<E>(settings: Settings, then: Effect.Effect<void, E>) {
  const cni = yield* Cni
  const queue = DelQueue.directoryOf(settings.socket)
  const drained = yield* DelQueue.withQueueLock(queue, Effect.tap(DelQueue.drain(queue, cni.queuedDel), () => then))
  yield* countUnreadable("del", drained.unreadable)
  if (drained.done + drained.kept + drained.unreadable > 0) {
    yield* Effect.logInfo("DELs that came while there was no agent").pipe(Effect.annotateLogs({ ...drained }))
  }
  return drained.kept
})

/** The runtime was told that a queued DEL succeeded and will not ask again: one that failed is tried until it does. */
const retryQueuedDels = (settings: Settings, failed: number) =>
  doQueuedDels(settings, Effect.void).pipe(
    sayOnce(Effect.logError),
    Effect.retry(Schedule.spaced("60 seconds")),
    Effect.repeat({ while: (left) => left > 0, schedule: Schedule.spaced("60 seconds") }),
    Effect.delay("60 seconds"),
    Effect.when(Effect.succeed(failed > 0)),
    Effect.asVoid
  )

/** The runtime sends pods once there is a conflist, so it is written when they can be served. */
const writeConflist = (settings: Settings, notServing: Effect.Effect<string | undefined>) =>
  Option.match(settings.cniConfDir, {
    onNone: () => Effect.void,
    onSome: (confDir) => {
      const ready = notServing.pipe(
        Effect.repeat({ until: (reason) => reason === undefined, schedule: Schedule.spaced("200 millis") }),
        Effect.asVoid
      )
      return conflistWhenReady({ confDir, binDir: settings.cniBinDir }, { takeover: false, ready }).pipe(
        // Pods that run, and a conflist that is there already, need the agent whatever this folder's state is.
        sayOnce(Effect.logError),
        Effect.retry(Schedule.spaced("15 seconds"))
      )
    }
  })

type KubeLayer = Layer.Layer<KubeApi, KubeUnavailable, FileSystem.FileSystem>

/** Loaded when it is known which one: each brings libraries that the other does not need in its memory. */
const kubeLayer = (settings: Settings): KubeLayer =>
  Layer.unwrap(
    Option.match(settings.standalone, {
      onSome: (directory) =>
        Effect.promise(async (): Promise<KubeLayer> => {
          const { layer } = await import("./kube/standalone.ts")
          return layer({
            directory,
            nodeName: Option.getOrElse(settings.nodeName, () => ""),
            stateDir: settings.stateDir
          })
        }),
      onNone: () =>
        Effect.promise(async (): Promise<KubeLayer> => {
          const { layer } = await import("./kube/cluster.ts")
          return layer({
            nodeName: nodeNameOf(settings),
            ...(Option.isSome(settings.kubeconfig) ? { kubeconfig: settings.kubeconfig.value } : {}),
            stateDir: settings.stateDir,
            namespace: settings.namespace
          })
        })
    })
  )

const layerOf = (settings: Settings, bootId: string, loopDelay: LoopDelay.LoopDelay) => {
  const nodeName = nodeNameOf(settings)
  const kernelAndKube = Layer.merge(NetlinkLayer.layer(), kubeLayer(settings))
  const state = Layer.merge(
    Ipam.layer,
    Allocations.layer({ directory: `${settings.stateDir}/allocations`, bootId })
  )
  const bird = Bird.layer({
    enabled: !settings.noBird,
    nodeName,
    confPath: settings.birdConf,
    socketPath: settings.birdSocket,
    keptFile: `${settings.stateDir}/bgp.json`
  })
  return RpcServer.layer({ path: settings.socket, onCall: loopDelay.busy }).pipe(
    Layer.provideMerge(Introspection.layer({
      nodeName,
      paths: {
        ...(Option.isSome(settings.cniConfDir) ? { cniConfDir: settings.cniConfDir.value } : {}),
        cniBinDir: settings.cniBinDir,
        birdSocket: settings.birdSocket
      }
    })),
    Layer.provideMerge(Layer.mergeAll(Cni.layer({ bootId }), NodeReporter.layer, Fleet.layer({ nodeName }))),
    Layer.provideMerge(Anycast.layer),
    Layer.provideMerge(Layer.mergeAll(Uplink.layer, bird, Attachments.layer)),
    Layer.provideMerge(AntiSpoofing.layer),
    Layer.provideMerge(Layer.mergeAll(state, Firewall.layer(), NodeNetwork.layer)),
    Layer.provideMerge(kernelAndKube)
  )
}
