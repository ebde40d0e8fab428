import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Ref } from "effect"
import { TestClock } from "effect/testing"
import { make } from "../../../src/kube/outage.ts"

const TIMES = { first: 200, most: 5000 }
const NODE_WATCHES = 4

/** A server that is asked, and answers from when it is set to. */
const server = Effect.gen(function*() {
  const asked = yield* Ref.make(0)
  const up = yield* Ref.make(false)
  const outage = make(
    (answered) =>
      Effect.andThen(Ref.update(asked, (n) => n + 1), Effect.flatMap(Ref.get(up), (is) => is ? answered : Effect.void)),
    TIMES
  )
  return { asked: Ref.get(asked), outage, up }
})

const ended = (fibers: ReadonlyArray<Fiber.Fiber<void>>) =>
  fibers.filter((fiber) => fiber.pollUnsafe() !== undefined).length

describe("an outage", () => {
  it.effect("is asked about by one, at most every 5 s, and ends for all at the first answer", () =>
    Effect.gen(function*() {
      const { asked, outage, up } = yield* server
      const fibers = yield* Effect.forEach(
        Array.from({ length: NODE_WATCHES }),
        () => Effect.forkChild(outage.end(600_000))
      )
      yield* TestClock.adjust("2 minutes")
      const count = yield* asked
      // 0.1 to 6.4 s until it is at its most, then every 2.5 to 5 s
      assert.isAtLeast(count, 24)
      assert.isAtMost(count, 55)
      assert.strictEqual(ended(fibers), 0)
      yield* Ref.set(up, true)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(ended(fibers), NODE_WATCHES)
      assert.strictEqual(yield* asked, count + 1)
    }))

  it.effect("ends by an answer to anybody, without asking", () =>
    Effect.gen(function*() {
      const { asked, outage } = yield* server
      const fiber = yield* Effect.forkChild(outage.end(600_000))
      yield* TestClock.adjust("1 minute")
      const before = yield* asked
      yield* outage.answered
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(ended([fiber]), 1)
      assert.strictEqual(yield* asked, before)
    }))

  it.effect("does not end by an answer from before it", () =>
    Effect.gen(function*() {
      const { outage } = yield* server
      yield* outage.answered
      const fiber = yield* Effect.forkChild(outage.end(600_000))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(ended([fiber]), 0)
    }))

  it.effect("is waited for no longer than the limit, and by the others when the one who asks is gone", () =>
    Effect.gen(function*() {
      const { asked, outage, up } = yield* server
      const first = yield* Effect.forkChild(outage.end(20_000))
      yield* TestClock.adjust("1 second")
      const second = yield* Effect.forkChild(outage.end(600_000))
      const third = yield* Effect.forkChild(outage.end(600_000))
      yield* TestClock.adjust("20 seconds")
      assert.strictEqual(ended([first]), 1)
      yield* Fiber.interrupt(second)
      const before = yield* asked
      yield* TestClock.adjust("20 seconds")
      // Who goes on asking goes on where it was, and does not begin at 0.2 s again.
      assert.isAtLeast(yield* asked, before + 3)
      assert.isAtMost(yield* asked, before + 8)
      yield* Ref.set(up, true)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(ended([third]), 1)
    }))
})
