/** One node in a network namespace of its own: a real agent in standalone mode, the real plugin, a BIRD if wanted. */
import type { ChildProcess } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { StatusReport } from "../src/socket/StatusReport.ts"
import { startBird } from "./bird.ts"
import { AGENT, type CallOptions, callPlugin, cniEnv, type CniReply } from "./cni.ts"
import { end, exec, inside, ip, type Outcome, run } from "./exec.ts"
import { ping } from "./ping.ts"
import { until } from "./until.ts"
import type { World } from "./World.ts"

export const DUAL = { cidr6: "2001:db8:77::/64", cidr4: "10.77.0.0/24" }

/** A lone node's own addresses, of both families, on its `lo`. */
export const HOST = ["2001:db8:ffff::1", "198.51.100.1"] as const

export interface NodeOptions {
  /** Default: `node1`. */
  readonly name?: string
  /** `spec` of its NodeConfig; undefined: none is written. */
  readonly spec?: unknown
  readonly flags?: ReadonlyArray<string>
  readonly env?: NodeJS.ProcessEnv
}

/** A pod's network namespace and addresses. */
export interface Attached {
  readonly netns: string
  readonly v6: string
  readonly v4: string
}

export class AgentNode {
  readonly world: World
  readonly name: string
  readonly netns: string
  readonly directory: string
  readonly socket: string
  readonly log: string
  /** The folder that stands for Kubernetes: `nodeconfig.yaml` and `pods/`. */
  readonly config: string
  readonly birdDirectory: string
  /** In place of the folder, from the next start of the agent on. */
  kubeconfig: string | undefined
  readonly #options: NodeOptions
  agent: ChildProcess | undefined
  bird: ChildProcess | undefined

  protected constructor(world: World, options: NodeOptions) {
    this.world = world
    this.#options = options
    this.name = options.name ?? "node1"
    this.netns = world.netns("node")
    this.directory = world.folder("node")
    this.socket = join(this.directory, "agent.sock")
    this.log = join(this.directory, "agent.log")
    this.config = join(this.directory, "config")
    this.birdDirectory = join(this.directory, "bird")
  }

  static async open(world: World, options: NodeOptions = {}): Promise<AgentNode> {
    const node = new AgentNode(world, options)
    await node.setUp()
    return node
  }

  protected async setUp(): Promise<void> {
    await this.ip("link", "set", "lo", "up")
    for (const address of HOST) await this.ip("addr", "add", address, "dev", "lo")
    mkdirSync(join(this.config, "pods"), { recursive: true })
    if (this.#options.spec !== undefined) this.writeNodeConfig(this.#options.spec)
  }

  /** Runs the agent's command where the agent runs. */
  protected launch(command: ReadonlyArray<string>, env: NodeJS.ProcessEnv): ChildProcess {
    return this.world.spawn(command, { netns: this.netns, log: this.log, env })
  }

  protected async signal(agent: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    agent.kill(signal)
  }

  writeNodeConfig(spec: unknown): void {
    this.#put(join(this.config, "nodeconfig.yaml"), {
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name: this.name },
      spec
    })
  }

  removeNodeConfig(): void {
    rmSync(join(this.config, "nodeconfig.yaml"), { force: true })
  }

  #podFile(name: string): string {
    return join(this.config, "pods", `${name}.yaml`)
  }

  /** As `kubectl` would show it; annotations without their prefix. */
  writePod(
    name: string,
    pod: {
      /** Default: `default`. A name is in one namespace at a time. */
      readonly namespace?: string
      readonly uid?: string
      readonly annotations?: Record<string, string>
      readonly ready?: boolean
      readonly deleting?: boolean
    }
  ): void {
    this.#put(this.#podFile(name), {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        namespace: pod.namespace ?? "default",
        name,
        uid: pod.uid ?? "",
        annotations: Object.fromEntries(
          Object.entries(pod.annotations ?? {}).map(([k, v]) => [`flock.fritzlab.net/${k}`, v])
        ),
        ...(pod.deleting ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {})
      },
      status: { conditions: [{ type: "Ready", status: pod.ready ? "True" : "False" }] }
    })
  }

  removePod(name: string): void {
    rmSync(this.#podFile(name), { force: true })
  }

  #put(file: string, content: unknown): void {
    writeFileSync(`${file}.tmp`, JSON.stringify(content))
    renameSync(`${file}.tmp`, file)
  }

  inside(command: string, ...args: ReadonlyArray<string>): Promise<string> {
    return inside(this.netns, command, ...args)
  }

  ip(...args: ReadonlyArray<string>): Promise<string> {
    return ip(this.netns, ...args)
  }

  spawnAgent(extra: ReadonlyArray<string> = []): ChildProcess {
    const flags = [
      ["--node-name", this.name],
      this.kubeconfig === undefined ? ["--standalone", this.config] : ["--kubeconfig", this.kubeconfig],
      ["--socket", this.socket],
      ["--state-dir", this.stateDirectory],
      ["--bird-conf", this.conf],
      ["--bird-socket", join(this.birdDirectory, "bird.ctl")],
      this.#options.flags ?? ["--no-bird"],
      extra
    ]
    this.agent = this.launch([process.execPath, AGENT, "run", ...flags.flat()], {
      ...process.env,
      ...this.#options.env
    })
    return this.agent
  }

  /** Starts the agent and waits until it serves. */
  async start(): Promise<void> {
    const agent = this.spawnAgent()
    await until("the agent serves", async () => {
      if (agent.exitCode !== null) throw new Error(`the agent ended with ${agent.exitCode}: ${this.readLog()}`)
      return existsSync(this.socket) && (await this.cni("VERSION")).json?.supportedVersions !== undefined &&
        (await exec(process.execPath, [AGENT, "status", "--json", "--socket", this.socket])).code === 0
    }, 20)
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | NodeJS.Signals | null> {
    const agent = this.agent
    this.agent = undefined
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return null
    const ended = new Promise<number | NodeJS.Signals | null>((done) =>
      agent.on("exit", (code, name) => done(code ?? name))
    )
    await this.signal(agent, signal)
    return ended
  }

  readLog(): string {
    return existsSync(this.log) ? readFileSync(this.log, "utf8") : ""
  }

  tool(...args: ReadonlyArray<string>): Promise<Outcome> {
    return exec(process.execPath, [AGENT, ...args, "--socket", this.socket])
  }

  async status(): Promise<StatusReport> {
    const { code, stderr, stdout } = await this.tool("status", "--json")
    if (code !== 0) throw new Error(`status: ${stderr}`)
    return JSON.parse(stdout)
  }

  /** Metrics as text, from inside the node. */
  metrics(path = "/metrics"): Promise<string> {
    return this.inside("curl", "-s", `http://127.0.0.1:9476${path}`)
  }

  get stateDirectory(): string {
    return join(this.directory, "state")
  }

  get conf(): string {
    return join(this.birdDirectory, "bird.conf")
  }

  readConf(): string {
    return existsSync(this.conf) ? readFileSync(this.conf, "utf8") : ""
  }

  /** As a supervisor does: BIRD starts once there is a file; `-R` keeps routes over a restart. */
  async startBird(): Promise<void> {
    await until("the agent writes bird.conf", () => existsSync(this.conf))
    this.bird = await startBird(this.world, this.netns, this.birdDirectory, "-R")
  }

  async stopBird(signal: NodeJS.Signals): Promise<void> {
    if (this.bird !== undefined) await end(this.bird, signal)
    this.bird = undefined
  }

  /** A new network namespace for a pod; its container ID is its name. */
  async pod(setUp: ReadonlyArray<ReadonlyArray<string>> = []): Promise<string> {
    const name = this.world.netns("pod")
    for (const command of setUp) await inside(name, ...command)
    return name
  }

  async deletePod(name: string): Promise<void> {
    await run("ip", "netns", "del", name)
  }

  /** A pod without annotations through the real plugin; its addresses. */
  async attachedPod(): Promise<Attached> {
    const netns = await this.pod()
    const addresses = (await this.add(netns)).ips.map((ip: { readonly address: string }) => ip.address.split("/")[0])
    const of = (sign: string): string => addresses.find((address: string) => address.includes(sign)) ?? ""
    return { netns, v6: of(":"), v4: of(".") }
  }

  env(verb: string, container: string, options: CallOptions = {}): NodeJS.ProcessEnv {
    return cniEnv(this.socket, verb, container, options)
  }

  /** Runs a plugin as a runtime does. */
  cni(verb: string, container = "", options: CallOptions = {}): Promise<CniReply> {
    return callPlugin(this, verb, container, options)
  }

  /** ADD that must succeed. */
  async add(container: string, options: CallOptions = {}): Promise<CniReply["json"]> {
    const { code, json } = await this.cni("ADD", container, options)
    if (code !== 0) throw new Error(`ADD of ${container} failed: ${JSON.stringify(json)}`)
    return json
  }

  /** DELs every attachment that the agent has. */
  async removeAll(): Promise<void> {
    for (const { containerId, ifName } of (await this.status()).allocations) {
      await this.cni("DEL", containerId, { ifName })
    }
  }

  /** Names of the host-side links. */
  async links(): Promise<ReadonlyArray<string>> {
    const links: ReadonlyArray<{ readonly ifname: string }> = JSON.parse(await this.ip("-j", "link", "show"))
    return links.map((link) => link.ifname).filter((name) => name !== "lo")
  }

  /** Host routes of the pods, both families, as `ip route` prints them. */
  async routes(protocol: 200 | 201 = 200): Promise<ReadonlyArray<string>> {
    const text = await this.ip("route", "show", "proto", String(protocol)) +
      await this.ip("-6", "route", "show", "proto", String(protocol))
    return text.split("\n").filter((line) => line !== "")
  }

  async ping(container: string, target: string): Promise<boolean> {
    return (await ping(container, target)).received === 1
  }
}
