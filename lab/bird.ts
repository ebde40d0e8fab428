/** A BIRD of the lab: `bird.conf`, `bird.ctl` and `bird.log` in one folder. */
import type { ChildProcess } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { exec } from "./exec.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

/** Starts BIRD on the `bird.conf` that is in `directory`, and waits for its control socket. */
export const startBird = async (
  world: World,
  netns: string,
  directory: string,
  ...flags: ReadonlyArray<string>
): Promise<ChildProcess> => {
  const socket = join(directory, "bird.ctl")
  const log = join(directory, "bird.log")
  const child = world.spawn(["bird", "-f", "-c", join(directory, "bird.conf"), "-s", socket, ...flags], { netns, log })
  await until("BIRD answers", async () => {
    if (child.exitCode !== null) throw new Error(`bird ended: ${readFileSync(log, "utf8")}`)
    return (await exec("birdc", ["-s", socket, "show", "status"])).code === 0
  })
  return child
}
