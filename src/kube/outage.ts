/**
 * The end of an outage, for all of a node who wait for it: one of them asks `/readyz`, over one connection, until there is an
 * answer; the others wait for that. Every list and watch asking for itself would cost a server that comes up, and is not ready
 * yet, several handshakes and refusals a node, each time.
 */
import { Effect, MutableRef, Random, Semaphore } from "effect"
import { type BackOff, delayOf } from "./reflectorState.ts"

/**
 * Milliseconds. A refused connection costs the server nothing, and blindness costs the node: readiness is not heard. So the
 * most is a sixth of what a single request may wait for; docs/scale.md has the storm that follows from it.
 */
export const probing: BackOff = { first: 200, most: 5000 }

export interface Outage {
  /** The server answered, and as one that serves. */
  readonly answered: Effect.Effect<void>
  /** Ends when the server has answered something since now, or after `limit` milliseconds. */
  readonly end: (limit: number) => Effect.Effect<void>
}

/** `ping` asks, and calls `answered` when there is an answer. */
export const make = (
  ping: (answered: Effect.Effect<void>) => Effect.Effect<void>,
  times: BackOff = probing
): Outage => {
  const answers = MutableRef.make(0)
  const attempts = MutableRef.make(0)
  const lock = Semaphore.makeUnsafe(1)
  const answered = Effect.sync(() => {
    MutableRef.update(answers, (n) => n + 1)
    MutableRef.set(attempts, 0)
  })

  const end = Effect.suspend(() => {
    const before = MutableRef.get(answers)
    const isOver = () => MutableRef.get(answers) > before
    return lock.withPermit(Effect.gen(function*() {
      while (!isOver()) {
        yield* Effect.sleep(delayOf(MutableRef.updateAndGet(attempts, (n) => n + 1), yield* Random.next, times))
        if (!isOver()) yield* ping(answered)
      }
    }))
  })

  return { answered, end: (limit) => Effect.asVoid(Effect.timeoutOption(end, limit)) }
}
