/** `DIR/pods/*.yaml` as a cache of pods. */
import { Effect, FiberMap, type FileSystem, PubSub, Ref, type Scope, Semaphore, Stream } from "effect"
import type { PlatformError } from "effect/PlatformError"
import { fromObject } from "../domain/Pod.ts"
import { changedNames, settled } from "./folder.ts"
import type { PodChange } from "./KubeApi.ts"
import type { Pods } from "./podCache.ts"
import { initial, type Reading, step } from "./podFiles.ts"
import { parseDocuments, placeOf } from "./yamlFile.ts"

export const PODS = "pods"

export interface PodFolder {
  readonly pods: Effect.Effect<Pods>
  readonly changes: Stream.Stream<PodChange>
  /** All files were read at least once. */
  readonly listed: Effect.Effect<boolean>
  /** Reads every file; what is missing or broken counts at once. For the start. */
  readonly list: Effect.Effect<void>
  /** Reads every file. */
  readonly rescan: Effect.Effect<void>
  /** Reads one file now, for a caller that waits. */
  readonly refresh: (file: string) => Effect.Effect<void>
  /** Reads what changes; ends when the folder goes. */
  readonly watch: Effect.Effect<void>
}

const isYaml = (name: string): boolean => /^[^.].*\.ya?ml$/.test(name)

const isGood = ({ _tag }: Reading): boolean => _tag === "Pods"

const unreadable = (place: string, problem: string): Reading => ({
  _tag: "Unreadable",
  message: `${place}: ${problem}: what it said before stays in force`
})

/** What a look at one file says. */
const look = (fs: FileSystem.FileSystem, path: string): Effect.Effect<Reading> =>
  fs.readFileString(path).pipe(
    Effect.flatMap(parseDocuments),
    Effect.map((documents): Reading => {
      const pods = documents.map(fromObject).filter((pod) => pod !== undefined)
      return documents.length === 0
        ? unreadable(path, "the file is empty")
        : pods.length < documents.length
        ? unreadable(path, "metadata.name is missing")
        : { _tag: "Pods", pods }
    }),
    Effect.catchTag("YamlError", (error) => Effect.succeed(unreadable(placeOf(path, error), error.problem))),
    Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed<Reading>({ _tag: "Gone" })),
    Effect.catch((error) => Effect.succeed(unreadable(path, error.message)))
  )

export const make = Effect.fnUntraced(
  function*(fs: FileSystem.FileSystem, directory: string): Effect.fn.Return<PodFolder, never, Scope.Scope> {
    const folder = `${directory}/${PODS}`
    const state = yield* Ref.make(initial)
    const listed = yield* Ref.make(false)
    const changes = yield* PubSub.unbounded<PodChange>()
    const lock = yield* Semaphore.make(1)
    /** By file: a change of a file that is being read begins that anew. */
    const reads = yield* FiberMap.make<string>()

    const lookAt = (file: string) => look(fs, `${folder}/${file}`)

    const apply = Effect.fnUntraced(
      function*(file: string, reading: Reading) {
        const next = step(yield* Ref.get(state), file, reading)
        yield* Ref.set(state, next.state)
        yield* PubSub.publishAll(changes, next.changes)
        for (const problem of next.problems) yield* Effect.logError(problem)
      },
      lock.withPermit,
      Effect.uninterruptible
    )

    const readNow = (file: string) => Effect.flatMap(lookAt(file), (reading) => apply(file, reading))

    const read = (file: string) => Effect.flatMap(settled(lookAt(file), isGood), (reading) => apply(file, reading))

    /** Files that are there or were; none where the folder cannot be read, whose pods stay. */
    const files = Effect.gen(function*(): Effect.fn.Return<ReadonlyArray<string>, PlatformError> {
      // Made so that there is something to watch; where it cannot be made there are no pods.
      yield* Effect.ignore(fs.makeDirectory(folder))
      const present = yield* fs.readDirectory(folder)
      return [...new Set([...present.filter(isYaml), ...(yield* Ref.get(state)).files.keys()])]
    }).pipe(
      Effect.tap(() => Ref.set(listed, true)),
      Effect.catchReason("PlatformError", "NotFound", () => Effect.succeed<ReadonlyArray<string>>([])),
      Effect.catch((error) => Effect.as(Effect.logWarning(`${folder} cannot be read: ${error.message}`), []))
    )

    const rescan = Effect.flatMap(
      files,
      (names) =>
        Effect.forEach(names, (file) => FiberMap.run(reads, file, read(file), { onlyIfMissing: true }), {
          discard: true
        })
    )

    return {
      pods: Effect.map(Ref.get(state), ({ pods }) => pods),
      changes: Stream.fromPubSub(changes),
      listed: Ref.get(listed),
      list: Effect.flatMap(files, (names) => Effect.forEach(names, readNow, { concurrency: 16, discard: true })),
      rescan,
      // Most containers have no file: an ADD does not wait to see whether one comes.
      refresh: (file) => Effect.flatMap(Ref.get(state), ({ files }) => files.has(file) ? read(file) : readNow(file)),
      watch: changedNames(folder).pipe(
        Stream.runForEach((name) =>
          name === "" ? rescan : isYaml(name) ? FiberMap.run(reads, name, read(name)) : Effect.void
        ),
        Effect.ignore
      )
    }
  }
)
