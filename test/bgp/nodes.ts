/** Nodes with a real agent and a real BIRD on the lab's LAN. */
import type { ChildProcess } from "node:child_process"
import { existsSync, mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { eventually, exec, run, TestNode } from "../agent/node.ts"
import { end, Lab, type LabOptions, NODE_ASN, ROUTER4, ROUTER6, ROUTER_ASN, startBird } from "./lab.ts"

/** Node i's prefixes. */
export const cidr6 = (i: number): string => `2001:db8:10${i}::/64`
export const cidr4 = (i: number): string => `10.42.${i}.0/24`

export const peers = (more: object = {}): ReadonlyArray<object> => [
  { address: ROUTER6, asn: ROUTER_ASN, holdTimeSeconds: 9, ...more },
  { address: ROUTER4, asn: ROUTER_ASN, holdTimeSeconds: 9, ...more }
]

export const nodeSpec = (i: number, bgp: object = {}): object => ({
  cidr6: cidr6(i),
  cidr4: cidr4(i),
  bgp: { asn: NODE_ASN, peers: peers(), ...bgp }
})

export class BgpNode {
  readonly index: number
  readonly node: TestNode
  bird: ChildProcess | undefined

  constructor(index: number, node: TestNode) {
    this.index = index
    this.node = node
  }

  get birdDirectory(): string {
    return join(this.node.directory, "bird")
  }

  get conf(): string {
    return join(this.birdDirectory, "bird.conf")
  }

  /** As a supervisor does: BIRD starts once there is a file; `-R` keeps routes over a restart. */
  async startBird(): Promise<void> {
    mkdirSync(this.birdDirectory, { recursive: true })
    await eventually("the agent writes bird.conf", async () => existsSync(this.conf))
    this.bird = await startBird(this.node.netns, this.birdDirectory, "-R")
  }

  async stopBird(signal: NodeJS.Signals): Promise<void> {
    if (this.bird !== undefined) await end(this.bird, signal)
    this.bird = undefined
  }

  readConf(): string {
    return existsSync(this.conf) ? readFileSync(this.conf, "utf8") : ""
  }

  /** `flock-agent status --json`. */
  // oxlint-disable-next-line typescript/no-explicit-any -- JSON; a test reads what it expects
  async status(): Promise<any> {
    const { code, stderr, stdout } = await this.node.tool("status", "--json")
    if (code !== 0) throw new Error(`status: ${stderr}`)
    return JSON.parse(stdout)
  }

  /** A pod through the real plugin; its addresses. */
  async pod(): Promise<{ readonly netns: string; readonly v6: string; readonly v4: string }> {
    const netns = await this.node.pod()
    const result = await this.node.add(netns)
    const [v6 = "", v4 = ""] = ["6", "4"].map((family) =>
      result.ips.map((ip: { readonly address: string }) => ip.address.split("/")[0])
        .find((text: string) => text.includes(":") === (family === "6"))
    )
    return { netns, v6, v4 }
  }

  async close(): Promise<void> {
    await this.stopBird("SIGKILL")
    await this.node.close()
  }
}

export interface Network {
  readonly lab: Lab
  readonly nodes: ReadonlyArray<BgpNode>
  readonly close: () => Promise<void>
}

/** A lab whose nodes run agents and BIRDs; `spec` gives node i's NodeConfig. */
export const openNetwork = async (
  options: Omit<LabOptions, "nodes"> & { readonly count: number },
  spec: (i: number) => object = nodeSpec
): Promise<Network> => {
  const nodes: Array<BgpNode> = []
  let lab: Lab | undefined
  const close = async () => {
    for (const node of nodes) await node.close()
    await lab?.close()
  }
  try {
    for (let i = 0; i < options.count; i++) {
      nodes.push(new BgpNode(i, await TestNode.open({ spec: spec(i), flags: [] })))
    }
    lab = await Lab.open({ ...options, nodes: nodes.map(({ node }) => node.netns) })
    await Promise.all(nodes.map(({ node }) => node.start()))
    await Promise.all(nodes.map((node) => node.startBird()))
    return { lab, nodes, close }
  } catch (error) {
    await close()
    throw error
  }
}

export interface Pings {
  readonly sent: number
  readonly received: number
  /** As ping prints them: replies, errors, summary. */
  readonly text: string
}

/** Pings until told to stop. */
export const pinging = (netns: string, target: string, milliseconds = 10): { stop: () => Promise<Pings> } => {
  // SIGINT has ping print its summary; `timeout` sends it to ping itself, through no shell.
  const done = exec("nsenter", [
    `--net=/run/netns/${netns}`,
    "timeout",
    "-s",
    "INT",
    "--foreground",
    "120",
    "ping",
    "-n",
    "-i",
    String(milliseconds / 1000),
    "-W",
    "2",
    target
  ])
  return {
    stop: async () => {
      const pids = (await exec("ip", ["netns", "pids", netns])).stdout.trim().split("\n")
      for (const pid of pids) {
        if (pid === "") continue
        const command = existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : ""
        if (command.startsWith("ping\0") && command.includes(target)) process.kill(Number(pid), "SIGINT")
      }
      return summary((await done).stdout)
    }
  }
}

const summary = (text: string): Pings => {
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? []
  if (sent === undefined) throw new Error(`ping printed no summary: ${text}`)
  return { sent: Number(sent), received: Number(received), text }
}

/** `count` pings; the TTL of the first reply tells the hops. */
export const ping = async (
  netns: string,
  target: string,
  count = 1
): Promise<Pings & { readonly ttl: number | undefined }> => {
  const { stdout } = await exec("nsenter", [
    `--net=/run/netns/${netns}`,
    "ping",
    "-n",
    "-c",
    String(count),
    "-i",
    "0.01",
    "-W",
    "2",
    target
  ])
  const ttl = /ttl=(\d+)/.exec(stdout)?.[1]
  return { ...summary(stdout), ttl: ttl === undefined ? undefined : Number(ttl) }
}

export const showRoutes = (netns: string, ...args: ReadonlyArray<string>): Promise<string> =>
  run("ip", "-n", netns, ...args)
