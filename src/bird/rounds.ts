/** The two things that are done again and again: ask BIRD how it is, and bring it to the wanted configuration. */
import { Clock, Effect, Queue, SubscriptionRef } from "effect"
import { monotonicMillis } from "../process/monotonic.ts"
import type { makeApply, Outcome } from "./apply.ts"
import type { Event, State } from "./birdEvents.ts"
import type { Control } from "./control.ts"
import { ask } from "./questions.ts"
import { readWanted } from "./wanted.ts"

/** RFC 3339, whole seconds. */
export const nowText = Effect.map(
  Clock.currentTimeMillis,
  (millis) => `${new Date(millis).toISOString().slice(0, 19)}Z`
)

export const makeRounds = (deps: {
  readonly facts: Parameters<typeof readWanted>[0]
  readonly control: Control
  readonly apply: ReturnType<typeof makeApply>
  /** `bird.conf` is as this agent wants it, or as BIRD accepts it. */
  readonly written: Effect.Effect<void>
  readonly state: SubscriptionRef.SubscriptionRef<State>
  /** Of BIRD's routes in the kernel, by the configuration that BIRD runs. */
  readonly runsWith: (metric: number) => Effect.Effect<void>
  /** Told when BIRD came, or came back. */
  readonly came: Queue.Enqueue<void>
  readonly dispatch: (event: Event) => Effect.Effect<void>
}) => {
  const { apply, came, control, dispatch, facts, runsWith, state, written } = deps

  const status = Effect.gen(function*() {
    const known = yield* SubscriptionRef.get(state)
    const answer = yield* ask(control, known)
    const generation = yield* control.generation
    if (generation !== known.generation) yield* Queue.offer(came, undefined)
    yield* dispatch({ _tag: "Answered", answer, generation, at: yield* monotonicMillis, now: yield* nowText })
    return (yield* SubscriptionRef.get(state)).status
  })

  const round = Effect.gen(function*() {
    const start = performance.now()
    // What BIRD runs is known before something else takes its place.
    if ((yield* SubscriptionRef.get(state)).generation === 0) yield* status
    const known = yield* SubscriptionRef.get(state)
    const wanted = yield* readWanted(facts, known)
    const { problems, rendered } = wanted
    yield* dispatch({ _tag: "WantedRead", ...wanted })
    const outcome: Outcome = rendered === undefined
      ? { _tag: "Unchanged" }
      : yield* Effect.tap(apply(rendered), written)
    if (rendered !== undefined && (outcome._tag === "Applied" || outcome._tag === "Unchanged")) {
      yield* runsWith(rendered.metric)
    }
    const milliseconds = Math.round(performance.now() - start)
    const at = yield* monotonicMillis
    yield* dispatch({ _tag: "Applied", outcome, problems, revision: rendered?.revision ?? "", milliseconds, at })
    yield* status
    return outcome._tag === "Applied"
  })

  return { round, status }
}
