/** `flock-agent traffic`: what this node's pods have sent and received, for whoever waits until routers send them nothing more. */
import { Console, Effect, FileSystem } from "effect"
import { Command } from "effect/cli"
import { jsonFlag } from "./flags.ts"
import { toJson } from "./toJson.ts"

/** Bytes towards pods, and from them, of all host ends (proc(5): columns of /proc/net/dev; TX of a host end is towards its pod). */
export const podBytes = (procNetDev: string): number =>
  procNetDev.split("\n").reduce((sum, line) => {
    const match = /^\s*(flock[0-9a-f]{8}):\s*(.*)$/.exec(line)
    const columns = match?.[2]?.trim().split(/\s+/).map(Number) ?? []
    return sum + (columns[0] ?? 0) + (columns[8] ?? 0)
  }, 0)

export const traffic = Command.make(
  "traffic",
  { json: jsonFlag },
  Effect.fn(function*({ json }) {
    const fs = yield* FileSystem.FileSystem
    const bytes = podBytes(yield* fs.readFileString("/proc/net/dev"))
    yield* Console.log(json ? toJson({ podBytes: bytes }) : `${bytes} bytes to and from pods`)
  })
).pipe(Command.withDescription("bytes to and from this node's pods so far; of pods that are gone, none"))
