import { Effect, type FileSystem } from "effect"
import type { PlatformError } from "effect/PlatformError"
import { dirname } from "node:path"

/**
 * A folder and those above it, if they are not there. Node's own recursive mkdir says ENOENT where the disk is read-only,
 * and never returns in some folders of /proc.
 */
export const makeFolder = (
  fs: Pick<FileSystem.FileSystem, "makeDirectory">,
  path: string,
  mode?: number
): Effect.Effect<void, PlatformError> => {
  const make = fs.makeDirectory(path, mode === undefined ? {} : { mode }).pipe(
    Effect.catchReason("PlatformError", "AlreadyExists", () => Effect.void)
  )
  const parent = dirname(path)
  return parent === path
    ? make
    : Effect.catchReason(make, "PlatformError", "NotFound", () => Effect.andThen(makeFolder(fs, parent), make))
}
