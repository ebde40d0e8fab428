/**
 * The last good NodeConfig on disk, so that an agent started while the API server is away still knows its node's
 * addresses. Written to a temporary name, synced and renamed; mode 0600.
 */
import { Effect, FileSystem, Option } from "effect"
import { fileProblem } from "../process/fileProblem.ts"
import { makeFolder } from "../process/makeFolder.ts"

export interface Saved {
  /** The object as written, if there is one that is JSON. */
  readonly load: Effect.Effect<Option.Option<unknown>>
  /** Failures are logged: serving goes on without the copy. */
  readonly save: (object: unknown) => Effect.Effect<void>
  readonly remove: Effect.Effect<void>
}

export const make = (fs: FileSystem.FileSystem, stateDir: string): Saved => {
  const file = `${stateDir}/nodeconfig.json`

  const write = Effect.fnUntraced(function*(object: unknown) {
    yield* makeFolder(fs, stateDir)
    yield* Effect.scoped(Effect.gen(function*() {
      const temporary = yield* fs.open(`${file}.new`, { flag: "w", mode: 0o600 })
      yield* temporary.writeAll(new TextEncoder().encode(JSON.stringify(object)))
      yield* temporary.sync
    }))
    yield* fs.rename(`${file}.new`, file)
  }, Effect.onError(() => Effect.ignore(fs.remove(`${file}.new`, { force: true }))))

  return {
    load: fs.readFileString(file).pipe(
      Effect.map((text) => Option.some(JSON.parse(text) as unknown)),
      Effect.catchReason("PlatformError", "NotFound", () => Effect.succeedNone),
      Effect.catchCause((cause) =>
        Effect.as(Effect.logWarning(`${file} cannot be read and is not used`, cause), Option.none())
      )
    ),
    save: (object) =>
      write(object).pipe(
        Effect.catch((e) => Effect.logWarning(`the NodeConfig could not be kept in ${file}: ${fileProblem(e)}`))
      ),
    remove: fs.remove(file, { force: true }).pipe(
      Effect.catch((e) => Effect.logWarning(`${file} could not be removed: ${fileProblem(e)}`))
    )
  }
}
