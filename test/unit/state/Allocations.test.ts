import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { attachmentKey } from "../../../src/domain/Allocation.ts"
import { Allocations } from "../../../src/state/Allocations.ts"
import { layerTest, TestDisk } from "../../../src/state/AllocationsTest.ts"
import { allocation } from "../fixtures.ts"

const one = allocation()

/** With the service on a disk that is full at first. */
const onFullDisk = <A>(full: "write" | "rename", use: (disk: TestDisk) => Effect.Effect<A, unknown, Allocations>) => {
  const disk = new TestDisk()
  disk.full = full
  return use(disk).pipe(Effect.provide(layerTest(disk)))
}

describe.each(["write", "rename"] as const)("a disk that is full at the %s", (full) => {
  it.effect("keeps a rebuilt allocation in memory, and nothing half-written that the next agent would undo", () =>
    onFullDisk(full, (disk) =>
      Effect.gen(function*() {
        const allocations = yield* Allocations
        yield* allocations.adopt(one)
        assert.deepStrictEqual([...disk.files.keys()], [])
        assert.deepStrictEqual(yield* allocations.list, [one])
        assert.deepStrictEqual(yield* allocations.unwritten, [one])
        disk.full = undefined
        yield* allocations.adopt(one)
        assert.deepStrictEqual([...disk.files.keys()], ["c1@eth0.json"])
        assert.deepStrictEqual(yield* allocations.unwritten, [])
      })))

  it.effect("forgets what is removed meanwhile", () =>
    onFullDisk(full, () =>
      Effect.gen(function*() {
        const allocations = yield* Allocations
        yield* allocations.adopt(one)
        yield* allocations.remove(attachmentKey(one))
        assert.deepStrictEqual(yield* allocations.unwritten, [])
        assert.isTrue(Option.isNone(yield* allocations.get(attachmentKey(one))))
      })))
})

it.effect("an intent that cannot be written leaves nothing", () =>
  onFullDisk("write", (disk) =>
    Effect.gen(function*() {
      yield* Effect.flip((yield* Allocations).prepare(one))
      assert.deepStrictEqual([...disk.files.keys()], [])
    })))

it.effect("what was being rebuilt when the agent ended is no ADD that was cut short", () => {
  const disk = new TestDisk()
  disk.files.set("c1@eth0.rebuilt", "{")
  disk.files.set("c2@eth0.pending", "{")
  return Effect.gen(function*() {
    const { interrupted } = yield* Allocations
    assert.deepStrictEqual(interrupted, ["c2/eth0"])
    assert.deepStrictEqual([...disk.files.keys()], ["c2@eth0.pending"])
  }).pipe(Effect.provide(layerTest(disk)))
})
