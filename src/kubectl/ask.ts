/** Questions to many nodes at once, with progress for people who wait. */
import { Effect, Ref, Result } from "effect"
import type { AgentPod, KubectlFailed } from "./kubectl.ts"

const AT_ONCE = 8

export interface Answer<A> {
  readonly node: string
  readonly answer: Result.Result<A, { readonly message: string }>
}

/** On a terminal a line that counts; elsewhere nothing. */
const progress = (done: number, all: number) =>
  Effect.sync(() => {
    if (!process.stderr.isTTY || all < 2) return
    process.stderr.write(done < all ? `\rasked ${done} of ${all} nodes` : "\r\x1b[K")
  })

/** Every node's answer or failure, in the order of `pods`; one that fails stops no other. */
export const askAll = Effect.fnUntraced(function*<A>(
  pods: ReadonlyArray<AgentPod>,
  ask: (pod: AgentPod) => Effect.Effect<A, KubectlFailed>
) {
  const done = yield* Ref.make(0)
  yield* progress(0, pods.length)
  return yield* Effect.forEach(
    pods,
    (pod): Effect.Effect<Answer<A>> =>
      Effect.result(ask(pod)).pipe(
        Effect.map((answer) => ({ node: pod.node, answer })),
        Effect.tap(() => Effect.flatMap(Ref.updateAndGet(done, (n) => n + 1), (n) => progress(n, pods.length)))
      ),
    { concurrency: AT_ONCE }
  )
})
