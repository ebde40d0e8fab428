/** The folder of records as an agent finds it at its start. */
import { Effect, type FileSystem, Result, Schema } from "effect"
import { Allocation, attachmentKey } from "../domain/Allocation.ts"
import { fileProblem } from "../process/fileProblem.ts"
import { makeFolder } from "../process/makeFolder.ts"
import { FORMAT_FILE, type Newer, newerIn } from "./format.ts"

const decode = Schema.decodeUnknownEffect(Schema.fromJsonString(Allocation))

/** `containerId@ifName`: `@` is in neither (CNI spec 1.1.0, section 2). */
export const fileOf = (key: string): string => key.replace("/", "@")
const keyOf = (file: string): string => file.replace("@", "/").replace(/\.[a-z]+$/, "")

/** For what can be done without: the agent serves on, and the next start tries again. */
export const tolerate =
  (file: string, what: string) => <E extends { readonly message: string }>(self: Effect.Effect<unknown, E>) =>
    Effect.catch(self, (error) => Effect.logError(`${what} ${file}: ${fileProblem(error)}`))

export interface Loaded {
  readonly committed: Map<string, Allocation>
  readonly interrupted: Array<string>
  readonly newer: Array<Newer>
  unreadable: number
}

/** Of a folder whose own format is newer nothing is read, for it is not known what its files mean. */
export const load = Effect.fn("Allocations.load")(function*(
  fs: FileSystem.FileSystem,
  directory: string,
  bootId: string
) {
  const loaded: Loaded = { committed: new Map(), interrupted: [], newer: [], unreadable: 0 }
  yield* makeFolder(fs, directory, 0o700).pipe(tolerate(directory, "cannot make"))
  const read = (name: string) => Effect.result(fs.readFileString(`${directory}/${name}`))
  const newerOf = (name: string, key: string | undefined, text: Result.Result<string, unknown>) =>
    Result.isSuccess(text) ? newerIn(`${directory}/${name}`, key, text.success) : undefined

  const whole = newerOf(FORMAT_FILE, undefined, yield* read(FORMAT_FILE))
  if (whole !== undefined) {
    loaded.newer.push(whole)
    return loaded
  }
  // What cannot be read is rebuilt from the kernel.
  const names = yield* fs.readDirectory(directory).pipe(
    Effect.catch((error) => Effect.as(Effect.logError(`cannot read ${directory}: ${fileProblem(error)}`), []))
  )
  for (const name of names) {
    if (!/\.(json|pending|rebuilt)$/.test(name)) continue
    const file = `${directory}/${name}`
    const text = yield* read(name)
    const newer = newerOf(name, keyOf(name), text)
    if (newer !== undefined) {
      loaded.newer.push(newer)
      continue
    }
    if (name.endsWith(".pending")) loaded.interrupted.push(keyOf(name))
    if (name.endsWith(".rebuilt")) yield* Effect.ignore(fs.remove(file, { force: true }))
    if (!name.endsWith(".json")) continue
    const record = yield* Effect.fromResult(text).pipe(Effect.flatMap(decode), Effect.result)
    if (record._tag === "Failure") {
      yield* Effect.logWarning(`allocation record ${name} cannot be read and was set aside: ${record.failure.message}`)
      yield* fs.rename(file, `${file}.unreadable`).pipe(tolerate(file, "cannot rename"))
      loaded.unreadable++
    } else if (record.success.bootId !== bootId) {
      yield* Effect.logInfo(`allocation record ${name} is of an earlier boot and was dropped`)
      yield* fs.remove(file, { force: true }).pipe(tolerate(file, "cannot remove"))
    } else {
      loaded.committed.set(attachmentKey(record.success), record.success)
    }
  }
  return loaded
})
