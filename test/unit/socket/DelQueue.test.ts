import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, FileSystem, Ref, type Scope } from "effect"
import { encodeRequest } from "../../../src/domain/Wire.ts"
import { drain, readIntents, removeIntent, withQueueLock } from "../../../src/socket/DelQueue.ts"

const folder = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const dir = `${yield* fs.makeTempDirectoryScoped({ prefix: "flock-queue-" })}/del-queue`
  yield* fs.makeDirectory(dir)
  return { dir, fs }
})

const del = (containerId: string) => encodeRequest({ op: "DEL", containerId, ifName: "eth0", config: "{}" })

const run = <A, E>(effect: Effect.Effect<A, E, FileSystem.FileSystem | Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("DelQueue", () => {
  it.effect("reads what the plugin writes, in a fixed order, and nothing else", () =>
    run(Effect.gen(function*() {
      const { dir, fs } = yield* folder
      yield* fs.writeFileString(`${dir}/b@eth0.json`, del("b"))
      yield* fs.writeFileString(`${dir}/a@eth0.json`, del("a"))
      yield* fs.writeFileString(`${dir}/unfinished`, "{\"op\"")
      yield* fs.writeFileString(`${dir}/lock`, "")
      const { intents, unreadable } = yield* readIntents(dir)
      assert.deepStrictEqual(intents.map((i) => i.request.containerId), ["a", "b"])
      assert.strictEqual(unreadable, 0)
      for (const intent of intents) yield* removeIntent(intent)
      for (const intent of intents) yield* removeIntent(intent)
      assert.deepStrictEqual((yield* fs.readDirectory(dir)).toSorted(), ["lock", "unfinished"])
    })))

  it.effect("sets aside what it cannot read, keeps it, and goes on counting it", () =>
    run(Effect.gen(function*() {
      const { dir, fs } = yield* folder
      const bad: Record<string, string> = {
        empty: "",
        half: "{\"op\":\"DEL\",\"contain",
        add: encodeRequest({ op: "ADD", containerId: "x", ifName: "eth0" }),
        nobody: del(""),
        array: "[]",
        large: del("c").replace("{}", "x".repeat(70_000))
      }
      for (const [name, text] of Object.entries(bad)) yield* fs.writeFileString(`${dir}/${name}.json`, text)
      yield* fs.makeDirectory(`${dir}/folder.json`)
      yield* fs.symlink("/dev/zero", `${dir}/link.json`)
      yield* fs.writeFileString(`${dir}/good@eth0.json`, del("good"))
      const first = yield* readIntents(dir)
      assert.deepStrictEqual(first.intents.map((i) => i.request.containerId), ["good"])
      assert.strictEqual(first.unreadable, 8)
      yield* fs.writeFileString(`${dir}/empty.json`, "again")
      assert.strictEqual((yield* readIntents(dir)).unreadable, 9)
      assert.strictEqual(yield* fs.readFileString(`${dir}/empty.json.bad`), "")
      assert.strictEqual(yield* fs.readFileString(`${dir}/empty.json.2.bad`), "again")
      assert.strictEqual(yield* fs.readFileString(`${dir}/large.json.bad`), bad["large"])
    })))

  it.effect("drains each DEL once; one that fails, or dies, stays and stops no other", () =>
    run(Effect.gen(function*() {
      const { dir, fs } = yield* folder
      const names = Array.from({ length: 200 }, (_, i) => `c${i}`)
      for (const name of names) yield* fs.writeFileString(`${dir}/${name}@eth0.json`, del(name))
      const seen = yield* Ref.make<ReadonlyArray<string>>([])
      const drained = yield* drain(dir, ({ containerId }) =>
        Ref.update(seen, (all) => [...all, containerId]).pipe(
          Effect.andThen(
            containerId === "c7" ? Effect.fail("no") : containerId === "c8" ? Effect.die("bug") : Effect.void
          )
        ))
      assert.deepStrictEqual(drained, { done: 198, kept: 2, unreadable: 0 })
      assert.deepStrictEqual((yield* Ref.get(seen)).toSorted(), names.toSorted())
      assert.deepStrictEqual((yield* fs.readDirectory(dir)).toSorted(), ["c7@eth0.json", "c8@eth0.json"])
      const again = yield* drain(dir, () => Effect.void)
      assert.deepStrictEqual(again, { done: 2, kept: 0, unreadable: 0 })
    })))

  it.effect("makes the folder, readable for its owner only", () =>
    run(Effect.gen(function*() {
      const { dir, fs } = yield* folder
      const below = `${dir}/x/del-queue`
      assert.strictEqual(yield* withQueueLock(below, Effect.succeed("in")), "in")
      assert.strictEqual((yield* fs.stat(below)).mode & 0o777, 0o700)
    })))

  it.effect("fails, naming the folder, where it cannot be made", () =>
    run(Effect.gen(function*() {
      const { dir, fs } = yield* folder
      yield* fs.writeFileString(`${dir}/file`, "")
      const error = yield* Effect.flip(withQueueLock(`${dir}/file/del-queue`, Effect.void))
      assert.include(error.message, `${dir}/file/del-queue`)
    })))

  it.effect("lets one in at a time, gives the lock up on failure, and can be interrupted while it waits", () =>
    run(Effect.gen(function*() {
      const { dir } = yield* folder
      const entered = yield* Deferred.make<void>()
      const leave = yield* Deferred.make<void>()
      const order = yield* Ref.make<ReadonlyArray<string>>([])
      const note = (word: string) => Ref.update(order, (all) => [...all, word])
      const first = yield* Effect.forkChild(withQueueLock(
        dir,
        Deferred.succeed(entered, undefined).pipe(
          Effect.andThen(Deferred.await(leave)),
          Effect.andThen(note("first")),
          Effect.andThen(Effect.fail("failed" as const))
        )
      ))
      yield* Deferred.await(entered)
      const second = yield* Effect.forkChild(withQueueLock(dir, note("second")), { startImmediately: true })
      const third = yield* Effect.forkChild(withQueueLock(dir, note("third")), { startImmediately: true })
      yield* Fiber.interrupt(third)
      yield* Deferred.succeed(leave, undefined)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(first)))
      yield* Fiber.join(second)
      assert.deepStrictEqual(yield* Ref.get(order), ["first", "second"])
      yield* withQueueLock(dir, note("fourth"))
      assert.deepStrictEqual(yield* Ref.get(order), ["first", "second", "fourth"])
    })))
})
