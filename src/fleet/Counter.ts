/** Keeps `status.counts` of the templates true, together with the other nodes: does what {@link look} says. */
import { Clock, Effect, Queue, Random, Ref } from "effect"
import { API_VERSION } from "../domain/NodeConfig.ts"
import { countsOf, TEMPLATE_KIND } from "../domain/NodeConfigTemplate.ts"
import { record } from "../domain/record.ts"
import type { ApiError } from "../kube/access.ts"
import type { FleetApi } from "../kube/fleetApi.ts"
import type { Followers } from "../kube/followers.ts"
import { timeOf } from "../kube/nodeCondition.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { sayOnce } from "../process/sayOnce.ts"
import { counted, look, postponed, type State, type ToCount } from "./counting.ts"
import { type Known, onTemplates } from "./known.ts"
import { isNewer, versionOf } from "./objects.ts"

/** Somebody has written meanwhile: what they wrote comes by the watch. */
const CONFLICT = 409
const AGAIN = { first: 10_000, most: 600_000 }

const generationOf = (template: unknown): number => Number(record(record(template)["metadata"])["generation"] ?? 0)

/** `template` as it was seen: whoever changed it meanwhile is looked at first. `now`: RFC 3339. */
export const countsBody = (name: string, template: unknown, followers: Followers, now: string): unknown => ({
  apiVersion: API_VERSION,
  kind: TEMPLATE_KIND,
  metadata: { name, resourceVersion: versionOf(template) },
  status: { counts: { ...followers, observedGeneration: generationOf(template), at: now } }
})

export interface Counter {
  /** Something changed. */
  readonly wake: Effect.Effect<void>
  readonly run: Effect.Effect<never>
}

export const makeCounter = Effect.fnUntraced(
  function*(fleet: FleetApi, known: Ref.Ref<Known>): Effect.fn.Return<Counter> {
    const state = yield* Ref.make<State>(new Map())
    const failures = yield* Ref.make(0)
    const news = yield* Queue.sliding<void>(1)

    const templateOf = (name: string) => Effect.map(Ref.get(known), ({ templates }) => templates?.get(name))

    const count = Effect.fnUntraced(function*({ template: name, version }: ToCount): Effect.fn.Return<void, ApiError> {
      const asked = yield* templateOf(name)
      const followers = yield* fleet.followers(name, generationOf(asked), version)
      const template = yield* templateOf(name)
      if (template === undefined || generationOf(template) !== generationOf(asked)) return
      const theirs = countsOf(template)
      const isTheirs = versionOf(template) !== versionOf(asked) && theirs !== undefined &&
        theirs.observedGeneration === generationOf(template) &&
        isNewer(theirs.resourceVersion, followers.resourceVersion)
      if (!isTheirs) {
        const body = countsBody(name, template, followers, timeOf(yield* Clock.currentTimeMillis))
        const object = yield* fleet.applyCounts(name, body)
        yield* Ref.update(known, (before) => onTemplates(before, { _tag: "Changed", item: object }))
      }
      yield* Ref.update(state, (before) => counted(before, name, followers.resourceVersion))
    })

    const circumstances = Effect.all({ now: monotonicMillis, chance: Random.next, latency: fleet.latency })

    const postpone = Effect.fnUntraced(function*(name: string, millis: number) {
      const seen = yield* circumstances
      yield* Ref.update(state, (before) => postponed(before, name, seen, millis))
    })

    const say = sayOnce((message) => Effect.logWarning(`NodeConfigTemplate: not counted: ${message}`))

    const tryToCount = (what: ToCount) =>
      count(what).pipe(
        Effect.catchIf(({ status }) => status === CONFLICT, () => postpone(what.template, 0)),
        say,
        Effect.tap(() => Ref.set(failures, 0)),
        Effect.catch(() =>
          Effect.flatMap(
            Ref.updateAndGet(failures, (n) => n + 1),
            (n) => postpone(what.template, Math.min(AGAIN.first * 2 ** (n - 1), AGAIN.most))
          )
        )
      )

    const turn = Effect.gen(function*() {
      const { own, templates } = yield* Ref.get(known)
      if (templates === undefined || !own.listed) return yield* Queue.take(news)
      const seen = look(yield* Ref.get(state), {
        templates: [...templates].map(([name, it]) => ({ name, generation: generationOf(it), counts: countsOf(it) })),
        nodeConfig: own.object,
        ...(yield* circumstances)
      })
      yield* Ref.set(state, seen.state)
      if (seen.count !== undefined) return yield* tryToCount(seen.count)
      return yield* seen.lookIn === undefined
        ? Queue.take(news)
        : Effect.race(Queue.take(news), Effect.sleep(seen.lookIn))
    })

    return { wake: Effect.asVoid(Queue.offer(news, undefined)), run: Effect.forever(turn) }
  }
)
