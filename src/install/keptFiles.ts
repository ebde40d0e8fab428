/**
 * Files put into folders that belong to others. What was there before stays beside it as `NAME.flock-kept`; a receipt
 * (`.flock-installed`, as `sha256sum` writes) says which contents were ours, so that neither an upgrade nor an operator's
 * edit is mistaken for the other.
 */
import { Data, Effect, FileSystem, type PlatformError } from "effect"
import { createHash, randomUUID } from "node:crypto"
import { dirname, join } from "node:path"
import { fileProblem } from "../process/fileProblem.ts"
import { makeFolder } from "../process/makeFolder.ts"

const KEPT = ".flock-kept"
const RECEIPT = ".flock-installed"

export class FileChangeFailed extends Data.TaggedError("FileChangeFailed")<{
  readonly what: string
  readonly path: string
  readonly detail: string
}> {
  override get message(): string {
    return `cannot ${this.what} ${this.path}: ${this.detail}`
  }
}

/** One thing done, or not done, to a file. */
export interface Change {
  readonly action: "installed" | "unchanged" | "kept" | "restored" | "removed" | "left alone"
  readonly path: string
  readonly detail?: string
}

const failing = (what: string, path: string) => (error: PlatformError.PlatformError) =>
  new FileChangeFailed({ what, path, detail: fileProblem(error) })

const sha256 = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex")

const readIfThere = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  return yield* fs.readFile(path).pipe(
    Effect.catchReason("PlatformError", "NotFound", () => Effect.void),
    Effect.mapError(failing("read", path))
  )
})

const syncPath = (path: string) =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = yield* fs.open(path, { flag: "r" })
    yield* file.sync
  }))

/** Write, fsync, rename, fsync the folder: at every moment, and after a power cut, the old file or the new one. */
export const putAtomically = Effect.fnUntraced(
  function*(path: string, content: Uint8Array, mode: number) {
    const fs = yield* FileSystem.FileSystem
    const temporary = join(dirname(path), `.${randomUUID()}.flock-tmp`)
    yield* makeFolder(fs, dirname(path))
    yield* Effect.scoped(Effect.gen(function*() {
      const file = yield* fs.open(temporary, { flag: "wx", mode })
      yield* file.writeAll(content)
      yield* file.sync
    })).pipe(
      // The umask does not decide over a plugin's executable bits.
      Effect.andThen(fs.chmod(temporary, mode)),
      Effect.andThen(fs.rename(temporary, path)),
      Effect.onError(() => Effect.ignore(fs.remove(temporary, { force: true })))
    )
    yield* syncPath(dirname(path))
  },
  (effect, path) => Effect.mapError(effect, failing("write", path))
)

const receiptOf = Effect.fnUntraced(function*(path: string) {
  const text = yield* readIfThere(join(dirname(path), RECEIPT))
  return text === undefined ? [] : new TextDecoder().decode(text).split("\n").filter((line) => line !== "")
})

const receiptLine = (path: string, content: Uint8Array) => `${sha256(content)}  ${path.slice(dirname(path).length + 1)}`

const isOurs = Effect.fnUntraced(function*(path: string, content: Uint8Array) {
  return (yield* receiptOf(path)).includes(receiptLine(path, content))
})

const writeReceipt = (path: string, lines: ReadonlyArray<string>) =>
  putAtomically(
    join(dirname(path), RECEIPT),
    new TextEncoder().encode(lines.map((line) => `${line}\n`).join("")),
    0o644
  )

/** The name to keep `path` under; the first kept one is what was there before flock, and stays that. */
const keptName = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  for (let n = 1;; n++) {
    const name = n === 1 ? `${path}${KEPT}` : `${path}${KEPT}-${n}`
    if (!(yield* fs.exists(name).pipe(Effect.mapError(failing("look at", name))))) return name
  }
})

/** A second name for a file, without a moment in which the first is gone. */
const keepCopy = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const name = yield* keptName(path)
  yield* fs.link(path, name).pipe(
    Effect.catch(() => fs.copyFile(path, name)),
    Effect.mapError(failing("keep", path))
  )
  return { action: "kept", path, detail: `as ${name}` } satisfies Change
})

/** A distribution may have put the same file there, read-only (NixOS links it from its store): then it is left as it is. */
const executableAs = Effect.fnUntraced(
  function*(mode: number, path: string) {
    const fs = yield* FileSystem.FileSystem
    const info = yield* fs.stat(path)
    if ((mode & 0o111 & ~info.mode) !== 0) yield* fs.chmod(path, mode)
  },
  (effect, _, path) => Effect.mapError(effect, failing("set the mode of", path))
)

/** Puts our file in place and keeps what somebody else's content it replaces. */
export const install = Effect.fnUntraced(function*(path: string, content: Uint8Array, mode: number) {
  const current = yield* readIfThere(path)
  const line = receiptLine(path, content)
  const receipt = yield* receiptOf(path)
  const changes: Array<Change> = []
  if (current !== undefined && sha256(current) !== sha256(content) && !(yield* isOurs(path, current))) {
    changes.push(yield* keepCopy(path))
  }
  // Before the file: a crash in between must not leave a file of ours that looks like another's.
  if (!receipt.includes(line)) yield* writeReceipt(path, [...receipt, line])
  if (current !== undefined && sha256(current) === sha256(content)) {
    yield* executableAs(mode, path)
    return [...changes, { action: "unchanged", path } satisfies Change]
  }
  yield* putAtomically(path, content, mode)
  return [...changes, { action: "installed", path } satisfies Change]
})

/** Moves somebody else's file out of the way, where its name says what it is. */
export const moveAside = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const name = yield* keptName(path)
  yield* fs.rename(path, name).pipe(Effect.mapError(failing("move", path)))
  return { action: "kept", path, detail: `as ${name}` } satisfies Change
})

const restore = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.rename(`${path}${KEPT}`, path).pipe(Effect.mapError(failing("restore", path)))
  return { action: "restored", path } satisfies Change
})

/** Takes our file away and puts back what it replaced. A file that is not as we wrote it is left alone. */
export const uninstall = Effect.fnUntraced(function*(path: string) {
  const fs = yield* FileSystem.FileSystem
  const current = yield* readIfThere(path)
  if (current !== undefined && !(yield* isOurs(path, current))) {
    return [{ action: "left alone", path, detail: "it is not as flock wrote it" } satisfies Change]
  }
  const kept = yield* readIfThere(`${path}${KEPT}`)
  if (kept !== undefined) return [yield* restore(path)]
  if (current === undefined) return []
  yield* fs.remove(path).pipe(Effect.mapError(failing("remove", path)))
  return [{ action: "removed", path } satisfies Change]
})

/** Puts back what {@link moveAside} took out of `folder`, except where a new file has the name; forgets the receipt. */
export const restoreAll = Effect.fnUntraced(function*(folder: string) {
  const fs = yield* FileSystem.FileSystem
  const names = yield* fs.readDirectory(folder).pipe(
    Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed<ReadonlyArray<string>>([])),
    Effect.mapError(failing("read", folder))
  )
  const kept = names.filter((name) => name.endsWith(KEPT)).map((name) => name.slice(0, -KEPT.length)).toSorted()
  const changes = yield* Effect.forEach(kept, (name) =>
    names.includes(name)
      ? Effect.succeed<Change>({
        action: "left alone",
        path: join(folder, `${name}${KEPT}`),
        detail: `there is a new ${name}`
      })
      : restore(join(folder, name)))
  yield* fs.remove(join(folder, RECEIPT), { force: true }).pipe(Effect.mapError(failing("forget", folder)))
  return changes
})
