/** Programs: run to their end, run in a network namespace, ended. Everything here that fails says what the program said. */
import { type ChildProcess, execFile, spawnSync } from "node:child_process"

const BUFFER = 64 * 1024 * 1024

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface ExecOptions {
  readonly input?: string
  readonly env?: NodeJS.ProcessEnv
}

/** Prefix of a command that is to run in a network namespace, in the caller's mounts. */
export const enter = (netns: string): ReadonlyArray<string> => ["nsenter", `--net=/run/netns/${netns}`]

/** Runs a program to its end; fails only if there is no such program. */
export const exec = (command: string, args: ReadonlyArray<string>, options: ExecOptions = {}): Promise<Outcome> =>
  new Promise((done, fail) => {
    const child = execFile(
      command,
      [...args],
      { env: options.env ?? process.env, maxBuffer: BUFFER },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code === "string") return fail(error)
        done({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, stdout, stderr })
      }
    )
    child.stdin?.on("error", () => undefined)
    child.stdin?.end(options.input ?? "")
  })

const checked = (words: ReadonlyArray<string>, { code, stderr, stdout }: Outcome): string => {
  if (code !== 0) throw new Error(`${words.join(" ")}: exit ${code}: ${stderr || stdout}`)
  return stdout
}

/** What the program printed; fails with what it said if it fails. */
export const run = async (command: string, ...args: ReadonlyArray<string>): Promise<string> =>
  checked([command, ...args], await exec(command, args))

/** {@link run} for where nothing else may happen in between: in the middle of an Effect, or in a constructor. */
export const runSync = (words: ReadonlyArray<string>, input = ""): string => {
  const [command = "", ...args] = words
  const { error, status, stderr, stdout } = spawnSync(command, args, { encoding: "utf8", input, maxBuffer: BUFFER })
  if (error !== undefined) throw error
  return checked(words, { code: status ?? 1, stdout, stderr })
}

/** {@link run} in a network namespace. */
export const inside = (netns: string, ...command: ReadonlyArray<string>): Promise<string> => {
  const [program = "", ...args] = [...enter(netns), ...command]
  return run(program, ...args)
}

/** `ip …` in a network namespace. */
export const ip = (netns: string, ...args: ReadonlyArray<string>): Promise<string> => run("ip", "-n", netns, ...args)

/** Many `ip` commands at once, one a line; the first that fails ends it. */
export const ipBatch = (netns: string, lines: string): string => runSync(["ip", "-n", netns, "-batch", "-"], lines)

/** Ends a process that was started here, and waits for it. */
export const end = async (child: ChildProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((done) => child.once("exit", done))
  child.kill(signal)
  await ended
}
