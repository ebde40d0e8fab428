/** A `KubeApi` that runs, and everything it said. */
import { Context, Effect, Layer, Option, Schedule, type Scope, Stream, SubscriptionRef } from "effect"
import { formatCidr } from "../../../src/domain/Ip.ts"
import { KubeApi, type KubeUnavailable, type NodeConfigState } from "../../../src/kube/KubeApi.ts"

/** The prefix in force or `none`, `!` where something newer is not, `?` where it is not known. */
export const show = ({ current, rejected, unknown }: NodeConfigState): string =>
  [
    Option.match(current, { onNone: () => "none", onSome: ({ spec }) => spec.cidr4 ? formatCidr(spec.cidr4) : "" }),
    ...(Option.isSome(rejected) ? ["!"] : []),
    ...(unknown === undefined ? [] : ["?"])
  ].join(" ")

export interface Running {
  readonly kube: KubeApi["Service"]
  /** Every state, the first included, without repeats. */
  readonly states: Array<string>
  /** Every change of a pod. */
  readonly changes: Array<string>
  readonly until: (state: string) => Effect.Effect<void>
}

export const eventually = (what: () => string, look: () => boolean): Effect.Effect<void> =>
  Effect.sync(look).pipe(
    Effect.repeat({ until: (seen) => seen, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOrElse({
      duration: "20 seconds",
      orElse: () => Effect.die(new Error(`never happened: ${what()}`))
    }),
    Effect.asVoid
  )

export const start = Effect.fnUntraced(function*(
  layer: Layer.Layer<KubeApi, KubeUnavailable>
): Effect.fn.Return<Running, KubeUnavailable, Scope.Scope> {
  const kube = Context.get(yield* Layer.build(layer), KubeApi)
  const states: Array<string> = []
  const changes: Array<string> = []
  yield* Effect.forkScoped(Stream.runForEach(SubscriptionRef.changes(kube.nodeConfig), (state) =>
    Effect.sync(() => {
      const text = show(state)
      if (states.at(-1) !== text) states.push(text)
    })))
  yield* Effect.forkScoped(
    Stream.runForEach(
      kube.podChanges,
      ({ _tag, pod }) => Effect.sync(() => changes.push(`${_tag} ${pod.uid}${pod.ready ? " ready" : ""}`))
    )
  )
  yield* Effect.yieldNow
  yield* Effect.forkScoped(kube.run)
  return {
    kube,
    states,
    changes,
    until: (state) => eventually(() => `${state}, seen: ${states.join(", ")}`, () => states.at(-1) === state)
  }
})
