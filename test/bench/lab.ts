/**
 * Where the bench runs: network and mount namespaces of its own, which end with it, so that nothing it makes can stay
 * on the machine or be seen by it.
 */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"

const execute = promisify(execFile)
const root = resolve(import.meta.dirname, "../..")
const INSIDE = "FLOCK_BENCH_INSIDE"

export const run = async (command: string, ...args: ReadonlyArray<string>): Promise<string> =>
  (await execute(command, args, { maxBuffer: 64 << 20 })).stdout

/** True in the namespaces. Otherwise runs this same command there, to its end, and takes over its exit code. */
export const enter = async (): Promise<boolean> => {
  if (process.env[INSIDE] === "1") {
    await run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    await run("ip", "link", "set", "lo", "up")
    return true
  }
  await run("mkdir", "-p", "/run/netns")
  // A process namespace too: whatever ends the bench, ends its agents.
  const namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
  const child = spawn("unshare", [...namespaces, "--", process.execPath, ...process.argv.slice(1)], {
    stdio: "inherit",
    env: { ...process.env, [INSIDE]: "1" }
  })
  const [code] = await once(child, "exit")
  process.exitCode = typeof code === "number" ? code : 1
  return false
}

/** A folder for one bench, with the spawner in it; `close` removes it. */
export const openLab = async (name: string) => {
  const directory = mkdtempSync(`/tmp/flock-bench-${name}-`)
  const cnirun = join(directory, "cnirun")
  await run("cc", "-O2", "-Wall", "-Wextra", "-o", cnirun, join(import.meta.dirname, "cnirun.c"))
  return {
    directory,
    cnirun,
    /** Writes a file of the lab and returns its path. */
    write: (path: string, content: string): string => {
      const full = join(directory, path)
      mkdirSync(join(full, ".."), { recursive: true })
      writeFileSync(full, content)
      return full
    },
    close: () => rmSync(directory, { recursive: true, force: true })
  }
}
export type Lab = Awaited<ReturnType<typeof openLab>>

/** Empty network namespaces `prefix0` … under /run/netns. */
export const addNamespaces = async (lab: Lab, prefix: string, count: number): Promise<ReadonlyArray<string>> => {
  const names = Array.from({ length: count }, (_, i) => `${prefix}${i}`)
  await run("ip", "-batch", lab.write(`netns-${prefix}`, names.map((name) => `netns add ${name}\n`).join("")))
  return names
}

export interface Timings {
  /** Milliseconds per process, in the order of the container IDs. */
  readonly each: ReadonlyArray<number>
  /** Milliseconds from the first start to the last end. */
  readonly total: number
}

/** A plugin with its configuration, and what a call of it needs in the environment. */
export interface Plugin {
  readonly path: string
  readonly config: string
}

/** Runs the plugin for every container and throws, with the plugin's output, if one call fails. */
export const callPlugin = async (
  lab: Lab,
  plugin: Plugin,
  verb: "ADD" | "DEL",
  mode: "one" | "all",
  ids: ReadonlyArray<string>
): Promise<Timings> => {
  const out = join(lab.directory, "out")
  mkdirSync(out, { recursive: true })
  const stdout = await run(lab.cnirun, mode, verb, plugin.path, plugin.config, out, ...ids)
  const lines = stdout.trim().split("\n").map((line) => line.split(" "))
  for (const [id = "", , code] of lines.slice(0, -1)) {
    const text = () => readFileSync(join(out, id), "utf8")
    if (code !== "0") throw new Error(`${plugin.path} ${verb} ${id}: exit code ${code}: ${text()}`)
    if (verb === "ADD" && !text().includes("\"ips\"")) throw new Error(`${plugin.path} ADD ${id} gave: ${text()}`)
  }
  const times = lines.map(([, ms]) => Number(ms))
  return { each: times.slice(0, -1), total: times.at(-1) ?? Number.NaN }
}

export interface Agent {
  readonly process: ChildProcess
  readonly socket: string
  /** Milliseconds from the process's start to the first 200 on /readyz. */
  readonly readyAfter: number
  /** A sample of /metrics, such as `flock_event_loop_delay_seconds{quantile="0.99"}`; undefined where it is missing. */
  readonly metric: (sample: string) => Promise<number | undefined>
  /** MB, as `VmRSS` or `VmHWM` of /proc/PID/status. */
  readonly memory: (field: "VmRSS" | "VmHWM") => number
  readonly stop: () => Promise<void>
}

export const AGENT = join(root, "dist/flock-agent.mjs")
export const PLUGIN = join(root, "dist/cni/flock")

/**
 * Starts the built agent standalone. `nodeConfig` is the text of nodeconfig.yaml, its node is `bench`; `flags` come
 * last. State stays in the lab, so an agent started again takes over from the last.
 */
export const startAgent = async (
  lab: Lab,
  nodeConfig: string,
  flags: ReadonlyArray<string> = ["--no-bird"]
): Promise<Agent> => {
  lab.write("standalone/nodeconfig.yaml", nodeConfig)
  mkdirSync(join(lab.directory, "standalone/pods"), { recursive: true })
  const socket = join(lab.directory, "agent.sock")
  const http = "127.0.0.1:9476"
  const log: Array<string> = []
  const begin = performance.now()
  const child = spawn(process.execPath, [
    AGENT,
    "run",
    `--standalone=${join(lab.directory, "standalone")}`,
    "--node-name=bench",
    `--socket=${socket}`,
    `--state-dir=${join(lab.directory, "state")}`,
    `--http=${http}`,
    ...flags
  ], { stdio: ["ignore", "ignore", "pipe"] })
  child.stderr?.on("data", (chunk: Buffer) => {
    log.push(chunk.toString())
    if (log.length > 200) log.shift()
  })
  const fail = (what: string) => new Error(`the agent ${what}:\n${log.join("").slice(-4000)}`)
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) throw fail("ended instead of becoming ready")
    if (await fetch(`http://${http}/readyz`).then((response) => response.ok, () => false)) break
    if (performance.now() - begin > 20_000) {
      child.kill("SIGKILL")
      throw fail("was not ready after 20 s")
    }
    await sleep(3)
  }
  const readyAfter = performance.now() - begin
  return {
    process: child,
    socket,
    readyAfter,
    metric: async (sample) => {
      const text = await (await fetch(`http://${http}/metrics`)).text()
      const line = text.split("\n").find((candidate) => candidate.startsWith(`${sample} `))
      return line === undefined ? undefined : Number(line.slice(sample.length + 1))
    },
    memory: (field) => {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8")
      return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1000
    },
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) throw fail("had ended before it was stopped")
      child.kill("SIGTERM")
      await once(child, "exit")
    }
  }
}
