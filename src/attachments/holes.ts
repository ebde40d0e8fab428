/** Which attachments packets do not reach: kept, counted, and told to the pods that it concerns. */
import { Effect, Metric, PubSub, Ref } from "effect"
import type { Unreachable } from "../domain/announcement.ts"
import { podKey } from "../domain/Pod.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import * as S from "./attachmentsState.ts"
import * as metrics from "./metrics.ts"

/** By `hostIfName`. */
export type Holes = ReadonlyMap<string, Unreachable>

const wordsOf = (hole: Unreachable | undefined): string =>
  hole === undefined || hole._tag === "LinkDown" ? "" : hole.words

const OPENING = {
  Cut: "not as flock made it, and it cannot be put right: ",
  Broken: "the pod has changed its own network, and what that cuts off is not announced: "
} as const

export const make = Effect.fnUntraced(function*(state: Ref.Ref<S.State>) {
  const kube = yield* KubeApi
  const current = yield* Ref.make<Holes>(new Map())
  const moved = yield* PubSub.unbounded<ReadonlyArray<string>>()

  /** Tells who can no longer be reached, and who can again. */
  const publish = Effect.gen(function*() {
    const { wanted } = yield* Ref.get(state)
    const now = S.unreachable(yield* Ref.get(state))
    const before = yield* Ref.getAndSet(current, now)
    const names = [...new Set([...before.keys(), ...now.keys()])].filter((name) =>
      before.get(name)?._tag !== now.get(name)?._tag || wordsOf(before.get(name)) !== wordsOf(now.get(name))
    )
    for (const reason of ["LinkDown", "Cut", "Broken"] as const) {
      const count = [...now.values()].filter(({ _tag }) => _tag === reason).length
      yield* Metric.update(metrics.unreachableBy[reason], count)
    }
    if (names.length === 0) return
    yield* PubSub.publish(moved, names)
    for (const name of names) {
      const hole = now.get(name)
      const pod = wanted.get(name)?.allocation.pod
      if (pod === undefined || hole === undefined || hole._tag === "LinkDown") continue
      yield* Effect.logWarning(
        hole._tag === "Cut"
          ? `a pod cannot be reached and is not announced: ${hole.words}`
          : `pod ${podKey(pod)} has changed its own network and is not announced: ${hole.words}`
      )
      if (pod.name === "") continue
      yield* kube.event({
        on: { kind: "Pod", pod },
        type: "Warning",
        reason: "NetworkCut",
        message: `${OPENING[hole._tag]}${hole.words}`
      })
    }
  })

  return { current, moved, publish }
})
