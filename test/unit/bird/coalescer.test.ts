import { assert, describe, it } from "@effect/vitest"
import { Effect, Ref } from "effect"
import { TestClock } from "effect/testing"
import { makeCoalescer } from "../../../src/bird/coalescer.ts"

/** A coalescer with its loop running, whose reload takes `takes` and counts. */
const start = Effect.fnUntraced(function*(options: {
  readonly takes?: number
  readonly outcome?: (run: number) => Effect.Effect<boolean, string>
} = {}) {
  const starts: Array<number> = []
  const running = yield* Ref.make(0)
  let most = 0
  const reload = Effect.gen(function*() {
    starts.push(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
    most = Math.max(most, yield* Ref.updateAndGet(running, (n) => n + 1))
    yield* Effect.sleep(options.takes ?? 0)
    yield* Ref.update(running, (n) => n - 1)
    return yield* (options.outcome ?? (() => Effect.succeed(true)))(starts.length)
  })
  const { request, run } = yield* makeCoalescer({ reload, window: "500 millis" })
  yield* Effect.forkScoped(run)
  const settle = TestClock.adjust(0)
  yield* settle
  return { request, settle, starts, most: () => most, run }
})

describe("coalescer", () => {
  it.effect("reloads at once on the first request", () =>
    Effect.gen(function*() {
      const { request, settle, starts } = yield* start()
      yield* request
      yield* settle
      assert.deepStrictEqual(starts, [0])
    }))

  it.effect("makes any number of requests in the window one reload at its end", () =>
    Effect.gen(function*() {
      const { request, starts } = yield* start()
      yield* request
      yield* TestClock.adjust("1 millis")
      yield* Effect.repeat(request, { times: 499 })
      yield* TestClock.adjust("498 millis")
      assert.deepStrictEqual(starts, [0])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(starts, [0, 500])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(starts, [0, 500])
    }))

  it.effect("reloads at once again after a quiet window", () =>
    Effect.gen(function*() {
      const { request, settle, starts } = yield* start()
      yield* request
      yield* TestClock.adjust("501 millis")
      yield* request
      yield* settle
      assert.deepStrictEqual(starts, [0, 501])
    }))

  it.effect("never reloads twice within 500 ms under steady requests", () =>
    Effect.gen(function*() {
      const { request, starts } = yield* start({ takes: 20 })
      for (let i = 0; i < 300; i++) {
        yield* request
        yield* TestClock.adjust("10 millis")
      }
      assert.deepStrictEqual(starts, [0, 500, 1000, 1500, 2000, 2500, 3000])
    }))

  it.effect("follows a request during a reload with another reload, not at the same time", () =>
    Effect.gen(function*() {
      const { most, request, starts } = yield* start({ takes: 2000 })
      yield* request
      yield* TestClock.adjust("1900 millis")
      yield* request
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(starts, [0, 2000])
      assert.strictEqual(most(), 1)
    }))

  it.effect("does not hold the window for a round that found nothing to do", () =>
    Effect.gen(function*() {
      const { request, starts } = yield* start({ outcome: (n) => Effect.succeed(n > 1) })
      yield* request
      yield* TestClock.adjust("1 millis")
      yield* request
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(starts, [0, 1])
    }))

  it.effect("repeats one that failed until it succeeds, once a window", () =>
    Effect.gen(function*() {
      const { request, starts } = yield* start({ outcome: (n) => n < 3 ? Effect.fail("no") : Effect.succeed(true) })
      yield* request
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(starts, [0, 500, 1000])
    }))

  it.effect("lives on after a defect", () =>
    Effect.gen(function*() {
      const { request, starts } = yield* start({ outcome: (n) => n === 1 ? Effect.die("bug") : Effect.succeed(true) })
      yield* request
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(starts, [0, 500])
    }))

  it.effect("never reloads two at a time, even if its loop runs twice", () =>
    Effect.gen(function*() {
      const { most, request, run } = yield* start({ takes: 700 })
      yield* Effect.forkScoped(run)
      yield* request
      yield* TestClock.adjust("100 millis")
      yield* request
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(most(), 1)
    }))
})
