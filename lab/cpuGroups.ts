/** Shares of the processors as kubelet sets them: cgroups of version 1 or 2, whichever the machine has. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { end } from "./exec.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

const V1 = "/sys/fs/cgroup/cpu"
const V2 = "/sys/fs/cgroup"

const version = existsSync(join(V1, "cpu.shares")) ? 1 : existsSync(join(V2, "cgroup.subtree_control")) ? 2 : undefined

/** Of millicores, `MilliCPUToShares` of kubelet (pkg/kubelet/cm). */
export const sharesOf = (millicores: number): number => Math.min(262_144, Math.max(2, Math.floor(millicores * 1.024)))

/** What container runtimes make of it for version 2 (runc's `ConvertCPUSharesToCgroupV2Value` before 1.3.2). */
export const weightOf = (shares: number): number => 1 + Math.floor(((shares - 2) * 9999) / 262_142)

export class CpuGroup {
  readonly #folder: string

  private constructor(folder: string, millicores: number) {
    this.#folder = folder
    mkdirSync(folder)
    this.setRequest(millicores)
  }

  /** A group beside those of the machine; goes with the world, its processes first. */
  static top(world: World, millicores: number): CpuGroup {
    if (version === undefined) throw new Error("no cgroup controller for cpu is mounted")
    const group = new CpuGroup(join(version === 1 ? V1 : V2, `flock-${world.tag}`), millicores)
    if (version === 2) writeFileSync(join(group.#folder, "cgroup.subtree_control"), "+cpu")
    world.defer(() => group.#remove())
    return group
  }

  /** Moves a process out of all of these. */
  static leave(pid: number): void {
    writeFileSync(join(version === 1 ? V1 : V2, "cgroup.procs"), String(pid))
  }

  child(world: World, name: string, millicores: number): CpuGroup {
    const group = new CpuGroup(join(this.#folder, name), millicores)
    world.defer(() => group.#remove())
    return group
  }

  setRequest(millicores: number): void {
    const shares = sharesOf(millicores)
    const [file, value] = version === 1 ? ["cpu.shares", shares] : ["cpu.weight", weightOf(shares)]
    writeFileSync(join(this.#folder, file), String(value))
  }

  /** All threads of a process. */
  add(pid: number): void {
    writeFileSync(join(this.#folder, "cgroup.procs"), String(pid))
  }

  async #remove(): Promise<void> {
    const pids = () =>
      readFileSync(join(this.#folder, "cgroup.procs"), "utf8").split("\n").filter((line) => line !== "")
    for (const pid of pids()) {
      try {
        process.kill(Number(pid), "SIGKILL")
      } catch {
        // It has ended.
      }
    }
    await until("a cgroup is empty", () => pids().length === 0, 20)
    rmdirSync(this.#folder)
  }
}

/** Four processes that never wait, in `group`; the result ends them. */
export const spin = (world: World, group: CpuGroup) => {
  const processes = Array.from({ length: 4 }, () => world.spawn(["sh", "-c", "while :; do :; done"]))
  for (const { pid } of processes) if (pid !== undefined) group.add(pid)
  return () => Promise.all(processes.map((it) => end(it, "SIGKILL")))
}
