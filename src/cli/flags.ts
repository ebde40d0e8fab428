/** Flags that several commands share. A flag wins over its `FLOCK_…` variable, that over the default here. */
import { Config } from "effect"
import { Flag } from "effect/cli"

export const DEFAULT_SOCKET = "/run/flock/agent.sock"

export const text = (name: string, description: string, fallback: string) =>
  Flag.String(name).pipe(
    Flag.withDescription(`${description} (default: ${fallback})`),
    Flag.withFallbackConfig(Config.String(`FLOCK_${name.toUpperCase().replaceAll("-", "_")}`)),
    Flag.withDefault(fallback)
  )

export const optional = (
  name: string,
  description: string,
  variable = `FLOCK_${name.toUpperCase().replaceAll("-", "_")}`
) =>
  Flag.String(name).pipe(
    Flag.withDescription(description),
    Flag.withFallbackConfig(Config.String(variable)),
    Flag.optional
  )

export const socketFlag = text("socket", "the agent's unix socket", DEFAULT_SOCKET)

/** Of several commands: one name, one default. */
export const birdSocketFlag = text("bird-socket", "BIRD's control socket", "/run/flock/bird/bird.ctl")

export const cniBinDirFlag = text(
  "cni-bin-dir",
  "the runtime's folder of CNI plugins, to see which can be chained",
  "/opt/cni/bin"
)

export const jsonFlag = Flag.Boolean("json").pipe(Flag.withDescription("print JSON"), Flag.withDefault(false))
