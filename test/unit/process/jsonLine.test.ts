/** What a line of the agent's log has, and has not. */
import { assert, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { jsonLine } from "../../../src/process/jsonLine.ts"

const linesOf = Effect.fnUntraced(function*(effect: Effect.Effect<void>) {
  const lines: Array<string> = []
  const collect = Logger.map(jsonLine, (line) => void lines.push(line))
  yield* Effect.provide(effect, Logger.layer([collect]))
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
})

it.effect("has the same keys in the same order, and those that it is about; no span and no fiber", () =>
  Effect.gen(function*() {
    const [line] = yield* linesOf(
      Effect.logWarning("ADD refused").pipe(
        Effect.annotateLogs({ verb: "ADD", milliseconds: 2.5 }),
        Effect.withLogSpan("inner"),
        Effect.withSpan("outer")
      )
    )
    assert.deepStrictEqual(Object.keys(line ?? {}), ["timestamp", "level", "message", "verb", "milliseconds"])
    assert.match(String(line?.["timestamp"]), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.deepInclude(line, { level: "WARN", message: "ADD refused", verb: "ADD", milliseconds: 2.5 })
  }))

it.effect("has a cause only where there is one, and one line for it", () =>
  Effect.gen(function*() {
    const [failed, plain] = yield* linesOf(
      Effect.die(new Error("a\nb")).pipe(
        Effect.catchCause((cause) => Effect.logError("it failed", cause)),
        Effect.andThen(Effect.logInfo("well"))
      )
    )
    assert.strictEqual(failed?.["message"], "it failed")
    assert.match(String(failed?.["cause"]), /Error: a\nb/)
    assert.notProperty(plain, "cause")
  }))

it.effect("lets no annotation take one of its own keys", () =>
  Effect.gen(function*() {
    const lines = yield* linesOf(Effect.logInfo("true").pipe(Effect.annotateLogs({ level: "ERROR", message: "false" })))
    assert.deepInclude(lines[0], { level: "INFO", message: "true" })
  }))
