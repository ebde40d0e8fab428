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

/** Of one family. */
export interface Lost {
  readonly sent: number
  /** Requests that the other end did not get. */
  readonly there: number
  /** Answers that did not come back. */
  readonly back: number
  /** The longest time that one flow was without answers, in milliseconds; {@link INTERVAL} is its grain. */
  readonly gap: number
}

export interface Flows {
  readonly stop: () => Promise<{ readonly ipv6: Lost; readonly ipv4: Lost }>
}

type Seen = Readonly<Record<string, { readonly sent: number; readonly bits: string }>>

const has = (bits: Buffer, number: number): boolean => ((bits[number >> 3] ?? 0) >> (number & 7) & 1) === 1

const judge = (sender: Seen, echo: Seen, family: 4 | 6): Lost => {
  const lost = { sent: 0, there: 0, back: 0, gap: 0 }
  for (const [flow, { bits, sent }] of Object.entries(sender)) {
    if (flow.includes(":") !== (family === 6)) continue
    const [came, got] = [Buffer.from(bits, "hex"), Buffer.from(echo[flow]?.bits ?? "", "hex")]
    let silent = 0
    for (let i = 0; i < sent; i++) {
      lost.sent++
      silent = has(came, i) ? 0 : silent + 1
      lost.gap = Math.max(lost.gap, silent * INTERVAL)
      if (!has(got, i)) lost.there++
      else if (!has(came, i)) lost.back++
    }
  }
  return lost
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
