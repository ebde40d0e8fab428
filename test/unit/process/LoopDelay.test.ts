import { assert, it } from "@effect/vitest"
import { Effect, Metric } from "effect"
import { delays, make } from "../../../src/process/LoopDelay.ts"

const seen = Effect.map(Metric.value(delays), ({ count, sum }) => ({ count, sum }))

const blockFor = (millis: number): void => {
  const end = performance.now() + millis
  while (performance.now() < end);
}

it.live("is measured while calls are under way, and not a moment longer", () =>
  Effect.gen(function*() {
    const loop = yield* make
    const before = yield* seen
    const ended = [loop.busy(), loop.busy()]
    blockFor(40)
    yield* Effect.repeat(Effect.sleep("5 millis"), {
      until: () => Effect.map(seen, ({ count }) => count > before.count + 1)
    })
    assert.isAtLeast((yield* seen).sum - before.sum, 0.03)
    ended[0]?.()
    const one = yield* seen
    yield* Effect.repeat(Effect.sleep("5 millis"), {
      until: () => Effect.map(seen, ({ count }) => count > one.count)
    })
    ended[1]?.()
    const none = yield* seen
    yield* Effect.sleep("50 millis")
    assert.deepStrictEqual(yield* seen, none)
  }))
