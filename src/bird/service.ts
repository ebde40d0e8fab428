/** `Bird` over BIRD's file and control socket. */
import { Duration, Effect, FileSystem, Path, Queue, Schedule, Stream, SubscriptionRef } from "effect"
import { equalAddress, type IpAddress } from "../domain/Ip.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink, type RouterNeighbour } from "../netlink/Netlink.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { pathProblem } from "../process/fileProblem.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { makeApply } from "./apply.ts"
import { type Event, initialState, type State } from "./birdEvents.ts"
import { step } from "./birdState.ts"
import { initial, type PeerStatus, peerText, sameForSubscribers } from "./birdStatus.ts"
import { type Coalescer, makeCoalescer } from "./coalescer.ts"
import { makeControl } from "./control.ts"
import { exportedTo, exportsTo, mayExport } from "./exports.ts"
import { makeHandover } from "./handover.ts"
import { loadKept } from "./keptFile.ts"
import { makeKeep } from "./keptRoutes.ts"
import { makeRetire } from "./kernelMetric.ts"
import { linkNews, type Links } from "./linkNews.ts"
import { listen } from "./messages.ts"
import { started } from "./metrics.ts"
import { makePerform } from "./perform.ts"
import { switchSessions } from "./questions.ts"
import { makeRounds, nowText } from "./rounds.ts"
import { isNotification } from "./sessionNotes.ts"

export interface Options {
  /** False: `--no-bird`; nothing is written and nothing is asked. */
  readonly enabled: boolean
  readonly nodeName: string
  readonly confPath: string
  readonly socketPath: string
  /** Where what is kept of sessions outlives the agent. */
  readonly keptFile: string
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
  exports: Effect.succeed([]),
  mayExport: () => Effect.succeed(undefined),
  withdrawAll: () => Effect.succeed([]),
  restoreAll: Effect.succeed([]),
  run: Effect.never
}

const sameRouter = (a: RouterNeighbour | undefined, b: RouterNeighbour | undefined): boolean =>
  a !== undefined && b !== undefined && a.ifIndex === b.ifIndex && a.gone === b.gone &&
  equalAddress(a.address, b.address)

const sameLinks = (a: State["links"], b: State["links"]): boolean => a.join() === b.join()

/** Asks for a reload when anything changed that `bird.conf` depends on, and now and then although nothing seems to. */
const follow = (
  kube: KubeApi["Service"],
  netlink: Netlink["Service"],
  state: SubscriptionRef.SubscriptionRef<State>,
  { request }: Coalescer,
  onLink: Effect.Effect<void>
) => {
  const onChange = Stream.merge(
    Stream.map(SubscriptionRef.changes(kube.nodeConfig), () => undefined),
    Stream.map(kube.secretChanges, () => undefined)
  ).pipe(Stream.runForEach(() => request))
  const onAddress = netlink.changes.pipe(
    Stream.filter(({ _tag }) => _tag === "AddressChanged" || _tag === "Overrun"),
    Stream.runForEach(() => request),
    Effect.catch((error) => Effect.logWarning(`watching the node's addresses: ${error.message}`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )
  const onLinkChange = netlink.linkChanges.pipe(
    Stream.mapAccum((): Links => new Map(), (known, change) => {
      const { links, news } = linkNews(known, change)
      return [links, news ? [undefined] : []] as const
    }),
    Stream.runForEach(() => Effect.andThen(request, onLink)),
    Effect.catch((error) => Effect.logWarning(`watching the node's links: ${error.message}`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )
  const onRouter = SubscriptionRef.changes(state).pipe(
    Stream.map(({ links }) => links),
    Stream.changesWith(sameLinks),
    Stream.switchMap((links) => links.length === 0 ? Stream.empty : netlink.routerChanges(links)),
    // Each advertisement of one that is known already tells nothing.
    Stream.changesWith(sameRouter),
    Stream.runForEach(() => request),
    Effect.catch((error) => Effect.logWarning(`watching for routers: ${error.message}`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )
  return [onChange, onAddress, onLinkChange, onRouter, Effect.repeat(request, Schedule.spaced(HEAL))]
}

const receivers = (peers: ReadonlyArray<PeerStatus>) =>
  peers.filter(({ state }) => state === "Established")
    .map((peer) => ({ address: peerText(peer), protocol: peer.protocol }))

const watch = (status: Effect.Effect<unknown>, state: SubscriptionRef.SubscriptionRef<State>) =>
  Effect.forever(Effect.gen(function*() {
    yield* status
    const { changedAt } = yield* SubscriptionRef.get(state)
    yield* Effect.sleep((yield* monotonicMillis) - changedAt < SOON_FOR ? WATCH_SOON : WATCH)
  }))

/** Whether the sessions are to be shut now: somebody may have taken it back meanwhile. */
const leaving = (
  state: SubscriptionRef.SubscriptionRef<State>,
  dispatch: (event: Event) => Effect.Effect<void>,
  request: Effect.Effect<void>
) =>
  Effect.gen(function*() {
    const { config, drained, status: { peers } } = yield* SubscriptionRef.get(state)
    const seconds = config?.spec.bgp?.withdraw.gracefulShutdownSeconds ?? 0
    if (drained || seconds === 0 || !peers.some(({ state }) => state === "Established")) return true
    yield* dispatch({ _tag: "LeaveAsked" })
    yield* request
    yield* Effect.logInfo(`everything is announced with GRACEFUL_SHUTDOWN for ${seconds} s, then the sessions are shut`)
    const decided = SubscriptionRef.changes(state).pipe(
      Stream.filter(({ drained, leaving }) => drained || !leaving),
      Stream.runHead
    )
    yield* Effect.raceFirst(Effect.sleep(Duration.seconds(seconds)), decided)
    const after = yield* SubscriptionRef.get(state)
    return after.leaving || after.drained
  })

export const make = Effect.fn("Bird.make")(function*(options: Options) {
  yield* started
  const fs = yield* FileSystem.FileSystem
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const network = yield* NodeNetwork
  const path = yield* Path.Path
  const confPath = path.resolve(options.confPath)
  const control = yield* makeControl({ socketPath: options.socketPath, timeout: TIMEOUT })
  const apply = makeApply({ fs, path, control, confPath })
  const handover = makeHandover(fs, path, confPath)
  const metric = yield* makeRetire(netlink)
  const state = yield* SubscriptionRef.make({ ...initialState, kept: yield* loadKept(fs, options.keptFile) })
  const keptRoutes = yield* makeKeep(netlink, state)
  const came = yield* Queue.sliding<void>(1)

  const dispatch = Effect.fnUntraced(function*(event: Event): Effect.fn.Return<void> {
    const actions = yield* SubscriptionRef.modify(state, (now) => {
      const next = step(now, event)
      return [next.actions, next.state] as const
    })
    for (const action of actions) yield* perform(action)
  })

  const facts = { nodeName: options.nodeName, confPath, fs, kube, netlink }
  const { round, status } = makeRounds({
    facts,
    control,
    apply,
    written: handover.take,
    state,
    runsWith: metric.runsWith,
    came,
    dispatch
  })
  // What the kernel or the file system refuses now is tried again by the tick; a cut connection to BIRD much sooner.
  const failed = ({ message }: { readonly message: string }) =>
    dispatch({ _tag: "Failed", message }).pipe(Effect.andThen(status), Effect.as(false))
  const coalescer: Coalescer = yield* makeCoalescer({
    reload: round.pipe(Effect.catchTags({
      PlatformError: (error) => failed({ message: pathProblem(error) }),
      NetlinkError: failed
    })),
    window: WINDOW
  })

  const { request } = coalescer
  const perform = makePerform({ control, fs, keptFile: options.keptFile, network, request, dispatch })

  const linkChanged = Effect.flatMap(monotonicMillis, (at) => dispatch({ _tag: "LinkChanged", at }))

  const listening = listen(options.socketPath, came, (lines) =>
    Effect.gen(function*() {
      yield* dispatch({ _tag: "Heard", lines, now: yield* nowText })
      if (lines.some(isNotification)) yield* status
    }), keptRoutes.lost)

  const drain = (drained: boolean) =>
    dispatch({ _tag: "DrainAsked", drained }).pipe(
      Effect.andThen(switchSessions(control, drained ? "disable" : "enable")),
      Effect.ensuring(request),
      Effect.tap(() => status)
    )

  const leave = leaving(state, dispatch, request)

  const withdrawAll = Effect.fnUntraced(function*(now: boolean) {
    return now || (yield* leave) ? yield* drain(true) : []
  })

  const loops = [coalescer.run, watch(status, state), listening, metric.run, keptRoutes.run, handover.run]
  return {
    requestReload: request,
    setExportSet: (addresses: ReadonlyArray<IpAddress>) => dispatch({ _tag: "ExportSetGiven", addresses }),
    status,
    lastStatus: Effect.map(SubscriptionRef.get(state), ({ status }) => status),
    statusChanges: SubscriptionRef.changes(state).pipe(
      Stream.map(({ status }) => status),
      Stream.changesWith(sameForSubscribers)
    ),
    exportedTo: exportedTo(control),
    exports: Effect.flatMap(status, ({ peers }) => exportsTo(control, receivers(peers))),
    mayExport: mayExport(control),
    withdrawAll,
    restoreAll: drain(false),
    run: Effect.all<ReadonlyArray<Effect.Effect<unknown>>, { concurrency: "unbounded"; discard: true }>(
      [...follow(kube, netlink, state, coalescer, linkChanged), ...loops],
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.andThen(Effect.never), Effect.onInterrupt(() => handover.leave))
  }
})
