/** What is kept of sessions, in the state directory: it outlives the agent, and not the boot. */
import { Effect, type FileSystem } from "effect"
import { dirname } from "node:path"
import { fileProblem } from "../process/fileProblem.ts"
import { makeFolder } from "../process/makeFolder.ts"
import { decode, encode, type Kept, NOTHING_KEPT } from "./kept.ts"

/** Nothing where there is no file, or one that cannot be read. */
export const loadKept = (fs: FileSystem.FileSystem, file: string): Effect.Effect<Kept> =>
  fs.readFileString(file).pipe(
    Effect.map(decode),
    Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed(NOTHING_KEPT)),
    Effect.catch((error) => Effect.as(Effect.logWarning(`cannot read ${file}: ${fileProblem(error)}`), NOTHING_KEPT))
  )

/** What cannot be written is kept in memory all the same. */
export const saveKept = (fs: FileSystem.FileSystem, file: string, kept: Kept): Effect.Effect<void> =>
  makeFolder(fs, dirname(file)).pipe(
    Effect.andThen(fs.writeFileString(`${file}.new`, encode(kept), { mode: 0o600 })),
    Effect.andThen(fs.rename(`${file}.new`, file)),
    Effect.catch((error) => Effect.logWarning(`cannot write ${file}: ${fileProblem(error)}`))
  )
