/**
 * How records are written. In a folder in memory, which the state folder is meant to be, a call is done in 5 to 20 µs and
 * waits for no device, so it is made where it stands: a way through the thread pool costs ten times as much of a processor
 * (0.18 against 0.03 ms for one record's write, rename and removal), and an ADD made five. Like any memory that
 * the agent touches, such a page can have to wait for reclaim; that is no more than the event loop risks anyway. On
 * every other file system the thread pool it is, for a disk may take seconds.
 */
import { Effect, type FileSystem } from "effect"
import * as PlatformError from "effect/PlatformError"
import { renameSync, unlinkSync, writeFileSync } from "node:fs"
import { statfs } from "node:fs/promises"

export type RecordFiles = Pick<FileSystem.FileSystem, "writeFileString" | "rename" | "remove">

/** `TMPFS_MAGIC` and `RAMFS_MAGIC` (linux/magic.h). */
const IN_MEMORY: ReadonlySet<number> = new Set([0x0102_1994, 0x8584_58f6])

const errorCodeOf = (cause: unknown): unknown =>
  typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined

/** A call of node:fs with the errors of Effect's file system. */
const call = (method: string, path: string, body: () => void): Effect.Effect<void, PlatformError.PlatformError> =>
  Effect.try({
    try: body,
    catch: (cause) =>
      PlatformError.systemError({
        _tag: errorCodeOf(cause) === "ENOENT" ? "NotFound" : "Unknown",
        module: "FileSystem",
        method,
        pathOrDescriptor: path,
        cause
      })
  })

const atOnce: RecordFiles = {
  writeFileString: (path, text, { mode } = {}) =>
    call("writeFile", path, () => writeFileSync(path, text, mode === undefined ? {} : { mode })),
  rename: (from, to) => call("rename", from, () => renameSync(from, to)),
  remove: (path, { force = false } = {}) => {
    const removed = call("remove", path, () => unlinkSync(path))
    return force ? Effect.catchReason(removed, "PlatformError", "NotFound", () => Effect.void) : removed
  }
}

/** For a folder that exists; `fs` where it is not in memory, or cannot be looked at. */
export const recordFiles = (fs: FileSystem.FileSystem, folder: string): Effect.Effect<RecordFiles> =>
  Effect.promise(() => statfs(folder).then(({ type }) => IN_MEMORY.has(type) ? atOnce : fs, () => fs))
