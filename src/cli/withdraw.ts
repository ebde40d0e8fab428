/** `flock-agent withdraw` and `restore`: leave the network on purpose, before a node is shut down, and come back. */
import { Console, Effect } from "effect"
import { Command } from "effect/cli"
import { oneLine } from "../domain/quote.ts"
import { ask } from "../socket/ask.ts"
import { socketFlag } from "./flags.ts"

const sessionsCommand = (name: "withdraw" | "restore", description: string) =>
  Command.make(name, { socket: socketFlag }, ({ socket }) =>
    ask(socket, { ask: name }).pipe(
      Effect.flatMap((lines) => Console.log(lines.length === 0 ? "no BGP sessions" : lines.map(oneLine).join("\n")))
    )).pipe(Command.withDescription(description))

export const withdraw = sessionsCommand(
  "withdraw",
  "end all BGP sessions cleanly: routers drop this node's routes at once (run before a shutdown)"
)
export const restore = sessionsCommand("restore", "take `withdraw` back")
