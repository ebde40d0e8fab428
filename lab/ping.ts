/** ping, a few times or until told to stop. */
import { readFileSync } from "node:fs"
import { enter, exec } from "./exec.ts"

export interface Pings {
  readonly sent: number
  readonly received: number
  /** As ping prints them: replies, errors, summary. */
  readonly text: string
}

const summary = (text: string): Pings | undefined => {
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? []
  return sent === undefined ? undefined : { sent: Number(sent), received: Number(received), text }
}

/** `count` pings, 10 ms apart, each answered within 2 s; the TTL of the first reply tells the hops. */
export const ping = async (
  netns: string,
  target: string,
  count = 1
): Promise<Pings & { readonly ttl: number | undefined }> => {
  const [program = "", ...args] = enter(netns)
  const words = [...args, "ping", "-n", "-c", String(count), "-i", "0.01", "-W", "2", target]
  const { stderr, stdout } = await exec(program, words)
  const ttl = /ttl=(\d+)/.exec(stdout)?.[1]
  const text = stdout + stderr
  return { ...(summary(text) ?? { sent: 0, received: 0, text }), ttl: ttl === undefined ? undefined : Number(ttl) }
}

/** Empty for a process that has ended. */
const commandOf = (pid: string): ReadonlyArray<string> => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
  } catch {
    return []
  }
}

/** Pings until told to stop. */
export const pinging = (netns: string, target: string, milliseconds = 10): { readonly stop: () => Promise<Pings> } => {
  const [program = "", ...args] = enter(netns)
  // SIGINT has ping print its summary; `timeout` sends it to ping itself, through no shell.
  const limit = ["timeout", "-s", "INT", "--foreground", "120"]
  const done = exec(program, [...args, ...limit, "ping", "-n", "-i", String(milliseconds / 1000), "-W", "2", target])
  return {
    stop: async () => {
      const pids = (await exec("ip", ["netns", "pids", netns])).stdout.trim().split("\n")
      for (const pid of pids) {
        if (pid === "") continue
        const [command, ...words] = commandOf(pid)
        if (command === "ping" && words.includes(target)) process.kill(Number(pid), "SIGINT")
      }
      const { stderr, stdout } = await done
      const pings = summary(stdout)
      if (pings === undefined) throw new Error(`ping printed no summary: ${stdout}${stderr}`)
      return pings
    }
  }
}
