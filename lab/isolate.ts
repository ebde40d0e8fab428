/**
 * For commands that work on a whole machine's network: namespaces of their own, which end with the command, so that
 * nothing it makes can stay on the machine or be seen by it.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { run } from "./exec.ts"

/** In the environment of a command that is in its namespaces. */
const INSIDE = "LAB_ISOLATED"

/**
 * True in namespaces of network, mounts and processes. Otherwise runs this same command there, to its end, and takes over
 * its exit code. Of processes too: whatever ends the command, ends what it has started.
 */
export const isolate = async (): Promise<boolean> => {
  if (process.env[INSIDE] === "1") {
    await run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    await run("ip", "link", "set", "lo", "up")
    return true
  }
  await run("mkdir", "-p", "/run/netns")
  const namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
  const child = spawn("unshare", [...namespaces, "--", process.execPath, ...process.argv.slice(1)], {
    stdio: "inherit",
    env: { ...process.env, [INSIDE]: "1" }
  })
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill("SIGKILL"))
  const [code] = await once(child, "exit")
  process.exitCode = typeof code === "number" ? code : 1
  return false
}
