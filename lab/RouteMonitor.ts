/** What changes in a namespace's routes, with the time it was seen: `ip monitor route`. */
import { createInterface } from "node:readline"
import { exec } from "./exec.ts"
import { now, until } from "./until.ts"
import type { World } from "./World.ts"

export interface RouteEvent {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly deleted: boolean
  /** Address or prefix, as `ip` prints it. */
  readonly destination: string
}

/** Only there to see that the monitor listens (RFC 5737, RFC 2544 ranges are in use elsewhere in the lab). */
const PROBE = "240.1.2.3"

export class RouteMonitor {
  readonly events: Array<RouteEvent> = []

  /** Sees every change from the moment it is returned. */
  static async open(world: World, netns: string): Promise<RouteMonitor> {
    const monitor = new RouteMonitor()
    const child = world.spawn(["ip", "monitor", "route"], { netns })
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      const words = line.trim().split(/\s+/)
      const deleted = words[0] === "Deleted"
      monitor.events.push({ at: now(), deleted, destination: words[deleted ? 1 : 0] ?? "" })
    })
    await until("the monitor listens", async () => {
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
}
