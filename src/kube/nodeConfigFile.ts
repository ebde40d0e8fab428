/** `DIR/nodeconfig.yaml`: what a look at it says. */
import { Effect, type FileSystem } from "effect"
import type { Event } from "./nodeConfigState.ts"
import { parseDocuments, placeOf } from "./yamlFile.ts"

export const CONFIG_FILE = "nodeconfig.yaml"

export const look = (fs: FileSystem.FileSystem, directory: string): Effect.Effect<Event> => {
  const file = `${directory}/${CONFIG_FILE}`
  const unreadable = (problem: string, place = file): Event => ({ _tag: "Unreadable", place, problem })

  /** A folder that is not there may be a disk that is not mounted: nobody has deleted anything. */
  const missing: Effect.Effect<Event> = Effect.map(
    Effect.orElseSucceed(fs.exists(directory), () => false),
    (there): Event =>
      there
        ? { _tag: "Gone", detail: `no file ${file}` }
        : { _tag: "Unlisted", reason: `there is no folder ${directory}` }
  )

  return fs.readFileString(file).pipe(
    Effect.flatMap(parseDocuments),
    Effect.map(([object, ...more]): Event =>
      object === undefined
        ? unreadable("the file is empty: write a NodeConfig, or remove it")
        : more.length > 0
        ? unreadable(`the file has ${more.length + 1} documents: it must have one, this node's NodeConfig`)
        : { _tag: "Arrived", object, source: file }
    ),
    Effect.catchTag("YamlError", (error) => Effect.succeed(unreadable(error.problem, placeOf(file, error)))),
    Effect.catchReason("PlatformError", "NotFound", () => missing),
    Effect.catch((error) => Effect.succeed(unreadable(error.message)))
  )
}
