/**
 * One worker that holds the kernel's protocol-201 routes to what the gate says. It keeps a mirror of what it installed,
 * so that a flip of one pod costs a look at that pod's addresses; full passes check the mirror against the kernel.
 */
import { Clock, Effect, Metric, Queue, Ref } from "effect"
import { Bird } from "../bird/Bird.ts"
import type { Rules } from "../domain/announcement.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import type { KernelChange } from "../netlink/Netlink.ts"
import { type Action, type Event, type State, step } from "./anycastState.ts"
import type { Flip } from "./exportProbe.ts"
import { destinationKey } from "./holders.ts"
import { LINGER_MS } from "./linger.ts"
import * as metrics from "./metrics.ts"
import type { Look } from "./pass.ts"
import * as Passes from "./passes.ts"
import { named } from "./routeTables.ts"
import { say } from "./say.ts"

/** Passes that fail in a row and are logged; what lasts is in the metric. */
const LOGGED_FAILURES = 5

export interface Reconciler {
  /** Handles what is marked, forever; one batch at a time. */
  readonly work: Effect.Effect<never>
  /** Marks a full pass a moment after one that failed, forever. */
  readonly retries: Effect.Effect<never>
  /** Marks the routes whose time to linger is over, forever. */
  readonly leaves: Effect.Effect<never>
  /** By which announcements are judged now. */
  readonly rules: Effect.Effect<Rules>
  readonly markFull: Effect.Effect<void>
  readonly markAllocations: Effect.Effect<void>
  readonly markPods: (pods: ReadonlyArray<PodInfo>) => Effect.Effect<void>
  /** By `hostIfName`. */
  readonly markReach: (links: ReadonlyArray<string>) => Effect.Effect<void>
  readonly markKernel: (changes: ReadonlyArray<KernelChange>) => Effect.Effect<void>
}

/** Counts, times and logs what changed in the kernel. */
const report = Effect.fnUntraced(function*(
  { installed, removed }: Extract<Action, { readonly _tag: "Report" }>,
  seen: Look["seen"],
  onFlip: (flip: Flip) => Effect.Effect<void>
) {
  const now = yield* Clock.monotonicTimeNanos
  for (const [exported, routes] of [[false, removed], [true, installed]] as const) {
    for (const { destination } of routes) {
      const since = seen.get(destinationKey(destination))
      if (since === undefined) continue
      yield* Metric.update(metrics.kernelSeconds, Number(now - since) / 1e9)
      yield* onFlip({ destination, exported, since })
    }
  }
  if (removed.length > 0) {
    yield* Metric.update(metrics.transitionsTo.removed, removed.length)
    yield* Effect.logInfo(`anycast: removed the routes to ${named(removed)}`)
  }
  if (installed.length > 0) {
    yield* Metric.update(metrics.transitionsTo.installed, installed.length)
    yield* Effect.logInfo(`anycast: installed routes to ${named(installed)}`)
  }
})

/** Works on `state`, which nothing else changes. */
export const make = Effect.fnUntraced(function*(
  state: Ref.Ref<State>,
  onFlip: (flip: Flip) => Effect.Effect<void>,
  /** The export set or a route has changed. */
  changed: Effect.Effect<unknown>
) {
  const kube = yield* KubeApi
  const bird = yield* Bird
  const wake = yield* Queue.sliding<void>(1)
  const retry = yield* Queue.sliding<number>(1)
  const leaving = yield* Queue.sliding<void>(1)

  const perform = (action: Action, seen: Look["seen"]): Effect.Effect<unknown> => {
    switch (action._tag) {
      case "Wake":
        return Queue.offer(wake, undefined)
      case "LeaveLater":
        return Queue.offer(leaving, undefined)
      case "GiveExportSet":
        return Effect.all([bird.setExportSet(action.addresses), bird.requestReload, changed])
      case "RetryLater":
        return Queue.offer(retry, action.millis)
      case "Report":
        return Effect.andThen(report(action, seen, onFlip), changed)
      default:
        return say(action, kube)
    }
  }

  const dispatch = Effect.fnUntraced(function*(event: Event, seen: Look["seen"] = new Map()) {
    const actions = yield* Ref.modify(state, (now) => {
      const next = step(now, event)
      return [next.actions, next.state] as const
    })
    for (const action of actions) yield* perform(action, seen)
  })

  const passes = yield* Passes.make(state, dispatch)

  const later = (requests: Queue.Dequeue<void>, millis: number, event: Event) =>
    Queue.take(requests).pipe(Effect.andThen(Effect.delay(dispatch(event), millis)), Effect.forever)

  return {
    work: Queue.take(wake).pipe(
      // What else arrives in this round of the event loop joins the batch.
      Effect.andThen(Effect.yieldNow),
      Effect.andThen(passes.batch),
      Effect.catchCause((cause) =>
        Effect.gen(function*() {
          const { failures } = yield* Ref.get(state)
          const level = failures < LOGGED_FAILURES ? "Warn" : "Debug"
          yield* Effect.logWithLevel(level)("anycast: a pass failed; will try again", cause)
          yield* dispatch({ _tag: "PassFailed" })
        })
      ),
      Effect.forever
    ),
    retries: Queue.take(retry).pipe(
      Effect.flatMap((millis) => Effect.delay(dispatch({ _tag: "FullPassDue" }), millis)),
      Effect.forever
    ),
    leaves: later(leaving, LINGER_MS, { _tag: "LeaveDue" }),
    rules: passes.rules,
    markFull: dispatch({ _tag: "FullPassDue" }),
    markAllocations: dispatch({ _tag: "AllocationsChanged" }),
    markPods: (pods) =>
      Effect.flatMap(
        Clock.monotonicTimeNanos,
        (at) => dispatch({ _tag: "PodsChanged", pods: pods.map(podKey), at })
      ),
    markReach: (links) => dispatch({ _tag: "ReachChanged", links }),
    markKernel: (changes) => dispatch({ _tag: "KernelChanged", changes })
  } satisfies Reconciler
})
