/**
 * One worker that holds the kernel's protocol-201 routes to what the gate says. It keeps a mirror of what it installed,
 * so that a flip of one pod costs a look at that pod's addresses; full passes check the mirror against the kernel.
 */
import { Clock, Effect, Match, Metric, Queue } from "effect"
import { Bird } from "../bird/Bird.ts"
import { type Cidr, equalAddress, type IpAddress } from "../domain/Ip.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { type KernelChange, Netlink, PROTOCOL_ANNOUNCED, PROTOCOL_LINGERING } from "../netlink/Netlink.ts"
import { Allocations } from "../state/Allocations.ts"
import type { Flip } from "./exportProbe.ts"
import { destinationKey, emptyIndex, type Index, makeIndex, type PodCache } from "./gate.ts"
import { LINGER_MS, lingerPlan } from "./linger.ts"
import * as metrics from "./metrics.ts"
import { Pending } from "./Pending.ts"
import { allKeys, type Installed, plan, type World } from "./routePlan.ts"
import type { Changed } from "./table.ts"
import * as table from "./table.ts"

interface State {
  readonly index: Index
  readonly cache: PodCache
  readonly installed: Installed
}

export interface Reconciler {
  /** Handles what is marked, forever; one batch at a time. */
  readonly work: Effect.Effect<never>
  /** Marks a full pass a moment after one that failed, forever. */
  readonly retries: Effect.Effect<never>
  /** Marks the routes whose time to linger is over, forever. */
  readonly leaves: Effect.Effect<never>
  readonly markFull: Effect.Effect<void>
  readonly markAllocations: Effect.Effect<void>
  readonly markPods: (pods: ReadonlyArray<PodInfo>) => Effect.Effect<void>
  readonly markKernel: (changes: ReadonlyArray<KernelChange>) => Effect.Effect<void>
  readonly state: Effect.Effect<State>
  /** Whether the route to this destination is in the kernel, as far as the mirror knows. */
  readonly isInstalled: (destination: Cidr) => boolean
}

const sameAddresses = (a: ReadonlyArray<IpAddress>, b: ReadonlyArray<IpAddress>): boolean =>
  a.length === b.length && a.every((address, i) => equalAddress(address, b[i] as IpAddress))

export const make = (onFlip: (flip: Flip) => void) =>
  Effect.gen(function*() {
    const allocations = yield* Allocations
    const netlink = yield* Netlink
    const kube = yield* KubeApi
    const bird = yield* Bird
    const wake = yield* Queue.sliding<void>(1)
    const failed = yield* Queue.sliding<void>(1)
    const leaving = yield* Queue.sliding<void>(1)
    const pending = new Pending()
    let index = emptyIndex
    let exportSet: ReadonlyArray<IpAddress> | undefined
    let links = new Map<string, number>()
    let loaded = false

    const cache = Effect.all({ pods: kube.pods, synced: kube.podsListed })
    const signal = Effect.asVoid(Queue.offer(wake, undefined))
    const needsRetry = Effect.asVoid(Queue.offer(failed, undefined))

    const announcements = table.make(netlink, PROTOCOL_ANNOUNCED, needsRetry)
    const lingering = table.make(netlink, PROTOCOL_LINGERING, needsRetry)
    const until = new Map<string, number>()

    const readLinks = Effect.gen(function*() {
      links = new Map((yield* netlink.links).map((link) => [link.ifName, link.ifIndex]))
    })

    const readAllocations = Effect.gen(function*() {
      index = makeIndex(yield* allocations.list)
      if (exportSet !== undefined && sameAddresses(exportSet, index.exportSet)) return
      exportSet = index.exportSet
      yield* bird.setExportSet(exportSet)
      yield* bird.requestReload
    })

    const report = Effect.fnUntraced(function*(
      { announced, withdrawn }: Changed,
      seen: ReadonlyMap<string, bigint>
    ) {
      const now = yield* Clock.currentTimeNanos
      const installed = announcements.installed()
      for (const { destination } of [...withdrawn, ...announced]) {
        const key = destinationKey(destination)
        const since = seen.get(key)
        if (since === undefined) continue
        yield* Metric.update(metrics.kernelSeconds, Number(now - since) / 1e9)
        onFlip({ destination, exported: installed.has(key), since })
      }
      yield* Metric.update(metrics.announced, installed.size)
      if (withdrawn.length > 0) {
        yield* Metric.update(metrics.transitionsTo.withdrawn, withdrawn.length)
        yield* Effect.logInfo(`anycast: withdrew ${table.named(withdrawn)}`)
      }
      if (announced.length > 0) {
        yield* Metric.update(metrics.transitionsTo.announced, announced.length)
        yield* Effect.logInfo(`anycast: announced ${table.named(announced)}`)
      }
    })

    const pass = Effect.fnUntraced(function*(keys: ReadonlySet<string>, seen: ReadonlyMap<string, bigint>) {
      const missing = [...keys].some((key) =>
        index.byDestination.get(key)?.some((holder) => !links.has(holder.allocation.hostIfName))
      )
      if (missing) yield* readLinks
      const installed = announcements.installed()
      const world: World = { ...(yield* cache), ifIndexOf: (name) => links.get(name), installed }
      const changed = yield* announcements.apply(plan(keys, index, world))
      if (changed.announced.length + changed.withdrawn.length > 0) yield* report(changed, seen)
      const millis = yield* Clock.currentTimeMillis
      yield* lingering.apply(lingerPlan(keys, index, world, lingering.installed(), until, millis))
      if (until.size > 0) yield* Queue.offer(leaving, undefined)
    })

    const batch = Effect.gen(function*() {
      const { allocations: reindex, full, leave, links: gone, lost, pods } = pending.take()
      const before = index
      if (reindex || !loaded) yield* readAllocations
      const keys = new Set(reindex ? [...before.byDestination.keys(), ...index.byDestination.keys()] : [])
      const seen = new Map<string, bigint>()
      for (const [pod, since] of pods) {
        for (const key of index.byPod.get(pod) ?? []) {
          keys.add(key)
          if (!seen.has(key)) seen.set(key, since)
        }
      }
      const vanished = [...lost].filter(announcements.forget)
      for (const key of vanished) keys.add(key)
      if (leave) { for (const key of until.keys()) keys.add(key) }
      for (const name of gone) links.delete(name)
      // A route that vanishes is most often the first sign of its link's end.
      if (vanished.length > 0) yield* readLinks
      if (loaded && keys.size > 0) yield* pass(keys, seen)
      if (!full && loaded && ![...gone].some((name) => index.byLink.has(name))) return
      if (index.byDestination.size > 0) yield* readLinks
      yield* announcements.load
      yield* lingering.load
      loaded = true
      yield* pass(allKeys(index, announcements.installed(), lingering.installed()), seen)
      yield* Metric.update(metrics.announced, announcements.installed().size)
    })

    const work = Queue.take(wake).pipe(
      // What else arrives in this turn of the event loop joins the batch.
      Effect.andThen(Effect.yieldNow),
      Effect.andThen(batch),
      Effect.catchCause((cause) =>
        Effect.andThen(Effect.logWarning("anycast: a pass failed; will try again", cause), needsRetry)
      ),
      Effect.forever
    )

    const onKernel = Match.type<KernelChange>().pipe(
      Match.tag("Overrun", () => pending.full()),
      Match.tag("LinkRemoved", ({ ifName }) => pending.link(ifName)),
      Match.tag("RouteRemoved", ({ route }) => {
        if (route.protocol === PROTOCOL_ANNOUNCED) pending.lost(destinationKey(route.destination))
      }),
      Match.orElse(() => undefined)
    )

    const marking = (mark: () => void) => Effect.andThen(Effect.sync(mark), signal)

    return {
      work,
      retries: Queue.take(failed).pipe(
        Effect.andThen(Effect.sleep("100 millis")),
        Effect.andThen(marking(() => pending.full())),
        Effect.forever
      ),
      leaves: Queue.take(leaving).pipe(
        Effect.andThen(Effect.sleep(LINGER_MS)),
        Effect.andThen(marking(() => pending.leave())),
        Effect.forever
      ),
      markFull: marking(() => pending.full()),
      markAllocations: marking(() => pending.allocations()),
      markPods: Effect.fnUntraced(function*(pods) {
        const now = yield* Clock.currentTimeNanos
        for (const pod of pods) pending.pod(podKey(pod), now)
        yield* signal
      }),
      markKernel: (changes) =>
        marking(() => {
          for (const change of changes) onKernel(change)
        }),
      state: Effect.map(cache, (cache) => ({ index, cache, installed: announcements.installed() })),
      isInstalled: (destination) => announcements.installed().has(destinationKey(destination))
    } satisfies Reconciler
  })
