/** What changes in a namespace's routes, with the time it was seen: `ip monitor route`. */
import { type ChildProcess, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { eventually, exec } from "../agent/node.ts"
import { end } from "./lab.ts"

export interface RouteEvent {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly deleted: boolean
  /** Address or prefix, as `ip` prints it. */
  readonly destination: string
}

/** Milliseconds since the epoch, finer than `Date.now()`. */
export const now = (): number => performance.timeOrigin + performance.now()

/** Only there to see that the monitor listens (RFC 5737, RFC 2544 ranges are in use elsewhere in the lab). */
const PROBE = "240.1.2.3"

export class RouteMonitor {
  readonly events: Array<RouteEvent> = []
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      const words = line.trim().split(/\s+/)
      const deleted = words[0] === "Deleted"
      this.events.push({ at: now(), deleted, destination: words[deleted ? 1 : 0] ?? "" })
    })
  }

  /** Sees every change from the moment it is returned. */
  static async open(netns: string): Promise<RouteMonitor> {
    const monitor = new RouteMonitor(
      spawn("nsenter", [`--net=/run/netns/${netns}`, "ip", "monitor", "route"], { stdio: ["ignore", "pipe", "ignore"] })
    )
    await eventually("the monitor listens", async () => {
      await exec("ip", ["-n", netns, "route", "replace", "unreachable", PROBE])
      await exec("ip", ["-n", netns, "route", "del", "unreachable", PROBE])
      return monitor.events.length > 0
    })
    return monitor
  }

  /** The last change of a destination at or after `since`. */
  last(destination: string, since: number): RouteEvent | undefined {
    return this.events.findLast((event) => event.destination === destination && event.at >= since)
  }

  close(): Promise<void> {
    return end(this.#child, "SIGKILL")
  }
}
