/** Holds the NodeConfig in force and does what {@link step} says: the part that both layers share. */
import { Effect, Option, Ref, Semaphore, SubscriptionRef } from "effect"
import type { EventOn, NodeConfigState } from "./KubeApi.ts"
import { type Action, type Event, initial, type State, step } from "./nodeConfigState.ts"
import type { Saved } from "./saved.ts"

export interface NodeConfigCache {
  readonly ref: SubscriptionRef.SubscriptionRef<NodeConfigState>
  /** Events take effect one after another, in the order of the calls. */
  readonly handle: (event: Event) => Effect.Effect<void>
  /** `unheard` of `KubeApi`. It is no part of `ref`: nothing is to be done about it. */
  readonly unheard: Effect.Effect<string>
  /** `synced` of `KubeApi`: the copy of the last NodeConfig is enough where the source says nothing. */
  readonly synced: (podsListed: Effect.Effect<boolean>) => Effect.Effect<boolean>
}

const logs = { Info: Effect.logInfo, Warn: Effect.logWarning, Error: Effect.logError } as const

export const make = Effect.fnUntraced(function*(options: {
  readonly nodeName: string
  readonly saved: Saved
  /** Where the copy is, for the log. */
  readonly savedIn: string
  readonly record: (event: EventOn) => Effect.Effect<void>
}): Effect.fn.Return<NodeConfigCache> {
  const { nodeName, record, saved, savedIn } = options
  const state = yield* Ref.make<State>(initial(nodeName))
  const ref = yield* SubscriptionRef.make<NodeConfigState>(initial(nodeName).nodeConfig)
  const lock = yield* Semaphore.make(1)

  const perform = (action: Action): Effect.Effect<void> => {
    switch (action._tag) {
      case "Log":
        return logs[action.level](action.message)
      case "Save":
        return saved.save(action.object)
      case "Forget":
        return saved.remove
      case "RecordRejected":
        return record({
          on: { kind: "Node" },
          type: "Warning",
          reason: "NodeConfigRejected",
          message: action.message
        })
    }
  }

  const handle = Effect.fnUntraced(
    function*(event: Event) {
      const before = yield* Ref.get(state)
      const [next, actions] = step(before, event)
      yield* Ref.set(state, next)
      if (next.nodeConfig !== before.nodeConfig) yield* SubscriptionRef.set(ref, next.nodeConfig)
      yield* Effect.forEach(actions, perform, { discard: true })
    },
    lock.withPermit,
    Effect.uninterruptible
  )

  const copy = yield* saved.load
  if (Option.isSome(copy)) yield* handle({ _tag: "Restored", object: copy.value, source: `the copy in ${savedIn}` })

  return {
    ref,
    handle,
    unheard: Effect.map(Ref.get(state), ({ silence }) => silence),
    synced: Effect.fnUntraced(function*(podsListed) {
      const { listed, nodeConfig } = yield* Ref.get(state)
      return listed ? yield* podsListed : Option.isSome(nodeConfig.current)
    })
  }
})
