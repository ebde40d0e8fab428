/** Flags that several commands share. Every flag can also be given as a `FLOCK_…` variable of the environment. */
import { Config } from "effect"
import { Flag } from "effect/cli"

/** A flag with text as its value: the flag itself, else the environment's `variable`, else `value`. */
export const fromEnv = (flag: Flag.Flag<string>, variable: string, value: string): Flag.Flag<string> =>
  flag.pipe(Flag.withFallbackConfig(Config.NonEmptyString(variable)), Flag.withDefault(value))

export const socket = fromEnv(
  Flag.String("socket").pipe(Flag.withDescription("The running agent's unix socket")),
  "FLOCK_SOCKET",
  "/run/flock/agent.sock"
)

export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON instead of text"),
  Flag.withDefault(false)
)
