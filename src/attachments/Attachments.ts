/**
 * What was built stays built: the kernel's state of every attachment's host side, and of the node as their router, is held
 * to what is wanted, at once on the kernel's own notifications and by a tick.
 *
 * It takes no lock against ADD and DEL. What an ADD is building has no committed record and is not wanted yet. What a look
 * found counts only while the same allocation is wanted still, and what is sent then names the link by the index that it was
 * seen with, so of one that a DEL removes meanwhile the kernel knows nothing any more.
 */
import { Context, Effect, Layer, Metric, PubSub, Queue, Ref, Stream, SubscriptionRef } from "effect"
import type { Unreachable } from "../domain/announcement.ts"
import { formatAddress } from "../domain/Ip.ts"
import { quote } from "../domain/quote.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { type HostDifference, Netlink, type NetlinkError } from "../netlink/Netlink.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"
import { answerForGateways } from "../state/gateways.ts"
import * as S from "./attachmentsState.ts"
import * as Judge from "./judge.ts"
import * as metrics from "./metrics.ts"
import { changed, everythingSuspect } from "./suspects.ts"

/** For what the kernel does not tell: most settings, and a foreign route that has gone. */
const TICK = "15 seconds"

/** What follows within this time is one look: a link that goes tells of ten things. */
const GATHER = 2

export type Holes = ReadonlyMap<string, Unreachable>

const listed = (words: ReadonlyArray<string>): string =>
  words.slice(0, 5).join(", ") + (words.length > 5 ? ` and ${words.length - 5} more` : "")

const make = Effect.gen(function*() {
  const allocations = yield* Allocations
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const services = yield* Effect.context<Allocations | KubeApi | Netlink>()
  const state = yield* Ref.make(S.initial)
  const holes = yield* Ref.make<Holes>(new Map())
  const moved = yield* PubSub.unbounded<ReadonlyArray<string>>()
  const wake = yield* Queue.sliding<void>(1)

  const mark = (step: (state: S.State) => S.State) =>
    Effect.gen(function*() {
      const before = yield* Ref.getAndUpdate(state, step)
      if ((yield* Ref.get(state)) !== before) yield* Queue.offer(wake, undefined)
    })

  const readAllocations = Effect.flatMap(allocations.list, (list) => Ref.update(state, (now) => S.allocated(now, list)))

  /** Tells who can no longer be reached, and who can again. */
  const publish = Effect.gen(function*() {
    const { wanted } = yield* Ref.get(state)
    const now = S.unreachable(yield* Ref.get(state))
    const before = yield* Ref.getAndSet(holes, now)
    const names = [...new Set([...before.keys(), ...now.keys()])].filter((name) =>
      before.get(name)?._tag !== now.get(name)?._tag || wordsOf(before.get(name)) !== wordsOf(now.get(name))
    )
    for (const reason of ["LinkDown", "Cut"] as const) {
      const count = [...now.values()].filter(({ _tag }) => _tag === reason).length
      yield* Metric.update(metrics.unreachableBy[reason], count)
    }
    if (names.length === 0) return
    yield* PubSub.publish(moved, names)
    for (const name of names) {
      const hole = now.get(name)
      const pod = wanted.get(name)?.allocation.pod
      if (pod === undefined || hole?._tag !== "Cut") continue
      yield* Effect.logWarning(`a pod cannot be reached and is not announced: ${hole.words}`)
      if (pod.name === "") continue
      yield* kube.event({
        on: { kind: "Pod", pod },
        type: "Warning",
        reason: "NetworkCut",
        message: `not as flock made it, and it cannot be put right: ${hole.words}`
      })
    }
  })

  const prepare = Effect.gen(function*() {
    const failed = (error: NetlinkError) => Effect.succeed({ restored: [], problems: [error.message] })
    const settings = yield* Effect.catch(netlink.prepareHost, failed)
    const gateways = yield* answerForGateways.pipe(
      Effect.provideContext(services),
      Effect.map((missing) => ({
        restored: missing.map((gateway) => `gateway ${formatAddress(gateway)}`),
        problems: []
      })),
      Effect.catch(failed)
    )
    const prepared = {
      restored: [...settings.restored, ...gateways.restored],
      problems: [...settings.problems, ...gateways.problems]
    }
    const now = yield* monotonicMillis
    const { fight, isNew, news } = yield* Ref.modify(state, (before) => {
      const judged = Judge.nodePrepared(before, prepared, now)
      return [{ ...judged, isNew: judged.state.nodeProblem !== before.nodeProblem }, judged.state] as const
    })
    if (prepared.restored.length > 0) yield* Metric.update(metrics.repairsOf("node"), prepared.restored.length)
    if (news) yield* Effect.logWarning(`settings were not as they have to be; set: ${listed(prepared.restored)}`)
    if (fight) {
      yield* Effect.logWarning(
        `something keeps changing this, and it is put right again and again: ${listed(prepared.restored)}`
      )
    }
    if (isNew && prepared.problems.length > 0) {
      yield* Effect.logWarning(listed(prepared.problems))
    }
  })

  const say = Effect.fnUntraced(function*({ fights, news }: Judge.Judged) {
    if (news.length > 0) {
      yield* Effect.logWarning(`something else had changed this; put right: ${listed(news.map(wordsOfDifference))}`)
    }
    if (fights.length > 0) {
      yield* Effect.logWarning(
        `something keeps changing this, and it is put right again and again: ${listed(fights.map(wordsOfDifference))}`
      )
    }
  })

  const look = Effect.fnUntraced(function*(plans: Parameters<Netlink["Service"]["lookAtHostEnds"]>[0]) {
    const { differences, links } = yield* netlink.lookAtHostEnds(plans)
    // What was deleted meanwhile is wanted no more.
    yield* readAllocations
    const now = yield* monotonicMillis
    const judged = yield* Ref.modify(state, (before) => {
      const judged = Judge.looked(before, { plans, differences, links }, now)
      return [judged, judged.state] as const
    })
    if (judged.repair.length > 0) {
      const failed = yield* netlink.repairHostEnds(judged.repair)
      yield* readAllocations
      const gone = new Set(["ENODEV", "ENXIO"])
      const failures = failed.filter(({ error }) => !gone.has(error.errno)).map(({ difference, error }) => ({
        difference,
        message: error.message
      }))
      yield* Ref.update(state, (now) => Judge.refused(now, failures))
      for (const [kind, list] of Map.groupBy(judged.repair, ({ kind }) => kind)) {
        yield* Metric.update(metrics.repairsOf(kind), list.length)
      }
    }
    yield* say(judged)
  })

  const pass = Effect.gen(function*() {
    yield* readAllocations
    const now = yield* monotonicMillis
    const batch = yield* Ref.modify(state, (state) => S.takeSuspects(state, now))
    if (batch.node) yield* prepare
    if (batch.plans.length > 0) yield* look(batch.plans)
    yield* publish
  })

  const retryLater = (error: NetlinkError) =>
    Effect.andThen(
      Effect.logWarning(`pods' links could not be looked at: ${error.message}; will try again`),
      Effect.andThen(Effect.sleep("1 second"), mark(everythingSuspect))
    )

  const worker = Effect.gen(function*() {
    const due = S.nextDue(yield* Ref.get(state), yield* monotonicMillis)
    const wait = due === undefined ? Effect.never : Effect.sleep(Math.max(0, due - (yield* monotonicMillis)))
    yield* Effect.race(Queue.take(wake), wait)
    yield* Effect.sleep(GATHER)
    yield* pass.pipe(Effect.catch(retryLater))
  }).pipe(
    Effect.catchDefect((defect) => Effect.logError("pods' links could not be looked at", defect)),
    Effect.forever
  )

  const watch = netlink.hostChanges.pipe(
    Stream.runForEachArray((changes) => mark((now) => changed(now, changes))),
    Effect.catch((error) => Effect.logWarning(`the watch of the kernel failed and is opened again: ${error.message}`)),
    Effect.andThen(Effect.sleep("1 second")),
    Effect.andThen(mark(everythingSuspect)),
    Effect.forever
  )

  return Attachments.of({
    restore: Effect.gen(function*() {
      yield* readAllocations
      // A host that does not answer for them yet is no news.
      yield* Effect.ignore(Effect.provideContext(answerForGateways, services))
      yield* Ref.update(state, everythingSuspect)
      yield* pass
    }).pipe(Effect.catch((error) => Effect.logWarning(`pods' links could not be looked at: ${error.message}`))),
    run: Effect.all([
      worker,
      watch,
      Stream.runForEach(allocations.changes, () => Queue.offer(wake, undefined)),
      // Another node prefix has another gateway.
      Stream.runForEach(SubscriptionRef.changes(kube.nodeConfig), () => mark(everythingSuspect)),
      every(TICK)(mark(everythingSuspect))
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never)),
    unreachable: Ref.get(holes),
    changes: Stream.fromPubSub(moved),
    problems: Effect.gen(function*() {
      const { nodeProblem } = yield* Ref.get(state)
      const cut = [...(yield* Ref.get(holes)).values()].flatMap((hole) => hole._tag === "Cut" ? [hole.words] : [])
      return [...nodeProblem === undefined ? [] : [nodeProblem], ...cut]
    })
  })
})

const wordsOf = (hole: Unreachable | undefined): string => hole?._tag === "Cut" ? hole.words : ""

const wordsOfDifference = ({ words }: HostDifference): string => quote(words).slice(1, -1)

export class Attachments extends Context.Service<Attachments, {
  /** Looks at everything and puts right what differs: for the start. */
  readonly restore: Effect.Effect<void>
  /** Follows the kernel and allocations. Run it once. */
  readonly run: Effect.Effect<never>
  /** Attachments that packets do not reach, by `hostIfName`, with the reason. */
  readonly unreachable: Effect.Effect<Holes>
  /** `hostIfName`s for which `unreachable` has another answer than before. */
  readonly changes: Stream.Stream<ReadonlyArray<string>>
  /** What is not as it has to be and cannot be put right, of the node and of pods' links, in words. */
  readonly problems: Effect.Effect<ReadonlyArray<string>>
}>()("flock/Attachments") {
  static readonly layer: Layer.Layer<Attachments, never, Allocations | KubeApi | Netlink> = Layer.effect(
    Attachments,
    make
  )

  /** Members that a test does not give die when they are used. */
  static readonly layerTest = (members: Partial<Attachments["Service"]>) => Layer.mock(Attachments, members)
}
