/** `flock-agent withdraw` and `restore`: leave the network on purpose, before a node is shut down, and come back. */
import { Console, Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { oneLine } from "../domain/quote.ts"
import { ask } from "../socket/ask.ts"
import { socketFlag } from "./flags.ts"

const say = (lines: ReadonlyArray<string>) =>
  Console.log(lines.length === 0 ? "no BGP sessions" : lines.map(oneLine).join("\n"))

const nowFlag = Flag.Boolean("now").pipe(
  Flag.withDescription("at once, without spec.bgp.withdraw.gracefulShutdownSeconds of GRACEFUL_SHUTDOWN before"),
  Flag.withDefault(false)
)

export const withdraw = Command.make(
  "withdraw",
  { socket: socketFlag, now: nowFlag },
  ({ now, socket }) => Effect.flatMap(ask(socket, { ask: "withdraw", now }), say)
).pipe(
  Command.withDescription(
    "ask routers for other ways (GRACEFUL_SHUTDOWN), then end all BGP sessions cleanly (run before a shutdown)"
  )
)

export const restore = Command.make(
  "restore",
  { socket: socketFlag },
  ({ socket }) => Effect.flatMap(ask(socket, { ask: "restore" }), say)
).pipe(Command.withDescription("take `withdraw` back"))
