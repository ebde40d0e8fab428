/** The agent: its layers, and the order in which they come to life. */
import { Effect, FileSystem, Layer, Option, Schedule } from "effect"
import { Anycast } from "./anycast/Anycast.ts"
import { Bird } from "./bird/Bird.ts"
import { Cni } from "./cni/Cni.ts"
import { conflistWhenReady } from "./install/install.ts"
import { Ipam } from "./ipam/Ipam.ts"
import { KubeApi, type KubeUnavailable } from "./kube/KubeApi.ts"
import { keepPrepared } from "./netlink/keepPrepared.ts"
import * as NetlinkLayer from "./netlink/layer.ts"
import { Netlink } from "./netlink/Netlink.ts"
import { Uplink } from "./netlink/Uplink.ts"
import * as LoopDelay from "./process/LoopDelay.ts"
import { keepTrimmed } from "./process/trim.ts"
import { VERSION } from "./process/version.ts"
import * as Http from "./report/Http.ts"
import { NodeReporter } from "./report/NodeReporter.ts"
import { nodeNameOf, type Settings } from "./Settings.ts"
import * as DelQueue from "./socket/DelQueue.ts"
import { Introspection } from "./socket/Introspection.ts"
import * as RpcServer from "./socket/RpcServer.ts"
import { Allocations } from "./state/Allocations.ts"
import { adoptState, countUnreadable } from "./state/takeOver.ts"

/** Identifies this boot of the kernel (Documentation/admin-guide/sysctl/kernel.rst). */
const BOOT_ID = "/proc/sys/kernel/random/boot_id"

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
    socketPath: settings.birdSocket
  })
  return RpcServer.layer({ path: settings.socket, onCall: loopDelay.busy }).pipe(
    Layer.provideMerge(Introspection.layer({ nodeName })),
    Layer.provideMerge(Layer.merge(Cni.layer({ bootId }), NodeReporter.layer)),
    Layer.provideMerge(Anycast.layer),
    Layer.provideMerge(Layer.merge(Uplink.layer, bird)),
    Layer.provideMerge(state),
    Layer.provideMerge(kernelAndKube)
  )
}

/** Does the DELs that came while there was no agent; `then` runs with the queue still locked. Returns how many failed. */
const workOff = Effect.fn("workOff")(function*<E>(settings: Settings, then: Effect.Effect<void, E>) {
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
const workOffRest = (settings: Settings, kept: number) =>
  workOff(settings, Effect.void).pipe(
    Effect.tapError((error) => Effect.logError(error.message)),
    Effect.retry(Schedule.spaced("60 seconds")),
    Effect.repeat({ while: (left) => left > 0, schedule: Schedule.spaced("60 seconds") }),
    Effect.delay("60 seconds"),
    Effect.when(Effect.succeed(kept > 0)),
    Effect.asVoid
  )

/**
 * Takes over, works off the queue of DELs, and only then listens: no ADD may be served while an address that a queued
 * DEL frees is still held.
 */
const comeUp = Effect.fn("comeUp")(function*(settings: Settings, bootId: string) {
  const netlink = yield* Netlink
  const rpc = yield* RpcServer.RpcServer
  for (const problem of yield* netlink.prepareHost) yield* Effect.logWarning(problem)
  yield* adoptState({ bootId })
  return yield* workOff(settings, rpc.listen)
})

const serve = Effect.fnUntraced(function*(settings: Settings, bootId: string, loopDelay: LoopDelay.LoopDelay) {
  const anycast = yield* Anycast
  const bird = yield* Bird
  const cni = yield* Cni
  const kube = yield* KubeApi
  const reporter = yield* NodeReporter
  const ready = reporter.notServing.pipe(
    Effect.repeat({ until: (reason) => reason === undefined, schedule: Schedule.spaced("200 millis") }),
    Effect.asVoid
  )
  const conflist = Option.match(settings.cniConfDir, {
    onNone: () => Effect.void,
    onSome: (confDir) =>
      conflistWhenReady({ confDir, binDir: settings.cniBinDir }, { takeover: false, ready }).pipe(
        // Pods that run, and a conflist that is there already, need the agent whatever this folder's state is.
        Effect.tapError((error) => Effect.logError(error.message)),
        Effect.retry(Schedule.spaced("15 seconds"))
      )
  })
  const kept = yield* comeUp(settings, bootId)
  yield* Layer.build(Http.layer({ address: settings.http, beforeScrape: loopDelay.publish }))
  const milliseconds = Math.round(performance.now())
  yield* Effect.logInfo(`flock-agent ${VERSION} serves on ${settings.socket}`).pipe(
    Effect.annotateLogs({ node: nodeNameOf(settings), milliseconds })
  )
  const loops = [
    cni.run,
    kube.run,
    bird.run,
    anycast.run,
    reporter.run,
    conflist,
    keepPrepared,
    keepTrimmed,
    workOffRest(settings, kept)
  ]
  return yield* Effect.all(loops, { concurrency: "unbounded", discard: true })
})

/** Never returns but by failure or interruption. */
export const run = (settings: Settings) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    yield* RpcServer.assertUnserved(settings.socket)
    const bootId = (yield* fs.readFileString(BOOT_ID)).trim()
    yield* fs.makeDirectory(settings.stateDir, { recursive: true, mode: 0o755 })
    const loopDelay = LoopDelay.make()
    return yield* serve(settings, bootId, loopDelay).pipe(
      Effect.provide(layerOf(settings, bootId, loopDelay))
    )
  }).pipe(Effect.scoped)
