/** Brings `bird.conf` and the running BIRD to a rendered configuration, checked by BIRD before it replaces anything. */
import { Effect, type FileSystem, type Path, type PlatformError } from "effect"
import { makeFolder } from "../process/makeFolder.ts"
import type { Control } from "./control.ts"
import type { BirdUnavailable } from "./controlErrors.ts"
import type { Rendered } from "./render.ts"
import { messageOf } from "./reply.ts"

export type Outcome =
  /** File and BIRD had it already. */
  | { readonly _tag: "Unchanged" }
  | { readonly _tag: "Applied" }
  /** BIRD refused it, `detail` in its words; the former file and configuration stay. */
  | { readonly _tag: "Rejected"; readonly detail: string }
  /** BIRD is not there; the file is written, unchecked, for the BIRD that starts next. */
  | { readonly _tag: "NoBird"; readonly detail: string }

/** Owner writes, BIRD's group reads: passwords are in it. */
const MODE = 0o640

/** The revision that BIRD runs; empty if it runs another file. */
const running = (control: Control): Effect.Effect<string, BirdUnavailable> =>
  control.command("eval flock_revision").pipe(
    Effect.map(messageOf),
    Effect.catchTag("BirdRefused", () => Effect.succeed(""))
  )

export const makeApply = (deps: {
  readonly fs: FileSystem.FileSystem
  readonly path: Path.Path
  readonly control: Control
  /** Absolute: BIRD resolves names against its own working directory. */
  readonly confPath: string
}) => {
  const { confPath, control, fs, path } = deps
  const staged = `${confPath}.new`

  const stage = Effect.fnUntraced(function*(text: string) {
    const directory = path.dirname(confPath)
    yield* makeFolder(fs, directory)
    yield* fs.remove(staged, { force: true })
    yield* fs.writeFileString(staged, text, { mode: MODE })
    yield* fs.chmod(staged, MODE)
    // A BIRD that dropped its privileges reads the file as member of the folder's group.
    const { gid, uid } = yield* fs.stat(directory)
    if (uid._tag === "Some" && gid._tag === "Some") yield* Effect.ignore(fs.chown(staged, uid.value, gid.value))
  }, Effect.onError(() => Effect.ignore(fs.remove(staged, { force: true }))))

  /**
   * `BirdUnavailable`: the connection broke on the way, so it is worth to try again soon. What was done so far is safe
   * to repeat.
   */
  return Effect.fn("Bird.apply")(function*(
    rendered: Rendered
  ): Effect.fn.Return<Outcome, BirdUnavailable | PlatformError.PlatformError> {
    const present = yield* fs.readFileString(confPath).pipe(Effect.orElseSucceed(() => undefined))
    const current = yield* Effect.result(running(control))
    if (current._tag === "Failure") {
      if (present !== rendered.text) {
        yield* stage(rendered.text)
        yield* fs.rename(staged, confPath)
      }
      return { _tag: "NoBird", detail: current.failure.message }
    }
    if (present === rendered.text && current.success === rendered.revision) return { _tag: "Unchanged" }
    return yield* Effect.gen(function*() {
      if (present !== rendered.text) {
        yield* stage(rendered.text)
        yield* control.command(`configure check "${staged}"`)
        yield* fs.rename(staged, confPath)
      }
      yield* control.command(`configure "${confPath}"`)
      return { _tag: "Applied" } satisfies Outcome
    }).pipe(
      Effect.catchTag("BirdRefused", ({ detail }) => Effect.succeed<Outcome>({ _tag: "Rejected", detail }))
    )
  })
}
