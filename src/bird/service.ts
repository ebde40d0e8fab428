/** `Bird` over BIRD's file and control socket. */
import { Clock, Effect, FileSystem, Path, Schedule, Stream, SubscriptionRef } from "effect"
import { formatCidr, hostCidr, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink } from "../netlink/Netlink.ts"
import { makeApply, type Outcome } from "./apply.ts"
import { type BirdStatus, gist, initial, liveness, logChanges, withConfigured } from "./birdStatus.ts"
import { makeCoalescer } from "./coalescer.ts"
import { makeControl } from "./control.ts"
import { publish } from "./metrics.ts"
import { parseProtocols } from "./protocols.ts"
import type { PeerProblem } from "./sessions.ts"
import { makeWanted } from "./wanted.ts"

export interface Options {
  /** False: `--no-bird`; nothing is written and nothing is asked. */
  readonly enabled: boolean
  readonly nodeName: string
  readonly confPath: string
  readonly socketPath: string
}

/** At most one reload in this time. */
const WINDOW = "500 millis"
/** Files, BIRD and NodeConfig are compared this often although nothing seems to have changed. */
const HEAL = "15 seconds"
/** BIRD tells nobody of a session's change, so the open connection is asked: about 1 ms of one core each time. */
const WATCH = "2 seconds"
/**
 * … and more often for a while after anything changed: sessions come up then. It also wakes BIRD 2.0.12, which can let
 * a new session's first UPDATE lie until its next timer, up to 3 s (seen).
 */
const WATCH_SOON = "200 millis"
const SOON_FOR = 5000
const TIMEOUT = "5 seconds"

/** The service under `--no-bird`. */
export const disabled = {
  requestReload: Effect.void,
  setExportSet: () => Effect.void,
  status: Effect.succeed(initial(false)),
  lastStatus: Effect.succeed(initial(false)),
  statusChanges: Stream.never,
  exportedTo: () => Effect.succeed(false),
  withdrawAll: Effect.succeed([]),
  restoreAll: Effect.succeed([]),
  run: Effect.never
}

export const make = Effect.fn("Bird.make")(function*(options: Options) {
  const fs = yield* FileSystem.FileSystem
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const path = yield* Path.Path
  const confPath = path.resolve(options.confPath)
  const control = yield* makeControl({ socketPath: options.socketPath, timeout: TIMEOUT })
  const apply = makeApply({ fs, path, control, confPath })
  const last = yield* SubscriptionRef.make(initial(true))
  let exportSet: ReadonlyArray<IpAddress> | undefined
  let drained = false
  let config: NodeConfig | undefined
  let problems: ReadonlyArray<string> = []
  let waiting: ReadonlyArray<PeerProblem> = []
  let refusal = ""
  let reloads = 0
  /** When something last changed, Unix milliseconds. */
  let changed = 0
  const wanted = makeWanted({
    nodeName: options.nodeName,
    confPath,
    fs,
    kube,
    netlink,
    exportSet: () => exportSet,
    drained: () => drained
  })

  const ask = control.command("show protocols all").pipe(
    Effect.map((reply) => ({ up: true, peers: parseProtocols(reply), error: "" })),
    Effect.catch((error) => Effect.succeed({ up: false, peers: [], error: error.message }))
  )
  const status = Effect.gen(function*() {
    const { error, peers, up } = yield* ask
    const errors = [...problems, ...(refusal === "" ? [] : [refusal]), ...(error === "" ? [] : [error])]
    const now: BirdStatus = {
      enabled: true,
      up,
      version: yield* control.version,
      peers: withConfigured(peers, config, waiting),
      stale: errors.length > 0,
      configError: errors.join("; "),
      reloads,
      drained
    }
    const before = yield* SubscriptionRef.get(last)
    yield* publish(now, before)
    yield* logChanges(now, before, error)
    yield* SubscriptionRef.set(last, now)
    if (liveness(now) !== liveness(before)) changed = yield* Clock.currentTimeMillis
    return now
  })

  /** Logs a problem once, not at each round that finds it again. */
  const report = Effect.fnUntraced(function*(found: ReadonlyArray<string>, refused: string) {
    for (const problem of found) if (!problems.includes(problem)) yield* Effect.logWarning(problem)
    if (refused !== "" && refused !== refusal) {
      yield* Effect.logError(`BIRD refuses its configuration, the former one stays in force: ${refused}`)
    }
    problems = found
    refusal = refused
  })

  const round = Effect.gen(function*() {
    const start = performance.now()
    const want = yield* wanted
    config = want.config
    waiting = want.waiting
    const outcome: Outcome = want.rendered === undefined ? { _tag: "Unchanged" } : yield* apply(want.rendered)
    yield* report(want.problems, outcome._tag === "Rejected" ? outcome.detail : "")
    if (outcome._tag === "Applied") {
      reloads++
      changed = yield* Clock.currentTimeMillis
      yield* Effect.logInfo("BIRD took a new configuration").pipe(
        Effect.annotateLogs({
          revision: want.rendered?.revision ?? "",
          milliseconds: Math.round(performance.now() - start)
        })
      )
    }
    yield* status
    return outcome._tag === "Applied"
  })
  // What the kernel or the file system refuses now is tried again by the tick; a cut connection to BIRD much sooner.
  const hindered = (error: { readonly message: string }) =>
    report([error.message], refusal).pipe(Effect.andThen(status), Effect.as(false))
  const attempt = round.pipe(Effect.catchTags({ PlatformError: hindered, NetlinkError: hindered }))
  const coalescer = yield* makeCoalescer({ reload: attempt, window: WINDOW })

  /** A BIRD that came, or came back, may run anything. */
  let generation = 0
  const watch = Effect.gen(function*() {
    yield* status
    const seen = yield* control.generation
    if (seen !== generation) {
      generation = seen
      yield* coalescer.request
    }
    yield* Effect.sleep((yield* Clock.currentTimeMillis) - changed < SOON_FOR ? WATCH_SOON : WATCH)
  })

  const onChange = Stream.merge(
    Stream.map(SubscriptionRef.changes(kube.nodeConfig), () => undefined),
    Stream.map(kube.secretChanges, () => undefined)
  ).pipe(Stream.runForEach(() => coalescer.request))

  const onAddress = netlink.changes.pipe(
    Stream.filter(({ _tag }) => _tag === "AddressChanged" || _tag === "Overrun"),
    Stream.runForEach(() => coalescer.request),
    Effect.catch((error) => Effect.logWarning(`watching the node's addresses: ${error.message}`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )

  // At once by command, and in the file too: a reload would bring sessions back that were only disabled by command.
  const drain = (to: boolean) =>
    Effect.gen(function*() {
      drained = to
      const reply = yield* control.command(`${to ? "disable" : "enable"} "peer_*"`)
      return reply.lines.map(({ text }) => text.trim()).filter((text) => text !== "")
    }).pipe(
      // "No protocols match"
      Effect.catchTag("BirdRefused", (error) => error.code === 8003 ? Effect.succeed([]) : Effect.fail(error)),
      Effect.ensuring(coalescer.request),
      Effect.tap(() => status)
    )

  return {
    requestReload: coalescer.request,
    setExportSet: (addresses: ReadonlyArray<IpAddress>) =>
      Effect.suspend(() => {
        const first = exportSet === undefined
        exportSet = addresses
        return first ? coalescer.request : Effect.void
      }),
    status,
    lastStatus: SubscriptionRef.get(last),
    statusChanges: SubscriptionRef.changes(last).pipe(Stream.changesWith((a, b) => gist(a) === gist(b))),
    exportedTo: Effect.fn("Bird.exportedTo")(function*(address: IpAddress, protocol: string) {
      if (!/^[A-Za-z_]\w*$/.test(protocol)) return false
      const destination = formatCidr(hostCidr(address))
      const reply = yield* Effect.result(control.command(`show route ${destination} exported ${protocol}`))
      return reply._tag === "Success" &&
        reply.success.lines.some(({ text }) => text.trim().startsWith(`${destination} `))
    }),
    withdrawAll: drain(true),
    restoreAll: drain(false),
    run: Effect.all([
      coalescer.run,
      Effect.repeat(coalescer.request, Schedule.spaced(HEAL)),
      Effect.forever(watch),
      onChange,
      onAddress
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))
  }
})
