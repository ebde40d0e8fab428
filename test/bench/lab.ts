/** Where the bench runs, and what it calls there. */
import type { ChildProcess } from "node:child_process"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { AgentNode } from "../../lab/AgentNode.ts"
import { run } from "../../lab/exec.ts"
import { sleep } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { Bucket } from "./report.ts"

/** A world for one bench, with a folder that has the spawner in it. */
export const openLab = async () => {
  const world = new World()
  const directory = world.folder("bench")
  const cnirun = join(directory, "cnirun")
  await run("cc", "-O2", "-Wall", "-Wextra", "-o", cnirun, join(import.meta.dirname, "cnirun.c"))
  return {
    world,
    directory,
    cnirun,
    /** Writes a file of the lab and returns its path. */
    write: (name: string, content: string): string => {
      const full = join(directory, name)
      writeFileSync(full, content)
      return full
    },
    [Symbol.asyncDispose]: () => world.close()
  }
}
export type Lab = Awaited<ReturnType<typeof openLab>>

export interface Timings {
  /** Milliseconds per process, in the order of the container IDs. */
  readonly each: ReadonlyArray<number>
  /** Milliseconds from the first start to the last end. */
  readonly total: number
  /** CPU time of the plugins' processes and of what they started, milliseconds in all. */
  readonly cpu: number
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
  return { each: times.slice(0, -1), total: times.at(-1) ?? Number.NaN, cpu: Number(lines.at(-1)?.[2]) }
}

const READY = "http://127.0.0.1:9476/readyz"

/** A node that is where the bench is: its agent answers this process by HTTP. */
export class BenchNode extends AgentNode {
  /** Milliseconds from the process's start to the first 200 on /readyz, of the last start. */
  readyAfter = Number.NaN

  static override async open(world: World, options: { readonly spec: unknown }): Promise<BenchNode> {
    const node = new BenchNode(world, { name: "bench", ...options })
    await node.setUp()
    return node
  }

  /** Records are in memory, as they are on a node: `/run` is a tmpfs. */
  protected override async setUp(): Promise<void> {
    mkdirSync(this.stateDirectory)
    await run("mount", "-t", "tmpfs", "tmpfs", this.stateDirectory)
    this.world.defer(() => run("umount", "--lazy", this.stateDirectory))
    await super.setUp()
  }

  protected override launch(command: ReadonlyArray<string>, env: NodeJS.ProcessEnv): ChildProcess {
    return this.world.spawn(command, { log: this.log, env })
  }

  override async start(): Promise<void> {
    const begin = performance.now()
    const agent = this.spawnAgent()
    while (!await fetch(READY).then((response) => response.ok, () => false)) {
      const late = performance.now() - begin > 20_000
      if (late || agent.exitCode !== null || agent.signalCode !== null) {
        throw new Error(`the agent ${late ? "was not ready after 20 s" : "ended"}:\n${this.readLog().slice(-4000)}`)
      }
      await sleep(3)
    }
    this.readyAfter = performance.now() - begin
  }

  /** The buckets of a histogram without labels: `le` and how many were at most so much. */
  async buckets(name: string): Promise<ReadonlyArray<Bucket>> {
    const text = await (await fetch("http://127.0.0.1:9476/metrics")).text()
    return [...text.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]+)"\\} (\\d+)$`, "gm"))]
      .map(([, le, count]) => ({ le: le === "+Inf" ? Infinity : Number(le), count: Number(count) }))
  }

  /** CPU time that the agent has used, milliseconds; the kernel counts in steps of 10 (proc(5), `stat`). */
  cpu(): { readonly user: number; readonly system: number } {
    const stat = readFileSync(`/proc/${this.agent?.pid}/stat`, "utf8")
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
    return { user: Number(fields[11]) * 10, system: Number(fields[12]) * 10 }
  }

  /** MB, as `VmRSS` or `VmHWM` of /proc/PID/status. */
  memory(field: "VmRSS" | "VmHWM"): number {
    const status = readFileSync(`/proc/${this.agent?.pid}/status`, "utf8")
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1000
  }
}

/** `measure` beside an agent that runs with this NodeConfig, which the plugin's calls reach. */
export const withAgent = async <A>(
  spec: unknown,
  measure: (lab: Lab, agent: BenchNode) => Promise<A>
): Promise<A> => {
  await using lab = await openLab()
  const agent = await BenchNode.open(lab.world, { spec })
  await agent.start()
  process.env["FLOCK_SOCKET"] = agent.socket
  const measured = await measure(lab, agent)
  await agent.stop()
  return measured
}
