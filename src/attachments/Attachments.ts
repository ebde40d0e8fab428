/**
 * What was built stays built: the kernel's state of every attachment's host side, and of the node as their router, is held
 * to what is wanted, at once on the kernel's own notifications and by a tick.
 *
 * It takes no lock against ADD and DEL. What an ADD is building has no committed record and is not wanted yet. What a look
 * found counts only while the same allocation is wanted still, and what is sent then names the link by the index that it was
 * seen with, so of one that a DEL removes meanwhile the kernel knows nothing any more.
 */
import { Context, Effect, Layer, Queue, Ref, Stream, SubscriptionRef } from "effect"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink, type NetlinkError } from "../netlink/Netlink.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"
import * as S from "./attachmentsState.ts"
import * as Holes from "./holes.ts"
import * as metrics from "./metrics.ts"
import * as Repairs from "./repairs.ts"
import { changed, everythingSuspect } from "./suspects.ts"

/** For what the kernel does not tell: most settings, and a foreign route that has gone. */
const TICK = "15 seconds"

/**
 * Milliseconds. What follows within this time is one look: a link that goes tells of ten things. With 2, the looks that an
 * ADD causes came in the way of the next one: p50 4.1 in place of 3.5 ms (bench, one after another).
 */
const GATHER = 20

const make = Effect.gen(function*() {
  yield* metrics.started
  const allocations = yield* Allocations
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const state = yield* Ref.make(S.initial)
  const holes = yield* Holes.make(state)
  const repairs = yield* Repairs.make(state)
  const wake = yield* Queue.sliding<void>(1)

  const mark = (step: (state: S.State) => S.State) =>
    Effect.gen(function*() {
      const before = yield* Ref.getAndUpdate(state, step)
      const { moves, suspects } = yield* Ref.get(state)
      // Of the links of an ADD that is under way there is nothing to do.
      if (suspects !== before.suspects || moves !== before.moves) yield* Queue.offer(wake, undefined)
    })

  const pass = Effect.gen(function*() {
    yield* repairs.readAllocations
    const now = yield* monotonicMillis
    const batch = yield* Ref.modify(state, (state) => S.takeSuspects(state, now))
    if (batch.node) yield* repairs.node
    if (batch.plans.length > 0) yield* repairs.links(batch.plans)
    yield* repairs.inside
    yield* holes.publish
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
      yield* repairs.readAllocations
      yield* repairs.gateways
      yield* Ref.update(state, everythingSuspect)
      yield* pass
    }).pipe(Effect.catch((error) => Effect.logWarning(`pods' links could not be looked at: ${error.message}`))),
    run: Effect.all([
      worker,
      watch,
      Stream.runForEach(allocations.changes, () => Queue.offer(wake, undefined)),
      // Another node prefix has another gateway.
      Stream.runForEach(SubscriptionRef.changes(kube.nodeConfig), () => repairs.gateways),
      every(TICK)(mark((now) => S.everyInside(everythingSuspect(now))))
    ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never)),
    unreachable: Ref.get(holes.current),
    changes: Stream.fromPubSub(holes.moved),
    problems: Effect.gen(function*() {
      const { nodeProblem } = yield* Ref.get(state)
      const cut = [...(yield* Ref.get(holes.current)).values()].flatMap((hole) =>
        hole._tag === "Cut" ? [hole.words] : []
      )
      return [...nodeProblem === undefined ? [] : [nodeProblem], ...cut]
    })
  })
})

export class Attachments extends Context.Service<Attachments, {
  /** Looks at everything and puts right what differs: for the start. */
  readonly restore: Effect.Effect<void>
  /** Follows the kernel and allocations. Run it once. */
  readonly run: Effect.Effect<never>
  /** Attachments that packets do not reach, by `hostIfName`, with the reason. */
  readonly unreachable: Effect.Effect<Holes.Holes>
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
