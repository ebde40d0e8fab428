import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Path } from "effect"
import { TestClock } from "effect/testing"
import { makeHandover } from "../../../src/bird/handover.ts"

const MARK = "/run/flock/bird/agent-ended"

const open = Effect.gen(function*() {
  const files = new Set<string>()
  const fs = FileSystem.makeNoop({
    writeFileString: (file) => Effect.sync(() => void files.add(file)),
    remove: (file) => Effect.sync(() => void files.delete(file))
  })
  return { files, handover: makeHandover(fs, yield* Path.Path, "/run/flock/bird/bird.conf") }
}).pipe(Effect.provide(Path.layer))

it.effect("is marked at the agent's end, and taken by the next one with its file", () =>
  Effect.gen(function*() {
    const { files, handover } = yield* open
    yield* handover.leave
    assert.deepStrictEqual([...files], [MARK])
    yield* handover.take
    assert.isEmpty(files)
  }))

it.effect("is taken after 10 s by an agent that keeps the file as it was: a BIRD that ends must not wait each time", () =>
  Effect.gen(function*() {
    const { files, handover } = yield* open
    yield* handover.leave
    yield* Effect.forkChild(handover.run)
    yield* TestClock.adjust("9 seconds")
    assert.deepStrictEqual([...files], [MARK])
    yield* TestClock.adjust("1 second")
    assert.isEmpty(files)
  }))
