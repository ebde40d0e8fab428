import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Ref } from "effect"
import { TestClock } from "effect/testing"
import { keepRunning } from "../../../src/process/keepRunning.ts"
import { sayOnce } from "../../../src/process/sayOnce.ts"

describe("a part of the agent that is kept running", () => {
  it.effect.each<[string, Effect.Effect<void, string>]>([
    ["a defect", Effect.die(new Error("bug"))],
    ["a failure", Effect.fail("no")],
    ["an end", Effect.void]
  ])("starts again after %s: at once a few times, later every minute", ([, end]) =>
    Effect.gen(function*() {
      const starts = yield* Ref.make(0)
      const other = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(Effect.all([
        keepRunning("x")(Effect.andThen(Ref.update(starts, (n) => n + 1), end)),
        keepRunning("y")(Effect.onInterrupt(Effect.never, () => Deferred.succeed(other, undefined)))
      ], { concurrency: "unbounded" }))
      yield* TestClock.adjust("8 seconds")
      assert.strictEqual(yield* Ref.get(starts), 4)
      yield* TestClock.adjust("10 minutes")
      const few = yield* Ref.get(starts)
      assert.isTrue(few >= 12 && few <= 18, `${few} starts`)
      assert.isFalse(yield* Deferred.isDone(other), "the others go on")
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* Deferred.isDone(other), "it ends when it is told to")
    }))
})

describe("a failure that repeats", () => {
  it.effect("is said once, and again when it is another or came back", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const outcomes = ["a", "a", "b", undefined, "b"]
      const attempt = Effect.suspend(() => {
        const message = outcomes.shift()
        return message === undefined ? Effect.void : Effect.fail({ message })
      }).pipe(sayOnce((message) => Effect.sync(() => said.push(message))))
      for (let i = 0; i < 5; i++) yield* Effect.ignore(attempt)
      assert.deepStrictEqual(said, ["a", "b", "b"])
    }))
})
