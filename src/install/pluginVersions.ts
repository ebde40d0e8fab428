/** What a CNI plugin answers to VERSION (CNI spec 1.1.0, section 4). */
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { isRecord } from "../domain/record.ts"

/** A plugin does nothing for it but print; one that hangs is ended. */
const LIMIT = { timeout: 5000, killSignal: "SIGKILL", maxBuffer: 64 << 10 } as const

/** `supportedVersions` of the answer; undefined where it is none. */
export const parseVersions = (answer: string): ReadonlyArray<string> | undefined => {
  try {
    const parsed: unknown = JSON.parse(answer)
    const versions = isRecord(parsed) ? parsed["supportedVersions"] : undefined
    return Array.isArray(versions) ? versions.filter((version) => typeof version === "string") : undefined
  } catch {
    return undefined
  }
}

/** Runs the plugin at `path`, once; undefined where it cannot be run or understood. Nothing of our environment goes to it. */
export const pluginVersions = (path: string): Effect.Effect<ReadonlyArray<string> | undefined> =>
  Effect.callback((resume, signal) => {
    const env = { CNI_COMMAND: "VERSION", PATH: "/usr/sbin:/usr/bin:/sbin:/bin" }
    const child = execFile(
      path,
      { ...LIMIT, env, signal },
      (error, stdout) => resume(Effect.succeed(error === null ? parseVersions(stdout) : undefined))
    )
    // Some plugins read the configuration before they look at the command. One that is gone already does not mind.
    child.stdin?.on("error", () => {}).end(`{"cniVersion":"1.0.0"}`)
  })
