import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, Layer } from "effect"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { attachmentKey } from "../../../src/domain/Allocation.ts"
import { Allocations } from "../../../src/state/Allocations.ts"
import { recordFiles } from "../../../src/state/recordFiles.ts"
import { allocation } from "../fixtures.ts"

const one = allocation()
const key = attachmentKey(one)

/** A tmpfs on every Linux (shm_overview(7)); `/var/tmp` is none. */
const MEMORY = "/dev/shm"
const DISK = "/var/tmp"

const folderIn = (parent: string) =>
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(parent, "flock-records-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )

/** Every use of it is a defect. */
const unused = FileSystem.makeNoop({})

it.effect("in memory the thread pool is not used", () =>
  Effect.gen(function*() {
    const folder = yield* folderIn(MEMORY)
    const files = yield* recordFiles(unused, folder)
    yield* files.writeFileString(join(folder, "a.pending"), "text", { mode: 0o600 })
    assert.strictEqual(statSync(join(folder, "a.pending")).mode & 0o777, 0o600)
    yield* files.rename(join(folder, "a.pending"), join(folder, "a.json"))
    assert.strictEqual(readFileSync(join(folder, "a.json"), "utf8"), "text")
    yield* files.remove(join(folder, "a.json"))
    assert.deepStrictEqual(readdirSync(folder), [])
  }).pipe(Effect.scoped))

it.effect.each(["/proc", "/sys", "/no/such/folder"])("%s is none in memory", (folder) =>
  Effect.gen(function*() {
    assert.strictEqual(yield* recordFiles(unused, folder), unused)
  }))

describe.each([MEMORY, DISK])("records in %s", (parent) => {
  const use = <A, E>(body: (folder: string) => Effect.Effect<A, E, Allocations>) =>
    Effect.gen(function*() {
      const folder = join(yield* folderIn(parent), "allocations")
      return yield* body(folder).pipe(Effect.provide(Allocations.layer({ directory: folder, bootId: one.bootId })))
    }).pipe(Effect.scoped, Effect.provide(Layer.orDie(NodeServices.layer)))

  it.effect("are pending, then final, then gone", () =>
    use((folder) =>
      Effect.gen(function*() {
        const allocations = yield* Allocations
        yield* allocations.prepare(one)
        assert.deepStrictEqual(readdirSync(folder), ["c1@eth0.pending"])
        yield* allocations.commit(one)
        assert.deepStrictEqual(readdirSync(folder), ["c1@eth0.json"])
        assert.strictEqual(statSync(join(folder, "c1@eth0.json")).mode & 0o777, 0o600)
        yield* allocations.remove(key)
        yield* allocations.remove(key)
        assert.deepStrictEqual(readdirSync(folder), [])
      })
    ))

  it.effect("are written though somebody removed their folder", () =>
    use((folder) =>
      Effect.gen(function*() {
        rmSync(folder, { recursive: true })
        yield* (yield* Allocations).prepare(one)
        assert.deepStrictEqual(readdirSync(folder), ["c1@eth0.pending"])
      })
    ))

  it.effect("fail with the file and the kernel's word", () =>
    use((folder) =>
      Effect.gen(function*() {
        const allocations = yield* Allocations
        mkdirSync(join(folder, "c1@eth0.pending"))
        const written = yield* Effect.flip(allocations.prepare(one))
        assert.strictEqual(
          written.message,
          `${folder}/c1@eth0.pending: EISDIR: illegal operation on a directory`
        )
        rmSync(join(folder, "c1@eth0.pending"), { recursive: true })
        const renamed = yield* Effect.flip(allocations.commit(one))
        assert.strictEqual(renamed.message, `${folder}/c1@eth0.json: ENOENT: no such file or directory`)
        assert.deepStrictEqual(yield* allocations.list, [])
      })
    ))
})
