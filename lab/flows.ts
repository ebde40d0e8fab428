/** Many UDP flows between two namespaces, and which of their datagrams are lost on which way, for how long. */
import type { ChildProcess } from "node:child_process"
import { join } from "node:path"
import { inside } from "./exec.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

const PROGRAM = join(import.meta.dirname, "flows.mjs")
const PORT = 4242
/** Every flow sends one datagram each so many milliseconds. */
const INTERVAL = 10

/** What became of the datagrams of one direction. */
export interface Lost {
  readonly sent: number
  readonly lost: number
  /** The longest time that one flow was silent, in milliseconds, {@link INTERVAL} its grain. */
  readonly silence: number
}

export interface Direction {
  /** Requests, towards `to`. */
  readonly there: Lost
  /** Answers; those that were not asked for are not missed. */
  readonly back: Lost
}

export interface Flows {
  readonly stop: () => Promise<{ readonly ipv6: Direction; readonly ipv4: Direction }>
}

type Seen = Readonly<Record<string, { readonly sent: number; readonly bits: string }>>

const has = (bits: Buffer, number: number): boolean => ((bits[number >> 3] ?? 0) >> (number & 7) & 1) === 1

const judge = (sender: Seen, echo: Seen, family: 4 | 6): Direction => {
  const there = { sent: 0, lost: 0, silence: 0 }
  const back = { sent: 0, lost: 0, silence: 0 }
  const count = (direction: typeof there, came: boolean, silent: number): number => {
    direction.sent++
    if (came) return 0
    direction.lost++
    direction.silence = Math.max(direction.silence, (silent + 1) * INTERVAL)
    return silent + 1
  }
  for (const [flow, { bits, sent }] of Object.entries(sender)) {
    if (flow.includes(":") !== (family === 6)) continue
    const [answers, requests] = [Buffer.from(bits, "hex"), Buffer.from(echo[flow]?.bits ?? "", "hex")]
    let [silentThere, silentBack] = [0, 0]
    for (let i = 0; i < sent; i++) {
      silentThere = count(there, has(requests, i), silentThere)
      if (has(requests, i)) silentBack = count(back, has(answers, i), silentBack)
    }
  }
  return { there, back }
}

const start = async (world: World, netns: string, ...args: ReadonlyArray<string>) => {
  const child: ChildProcess = world.spawn([process.execPath, PROGRAM, ...args], { netns })
  let text = ""
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => text += chunk)
  await until("flows are ready", () => text.includes("ready\n"))
  return async (): Promise<Seen> => {
    const closed = new Promise((done) => child.stdout?.once("close", done))
    child.kill("SIGTERM")
    await closed
    return JSON.parse(text.slice(text.indexOf("\n") + 1))
  }
}

/** Datagrams that a socket of the namespace had no room for: the machine's fault, not the network's. */
const overflows = async (netns: string): Promise<number> => {
  const text = await inside(netns, "cat", "/proc/net/snmp", "/proc/net/snmp6")
  const udp = text.split("\n").filter((line) => line.startsWith("Udp:")).map((line) => line.split(/\s+/))
  const four = Number(udp[1]?.[udp[0]?.indexOf("RcvbufErrors") ?? -1] ?? 0)
  return four + Number(/Udp6RcvbufErrors\s+(\d+)/.exec(text)?.[1] ?? 0)
}

/** `flows` UDP flows from `from` to each address, all of them `to`'s, which answers. */
export const openFlows = async (
  world: World,
  { addresses, flows = 8, from, to }: {
    readonly from: string
    readonly to: string
    readonly addresses: ReadonlyArray<string>
    readonly flows?: number
  }
): Promise<Flows> => {
  const stopEcho = await start(world, to, "echo", String(PORT))
  const stopSender = await start(world, from, "send", String(PORT), String(flows), String(INTERVAL), ...addresses)
  return {
    stop: async () => {
      const sender = await stopSender()
      const echo = await stopEcho()
      const overflow = await overflows(from) + await overflows(to)
      if (overflow > 0) throw new Error(`${overflow} datagrams found no room in a socket: the machine is too busy`)
      return { ipv6: judge(sender, echo, 6), ipv4: judge(sender, echo, 4) }
    }
  }
}
