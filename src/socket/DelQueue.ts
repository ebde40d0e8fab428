/**
 * DELs that came while there was no agent, one request line a file. `cni/queue.c` writes them; the agent works them off
 * before it listens. Both hold flock(2) on the folder's file `lock` meanwhile, so no DEL falls in between: whoever waited
 * for the lock finds either a listening agent or a queue that is still to be read.
 */
import { Data, Effect, FileSystem, Result, Schema } from "effect"
import koffi from "koffi"
import * as NodeFs from "node:fs"
import { dirname, join } from "node:path"
import { requireAttachment } from "../cni/spec.ts"
import { quote } from "../domain/quote.ts"
import { type Request, RequestFromLine } from "../domain/Wire.ts"
import { fileProblem } from "../process/fileProblem.ts"
import { makeFolder } from "../process/makeFolder.ts"

/** Bytes: what the plugin writes is never larger (`MAX_INTENT_KIB` in `cni/queue.h`). */
export const MAX_INTENT = 64 * 1024

/** Where the plugin leaves DELs, as seen from the agent's socket. */
export const directoryOf = (socket: string): string => join(dirname(socket), "del-queue")

/** `sys/file.h` */
const LOCK_EX = 2

const flock = koffi.load(null).func("int flock(int, int)")

export class DelQueueError extends Data.TaggedError("DelQueueError")<{
  readonly path: string
  readonly detail: string
}> {
  override get message(): string {
    return `DEL queue: ${this.path}: ${this.detail}`
  }
}

const failed = (path: string) => (error: { readonly message: string }) =>
  new DelQueueError({ path, detail: fileProblem(error) })

/** A DEL that the plugin has already answered with success. */
export interface Intent {
  readonly request: Request
  readonly file: string
}

export interface Found {
  readonly intents: ReadonlyArray<Intent>
  /** Files that were set aside as `*.bad`, just now or earlier, and are still there. */
  readonly unreadable: number
}

/**
 * flock(2) may wait for as long as another process likes, so it runs on another thread. An interrupted caller cannot take
 * it back: the descriptor is then closed, and with it the lock given up, as soon as the call returns.
 */
class Lock {
  #fd: number | undefined
  #pending = false
  #unwanted = false

  take(file: string): Effect.Effect<void, DelQueueError> {
    return Effect.callback((resume) => {
      try {
        this.#fd = NodeFs.openSync(file, NodeFs.constants.O_RDWR | NodeFs.constants.O_CREAT, 0o600)
      } catch (error) {
        return resume(Effect.fail(new DelQueueError({ path: file, detail: String(error) })))
      }
      this.#pending = true
      const attempt = (fd: number) =>
        flock.async(fd, LOCK_EX, (error: unknown, result: number) => {
          const errno = result === 0 ? 0 : koffi.errno()
          if (!error && errno === koffi.os.errno["EINTR"]) return attempt(fd)
          this.#pending = false
          if (this.#unwanted) this.release()
          else if (!error && result === 0) resume(Effect.void)
          else resume(Effect.fail(new DelQueueError({ path: file, detail: `flock: ${error ?? `errno ${errno}`}` })))
        })
      attempt(this.#fd)
    })
  }

  release(): void {
    this.#unwanted = true
    if (this.#pending || this.#fd === undefined) return
    NodeFs.closeSync(this.#fd)
    this.#fd = undefined
  }
}

const slow = (file: string) =>
  Effect.sleep("5 seconds").pipe(
    Effect.andThen(Effect.logWarning(`still waiting for the lock ${file}, which another process holds`)),
    Effect.andThen(Effect.never)
  )

/** Runs `use` with the queue's lock held; makes the folder if need be. Run all of "work off, then listen" in here. */
export const withQueueLock = Effect.fn("DelQueue.withQueueLock")(function*<A, E, R>(
  dir: string,
  use: Effect.Effect<A, E, R>
) {
  const fs = yield* FileSystem.FileSystem
  yield* makeFolder(fs, dir, 0o700).pipe(Effect.mapError(failed(dir)))
  const file = join(dir, "lock")
  const lock = new Lock()
  return yield* lock.take(file).pipe(
    Effect.raceFirst(slow(file)),
    Effect.andThen(use),
    Effect.ensuring(Effect.sync(() => lock.release()))
  )
})

const decode = Schema.decodeUnknownResult(RequestFromLine)

/** The DEL in a file, or what is wrong with it. */
const parse = (line: string): Request | { readonly problem: string } => {
  const request = decode(line)
  if (Result.isFailure(request)) return { problem: `not a request: ${request.failure.message}` }
  const { op } = request.success
  if (op !== "DEL") return { problem: `op is ${quote(op)}, not "DEL"` }
  // What no ADD can have made would fail for ever.
  const attachment = requireAttachment(request.success)
  return Result.isFailure(attachment) ? { problem: attachment.failure.message } : request.success
}

const read = Effect.fnUntraced(function*(file: string, type: FileSystem.File.Type) {
  const fs = yield* FileSystem.FileSystem
  if (type !== "File") return { problem: `a ${type}, not a file` }
  const { size } = yield* fs.stat(file)
  return size > MAX_INTENT ? { problem: `larger than ${MAX_INTENT} bytes` } : parse(yield* fs.readFileString(file))
}, Effect.catch((error) => Effect.succeed({ problem: error.message })))

const setAside = Effect.fnUntraced(function*(file: string, problem: string) {
  const fs = yield* FileSystem.FileSystem
  let aside = `${file}.bad`
  for (let n = 2; yield* fs.exists(aside); n++) aside = `${file}.${n}.bad`
  yield* fs.rename(file, aside)
  yield* Effect.logError(`a queued DEL cannot be read and is kept as ${aside}: ${problem}`)
})

/** The queue, in a fixed order. Unreadable files are set aside and logged, never deleted. The lock must be held. */
export const readIntents = Effect.fn("DelQueue.readIntents")(function*(dir: string) {
  const fs = yield* FileSystem.FileSystem
  const entries = yield* fs.readDirectoryEntries(dir).pipe(Effect.mapError(failed(dir)))
  const intents: Array<Intent> = []
  let unreadable = entries.filter(({ name }) => name.endsWith(".bad")).length
  for (const { name, type } of entries.toSorted((a, b) => a.name < b.name ? -1 : 1)) {
    if (!name.endsWith(".json")) continue
    const file = join(dir, name)
    const request = yield* read(file, type)
    if ("problem" in request) {
      yield* setAside(file, request.problem).pipe(Effect.mapError(failed(file)))
      unreadable++
    } else {
      intents.push({ request, file })
    }
  }
  return { intents, unreadable } satisfies Found
})

/** Call it when the DEL is done. Idempotent. */
export const removeIntent = Effect.fn("DelQueue.removeIntent")(function*(intent: Intent) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.remove(intent.file, { force: true }).pipe(Effect.mapError(failed(intent.file)))
})

export interface Drained {
  readonly done: number
  /** DELs that failed: logged, and left in the queue. */
  readonly kept: number
  readonly unreadable: number
}

/**
 * Works the queue off, 64 DELs at a time. A DEL that fails stays and does not keep the agent from starting. The lock must
 * be held.
 */
export const drain = Effect.fn("DelQueue.drain")(function*<E, R>(
  dir: string,
  del: (request: Request) => Effect.Effect<unknown, E, R>
) {
  const { intents, unreadable } = yield* readIntents(dir)
  const outcomes = yield* Effect.forEach(intents, (intent) =>
    del(intent.request).pipe(
      Effect.andThen(removeIntent(intent)),
      Effect.as(true),
      Effect.catchCause((cause) =>
        Effect.as(Effect.logError(`a queued DEL failed and is kept as ${intent.file}`, cause), false)
      )
    ), { concurrency: 64 })
  const done = outcomes.filter((outcome) => outcome).length
  return { done, kept: intents.length - done, unreadable } satisfies Drained
})
