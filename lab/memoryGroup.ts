/** A memory limit as kubelet sets one: a cgroup of version 1 or 2, whichever the machine has. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { World } from "./World.ts"

const V1 = "/sys/fs/cgroup/memory"
const V2 = "/sys/fs/cgroup"

const version = existsSync(join(V1, "memory.limit_in_bytes"))
  ? 1
  : existsSync(join(V2, "cgroup.subtree_control")) &&
      readFileSync(join(V2, "cgroup.subtree_control"), "utf8").includes("memory")
  ? 2
  : undefined

/** Whether this machine lets us limit memory; if not, the tests that need it are reported as skipped. */
export const memoryLimits = version !== undefined && process.getuid?.() === 0

export interface MemoryGroup {
  /** Runs `command` in the group. */
  readonly within: (command: ReadonlyArray<string>) => ReadonlyArray<string>
  /** Bytes, the most since the group was made; page cache included. */
  readonly peak: () => number
  /** Processes of the group that the kernel killed. */
  readonly kills: () => number
}

export const memoryGroup = (world: World, bytes: number): MemoryGroup => {
  const folder = join(version === 1 ? V1 : V2, `flock-${world.tag}`)
  const read = (file: string) => readFileSync(join(folder, file), "utf8")
  mkdirSync(folder)
  // Processes that are killed leave the group a moment later.
  world.defer(async () => {
    for (const pid of read("cgroup.procs").split("\n").filter((line) => line !== "")) {
      try {
        process.kill(Number(pid), "SIGKILL")
      } catch {
        // It has ended.
      }
    }
    for (let i = 0; i < 50; i++) {
      try {
        return rmdirSync(folder)
      } catch {
        await new Promise((done) => setTimeout(done, 100))
      }
    }
  })
  writeFileSync(join(folder, version === 1 ? "memory.limit_in_bytes" : "memory.max"), String(bytes))
  return {
    within: (command) => ["sh", "-c", `echo $$ > ${folder}/cgroup.procs && exec "$@"`, "sh", ...command],
    peak: () => Number(read(version === 1 ? "memory.max_usage_in_bytes" : "memory.peak")),
    kills: () => Number(/oom_kill (\d+)/.exec(read(version === 1 ? "memory.oom_control" : "memory.events"))?.[1] ?? 0)
  }
}
