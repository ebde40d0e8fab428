/**
 * Everything that one test file, bench or demo makes on this machine: network namespaces, folders and processes, named
 * by a tag of its own, so that any number of worlds stand side by side.
 *
 * A keeper, a process in a session of its own, reads from this process's pipe until end of file, then ends what the world
 * started and what runs in its namespaces, and removes namespaces and folders. So a world ends in the same way whether it
 * is closed or its process fails, is interrupted or is killed.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { chmodSync, mkdirSync, mkdtempSync, openSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { end, enter, runSync } from "./exec.ts"

/** In the environment of everything that a world starts, so that children's children are found too. */
const MARK = "LAB_WORLD"

/** Arguments: tag, folder. Processes are found by namespace (`ip netns pids` is slow for many), and by {@link MARK}. */
const KEEP = `
cat >/dev/null
ours() {
  grep -lsz "^${MARK}=$1$" /proc/[0-9]*/environ | cut -d/ -f3
  { stat -L -c %i /run/netns/*"$1"; echo; stat -L -c "%i %n" /proc/[0-9]*/ns/net; } 2>/dev/null |
    awk 'NF == 0 { seen = 1 } !seen { ours[$1] } seen && $1 in ours { split($2, path, "/"); print path[3] }'
}
for try in 1 2 3 4 5 6 7 8 9 10; do
  pids=$(ours "$1")
  [ -n "$pids" ] || break
  kill -9 $pids 2>/dev/null
  sleep 0.1
done
find /run/netns -name "*$1" -printf "netns del %f\\n" 2>/dev/null | ip -force -batch -
for try in 1 2 3 4 5; do
  rm -rf "$2" 2>/dev/null && exit
  sleep 0.5
done
rm -rf "$2"
`

export interface SpawnOptions {
  /** Where it runs; default: where this process does. */
  readonly netns?: string | undefined
  /** File that its output is appended to. Default: stdout is a pipe, stderr this process's. */
  readonly log?: string
  readonly env?: NodeJS.ProcessEnv
}

export class World implements AsyncDisposable {
  /** At the end of the names of all its namespaces. */
  readonly tag = `${process.pid}-${randomBytes(3).toString("hex")}`
  readonly #children = new Set<ChildProcess>()
  readonly #counts = new Map<string, number>()
  #deferred: Array<() => unknown> = []
  #kept: { readonly directory: string; readonly keeper: ChildProcess } | undefined

  #keep() {
    if (this.#kept !== undefined) return this.#kept
    const directory = mkdtempSync(join(tmpdir(), "flock-lab-"))
    // FRR's daemons give up root.
    chmodSync(directory, 0o755)
    const keeper = spawn("sh", ["-c", KEEP, "sh", this.tag, directory], {
      stdio: ["pipe", "ignore", "inherit"],
      detached: true
    })
    keeper.unref()
    return this.#kept = { directory, keeper }
  }

  #next(kind: string): string {
    const count = this.#counts.get(kind) ?? 0
    this.#counts.set(kind, count + 1)
    return `${kind}${count}`
  }

  /** The world's folder, under the system's temporary one. */
  get directory(): string {
    return this.#keep().directory
  }

  /** A new folder in the world's. */
  folder(kind: string): string {
    const path = join(this.directory, this.#next(kind))
    mkdirSync(path)
    return path
  }

  /** A new network namespace, `flk-KIND0-TAG`; its `lo` is down, as the kernel makes it. */
  netns(kind: string): string {
    this.#keep()
    const name = `flk-${this.#next(kind)}-${this.tag}`
    runSync(["ip", "netns", "add", name])
    return name
  }

  /** The environment for a process of the world that {@link spawn} does not start. */
  env(base: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
    return { ...base, [MARK]: this.tag }
  }

  /** A process that goes on; ended with the world at the latest. */
  spawn(command: ReadonlyArray<string>, options: SpawnOptions = {}): ChildProcess {
    const [program = "", ...args] = [...options.netns === undefined ? [] : enter(options.netns), ...command]
    const log = options.log === undefined ? undefined : openSync(options.log, "a")
    const child = spawn(program, args, {
      stdio: ["ignore", log ?? "pipe", log ?? "inherit"],
      env: this.env(options.env)
    })
    this.#children.add(child)
    child.once("exit", () => this.#children.delete(child))
    return child
  }

  /** Runs `cleanup` when the world ends, before what was deferred earlier; its own processes still run then. */
  defer(cleanup: () => unknown): void {
    this.#deferred.push(cleanup)
  }

  /** Ends everything, also after an earlier step of that failed; the world is empty then, and can be used again. */
  async close(): Promise<void> {
    const errors: Array<unknown> = []
    const attempt = async (task: () => unknown) => {
      try {
        await task()
      } catch (error) {
        errors.push(error)
      }
    }
    for (const cleanup of this.#deferred.toReversed()) await attempt(cleanup)
    this.#deferred = []
    await Promise.all([...this.#children].map((child) => attempt(() => end(child, "SIGKILL"))))
    await attempt(() => this.#release())
    if (errors.length > 0) throw new AggregateError(errors, `the world did not end: ${errors.map(String).join("; ")}`)
  }

  async #release(): Promise<void> {
    if (this.#kept === undefined) return
    const { keeper } = this.#kept
    this.#kept = undefined
    keeper.ref()
    const ended = once(keeper, "exit")
    keeper.stdin?.end()
    const [code] = await ended
    if (code !== 0) throw new Error(`the keeper of ${this.tag} ended with ${code}`)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
