/** {@link Allocations} on a disk in memory: the real service, so what a test sees of it cannot drift. */
import { Context, Effect, FileSystem, Layer } from "effect"
import * as PlatformError from "effect/PlatformError"
import { Allocations } from "./Allocations.ts"

const DIRECTORY = "/allocations"

const failure = (_tag: "NotFound" | "Unknown", method: string, description: string) =>
  PlatformError.systemError({ _tag, module: "FileSystem", method, description })

/** The folder of records. What is in it survives the layer, as a tmpfs survives the agent. */
export class TestDisk {
  /** Content by name. */
  readonly files = new Map<string, string>()
  /** No space is left for this. */
  full: "write" | "rename" | undefined
}

const nameOf = (path: string): string => path.slice(DIRECTORY.length + 1)

const fileSystem = (disk: TestDisk) => {
  const { files } = disk
  const space = (method: "write" | "rename") =>
    Effect.suspend(() =>
      disk.full === method
        ? Effect.fail(failure("Unknown", method, "ENOSPC: no space left on device"))
        : Effect.void
    )
  const read = (path: string, method: string) =>
    Effect.suspend(() => {
      const content = files.get(nameOf(path))
      return content === undefined
        ? Effect.fail(failure("NotFound", method, `ENOENT: no such file, ${method} '${path}'`))
        : Effect.succeed(content)
    })
  return FileSystem.makeNoop({
    makeDirectory: () => Effect.void,
    readDirectory: () => Effect.sync(() => [...files.keys()]),
    readFileString: (path) => read(path, "open"),
    writeFileString: (path, content) =>
      // As the kernel does it: the file is there, and empty, before the first byte is refused.
      Effect.sync(() => files.set(nameOf(path), "")).pipe(
        Effect.andThen(space("write")),
        Effect.andThen(Effect.sync(() => files.set(nameOf(path), content)))
      ),
    rename: (from, to) =>
      Effect.gen(function*() {
        yield* space("rename")
        const content = yield* read(from, "rename")
        files.delete(nameOf(from))
        files.set(nameOf(to), content)
      }),
    remove: (path) => Effect.sync(() => files.delete(nameOf(path)))
  })
}

export class AllocationsTest extends Context.Service<AllocationsTest, TestDisk>()("flock/AllocationsTest") {}

/** Starts from what is on the disk, a new one at each building where none is given; `bootId` is `boot`. */
export const layerTest = (given?: TestDisk): Layer.Layer<Allocations | AllocationsTest> =>
  Layer.suspend(() => {
    const disk = given ?? new TestDisk()
    return Layer.orDie(Allocations.layer({ directory: DIRECTORY, bootId: "boot" })).pipe(
      Layer.provide(Layer.succeed(FileSystem.FileSystem, fileSystem(disk))),
      Layer.merge(Layer.succeed(AllocationsTest, disk))
    )
  })
