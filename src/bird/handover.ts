/**
 * A BIRD that comes with its agent, as in a roll-out, waits for that agent's `bird.conf`: started on the one of the agent
 * before, it would restart the sessions that differ a moment later, and without Established sessions of before, routers let
 * go of the routes then. An agent that ends in order leaves a mark in BIRD's folder; the next one takes it away when its own
 * file is written, or after 10 s: one that keeps the file as it was (no NodeConfig, a refused one) has nothing better to give.
 * BIRD's container waits for that, as long at most; a BIRD that ends by itself finds no mark.
 */
import { type Duration, Effect, type FileSystem, type Path } from "effect"
import { fileProblem } from "../process/fileProblem.ts"

/** Beside `bird.conf`. */
const MARK = "agent-ended"
const LONGEST: Duration.Input = "10 seconds"

export interface Handover {
  /** The agent ends: the next one looks over the file before BIRD starts on it. */
  readonly leave: Effect.Effect<void>
  /** The file is this agent's. */
  readonly take: Effect.Effect<void>
  /** Takes it in any case, in the end. */
  readonly run: Effect.Effect<void>
}

/** Fails never: without the mark, BIRD starts on the file as it is. */
export const makeHandover = (fs: FileSystem.FileSystem, path: Path.Path, confPath: string): Handover => {
  const mark = path.join(path.dirname(confPath), MARK)
  const take = Effect.ignore(fs.remove(mark, { force: true }))
  return {
    leave: fs.writeFileString(mark, "", { mode: 0o644 }).pipe(
      Effect.catchReason("PlatformError", "NotFound", () => Effect.void),
      Effect.catch((error) => Effect.logWarning(`cannot write ${mark}: ${fileProblem(error)}`))
    ),
    take,
    run: Effect.delay(take, LONGEST)
  }
}
