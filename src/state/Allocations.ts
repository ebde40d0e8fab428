/**
 * Allocations: in memory, and one JSON file each under `STATE_DIR/allocations` (a tmpfs: the state cannot outlive the
 * boot whose pods it describes).
 *
 * ADD writes the whole record as `KEY.pending` before it touches the kernel and renames it to `KEY.json` when the
 * kernel is complete. So the temporary file of the atomic write is also the intent: what a killed agent leaves behind
 * as `.pending` was never answered, and is undone at start. What is rebuilt from the kernel is a pod that runs: it is
 * written as `KEY.rebuilt`, which is never undone.
 */
import { Context, Data, Effect, FileSystem, Layer, Option, PubSub, Schema, Stream } from "effect"
import { Allocation, attachmentKey } from "../domain/Allocation.ts"
import { fileProblem } from "../process/fileProblem.ts"
import { makeFolder } from "../process/makeFolder.ts"
import { VERSION } from "../process/version.ts"
import { type Newer, newerInWords, newerProblem } from "./format.ts"
import { fileOf, load, tolerate } from "./load.ts"
import { recordFiles } from "./recordFiles.ts"

export class StoreError extends Data.TaggedError("StoreError")<{ readonly file: string; readonly detail: string }> {
  override get message(): string {
    return `${this.file}: ${this.detail}`
  }
}

const encode = Schema.encodeEffect(Schema.fromJsonString(Allocation))

const storeError = (file: string) => (cause: { readonly message: string }) =>
  new StoreError({ file, detail: fileProblem(cause) })

export class Allocations extends Context.Service<Allocations, {
  /** The committed ones. */
  readonly list: Effect.Effect<ReadonlyArray<Allocation>>
  /** By `attachmentKey`. */
  readonly get: (key: string) => Effect.Effect<Option.Option<Allocation>>
  /** Fails where no record of this name may be written, for what is there is of a newer format. */
  readonly assertWritable: (key: string) => Effect.Effect<void, StoreError>
  /** Writes the intent. */
  readonly prepare: (allocation: Allocation) => Effect.Effect<void, StoreError>
  /** Makes a prepared allocation final: renamed before it is visible in `list`. */
  readonly commit: (allocation: Allocation) => Effect.Effect<void, StoreError>
  /**
   * Writes and commits in one go: for state rebuilt from the kernel. Where the disk refuses, or has a newer record, in
   * memory alone: the kernel still has what the next agent needs.
   */
  readonly adopt: (allocation: Allocation) => Effect.Effect<void>
  /**
   * Forgets an allocation or an intent. Idempotent. A file that cannot be removed is logged and does no harm: its link is
   * gone, so the next agent drops it. One of a newer format stays.
   */
  readonly remove: (key: string) => Effect.Effect<void>
  /** Emits after every commit and removal; bursts may come as one. */
  readonly changes: Stream.Stream<void>
  /** Those that are in memory only, since `adopt` could not write them: to be adopted again. */
  readonly unwritten: Effect.Effect<ReadonlyArray<Allocation>>
  /** Keys of intents that a killed agent left behind, at start. */
  readonly interrupted: ReadonlyArray<string>
  /** Records that could not be read at start and were set aside. */
  readonly unreadable: number
  /** What is of a newer format and was left as it is, the folder's own word first. */
  readonly newer: ReadonlyArray<Newer>
}>()("flock/Allocations") {
  /**
   * Loads what is in `directory`; records of another boot are dropped, unreadable ones set aside as `*.unreadable`, newer ones
   * left alone.
   */
  static readonly layer = (options: { readonly directory: string; readonly bootId: string }) =>
    Layer.effect(
      Allocations,
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const { committed, interrupted, newer, unreadable } = yield* load(fs, options.directory, options.bootId)
        const files = yield* recordFiles(fs, options.directory)
        for (const it of newer) yield* Effect.logError(newerInWords(it, VERSION))
        /** Of a record, or of the folder and so of every record. */
        const newerAt = (key: string) => newer.find((it) => it.key === undefined || it.key === key)
        const unwritten = new Set<string>()
        const changed = yield* PubSub.sliding<void>(1)
        const path = (key: string, suffix: "json" | "pending" | "rebuilt") =>
          `${options.directory}/${fileOf(key)}.${suffix}`

        const assertWritable = (key: string) =>
          Effect.suspend(() => {
            const found = newerAt(key)
            return found === undefined
              ? Effect.void
              : Effect.fail(new StoreError({ file: found.file, detail: newerProblem(found, VERSION) }))
          })

        const write = Effect.fnUntraced(function*(allocation: Allocation, suffix: "pending" | "rebuilt") {
          const key = attachmentKey(allocation)
          const file = path(key, suffix)
          yield* assertWritable(key)
          yield* encode(allocation).pipe(
            Effect.flatMap((json) => {
              const write = files.writeFileString(file, json, { mode: 0o600 })
              // The folder could not be made at start, or somebody removed it.
              const anew = Effect.andThen(makeFolder(fs, options.directory, 0o700), write)
              return Effect.catchReason(write, "PlatformError", "NotFound", () => anew)
            }),
            // A disk may be full in the middle: what is half-written would be undone by the next agent, link and all.
            Effect.tapError(() => Effect.ignore(files.remove(file, { force: true }))),
            Effect.mapError(storeError(file))
          )
        })

        const accept = Effect.fnUntraced(function*(allocation: Allocation) {
          committed.set(attachmentKey(allocation), allocation)
          yield* PubSub.publish(changed, undefined)
        })

        const commit = Effect.fnUntraced(function*(allocation: Allocation, suffix: "pending" | "rebuilt" = "pending") {
          const key = attachmentKey(allocation)
          yield* files.rename(path(key, suffix), path(key, "json")).pipe(Effect.mapError(storeError(path(key, "json"))))
          yield* accept(allocation)
        })

        const adopt = Effect.fnUntraced(function*(allocation: Allocation) {
          const key = attachmentKey(allocation)
          if (newerAt(key) !== undefined) return yield* accept(allocation)
          yield* Effect.andThen(write(allocation, "rebuilt"), commit(allocation, "rebuilt")).pipe(
            Effect.andThen(Effect.sync(() => unwritten.delete(key))),
            Effect.catch(Effect.fnUntraced(function*(error) {
              yield* Effect.ignore(files.remove(path(key, "rebuilt"), { force: true }))
              if (!unwritten.has(key)) {
                yield* Effect.logError(`a record that was rebuilt is not on disk: ${error.message}`)
              }
              unwritten.add(key)
              yield* accept(allocation)
            }))
          )
        })

        const remove = Effect.fnUntraced(function*(key: string) {
          const suffix = committed.has(key) ? "json" : "pending"
          const file = path(key, suffix)
          if (newerAt(key) === undefined) {
            yield* files.remove(file, { force: true }).pipe(tolerate(file, "cannot remove"))
          }
          unwritten.delete(key)
          if (committed.delete(key)) yield* PubSub.publish(changed, undefined)
        })

        return Allocations.of({
          list: Effect.sync(() => [...committed.values()]),
          get: (key) => Effect.sync(() => Option.fromUndefinedOr(committed.get(key))),
          assertWritable,
          prepare: (allocation) => write(allocation, "pending"),
          commit: (allocation) => commit(allocation),
          adopt,
          remove,
          changes: Stream.fromPubSub(changed),
          unwritten: Effect.sync(() => [...committed.values()].filter((it) => unwritten.has(attachmentKey(it)))),
          interrupted,
          unreadable,
          newer
        })
      })
    )
}
