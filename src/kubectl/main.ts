/** `kubectl flock` (a file kubectl-flock in PATH). Exit codes: 0; 1 what was asked for is not well, or failed; 2 bad usage. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Effect, Exit } from "effect"
import { CliError, Command } from "effect/cli"
import { oneLine } from "../domain/quote.ts"
import { VERSION } from "../process/version.ts"
import { NotWell, root } from "./commands.ts"

const messageOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "message" in error ? String(error.message) : String(error)

NodeRuntime.runMain(
  Command.run(root, { version: VERSION }).pipe(Effect.provide(NodeServices.layer), Effect.scoped),
  {
    disableErrorReporting: true,
    teardown: (exit, onExit) => {
      if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return onExit(0)
      const error = Cause.squash(exit.cause)
      if (CliError.isCliError(error)) return onExit(2)
      if (!(error instanceof NotWell)) process.stderr.write(`${oneLine(`kubectl-flock: ${messageOf(error)}`)}\n`)
      return onExit(1)
    }
  }
)
