/** `flock-agent`: commands and exit codes. 0 on SIGTERM, 1 on a fatal error said in one line, 2 on bad usage. */
import "./process/memory.ts"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Cause, Config, Console, Data, Effect, Exit, Layer, Logger, LogLevel, References } from "effect"
import { CliError, Command } from "effect/cli"
import * as Agent from "./Agent.ts"
import { doctor } from "./cli/doctor.ts"
import { installCni } from "./cli/installCni.ts"
import { status } from "./cli/status.ts"
import { traffic } from "./cli/traffic.ts"
import { NotAnnounced, why } from "./cli/why.ts"
import { restore, withdraw } from "./cli/withdraw.ts"
import { escapeJson, oneLine } from "./domain/quote.ts"
import { jsonLine } from "./process/jsonLine.ts"
import { VERSION } from "./process/version.ts"
import { runFlags } from "./Settings.ts"

const jsonLogs = Logger.layer([Logger.withConsoleError(Logger.map(jsonLine, escapeJson))])

const run = Command.make("run", runFlags, (settings) => Agent.run(settings).pipe(Effect.provide(jsonLogs))).pipe(
  Command.withDescription("serve this node's pods")
)

const version = Command.make("version", {}, () => Console.log(VERSION)).pipe(
  Command.withDescription("print flock's version")
)

const root = Command.make("flock-agent").pipe(
  Command.withDescription("flock: routed pods on your own network"),
  Command.withSubcommands([run, status, why, withdraw, restore, traffic, doctor, installCni, version])
)

const messageOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "message" in error ? String(error.message) : String(error)

// Files that the agent makes are for root, unless it says otherwise.
process.umask(0o077)

class BadLogLevel extends Data.TaggedError("BadLogLevel")<{ readonly message: string }> {}

/** In any spelling, as the library's own `--log-level`, which wins over it. */
const logLevel = Layer.effect(
  References.MinimumLogLevel,
  Effect.gen(function*() {
    const text = yield* Config.String("FLOCK_LOG_LEVEL").pipe(Config.withDefault("info"))
    const level = LogLevel.values.find((value) => value.toLowerCase() === text.toLowerCase())
    if (level !== undefined) return level
    const known = LogLevel.values.map((value) => value.toLowerCase()).join(", ")
    return yield* new BadLogLevel({ message: `FLOCK_LOG_LEVEL "${text}" must be one of ${known}` })
  })
)

const main = Command.run(root, { version: VERSION }).pipe(
  Effect.provide(Layer.merge(NodeServices.layer, logLevel)),
  Effect.scoped
)

NodeRuntime.runMain(main, {
  disableErrorReporting: true,
  teardown: (exit, onExit) => {
    if (Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)) return onExit(0)
    const error = Cause.squash(exit.cause)
    if (CliError.isCliError(error)) return onExit(2)
    if (error instanceof NotAnnounced) return onExit(1)
    const code = error instanceof BadLogLevel ? 2 : 1
    process.stderr.write(`${oneLine(`flock-agent: ${messageOf(error)}`)}\n`)
    return onExit(code)
  }
})
