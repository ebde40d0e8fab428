/** One node in a network namespace of its own: a real agent, the real plugin, pods as namespaces. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import type { StatusReport } from "../../src/socket/StatusReport.ts"

export const DIST = resolve(import.meta.dirname, "../../dist")
export const PLUGIN = join(DIST, "cni/flock")
const AGENT = join(DIST, "flock-agent.mjs")
/** Debian's containernetworking-plugins. */
export const PLUGINS = "/usr/lib/cni"

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export const exec = (
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly input?: string; readonly env?: NodeJS.ProcessEnv } = {}
): Promise<Outcome> =>
  new Promise((done, fail) => {
    const child = execFile(
      command,
      [...args],
      { env: options.env ?? process.env, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code === "string") return fail(error)
        done({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, stdout, stderr })
      }
    )
    child.stdin?.on("error", () => undefined)
    child.stdin?.end(options.input ?? "")
  })

/** Fails with what the command said. */
export const run = async (command: string, ...args: ReadonlyArray<string>): Promise<string> => {
  const { code, stderr, stdout } = await exec(command, args)
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: exit ${code}: ${stderr || stdout}`)
  return stdout
}

export interface CniReply {
  readonly code: number
  // oxlint-disable-next-line typescript/no-explicit-any -- a test reads what it expects, and fails if it is not there
  readonly json: any
}

export const sleep = (milliseconds: number): Promise<void> => new Promise((done) => setTimeout(done, milliseconds))

/** Waits for `probe` to give something; the error names `what`. */
export const eventually = async <A>(
  what: string,
  probe: () => Promise<A | undefined | false>,
  seconds = 10
): Promise<A> => {
  const end = Date.now() + seconds * 1000
  let last: unknown
  while (Date.now() < end) {
    try {
      const value = await probe()
      if (value !== undefined && value !== false) return value
    } catch (error) {
      last = error
    }
    await sleep(20)
  }
  throw new Error(`${what}: not within ${seconds} s${last === undefined ? "" : ` (${String(last)})`}`)
}

export interface NodeOptions {
  /** Default: `node1`. */
  readonly name?: string
  /** `spec` of its NodeConfig; undefined: none is written. */
  readonly spec?: unknown
  readonly flags?: ReadonlyArray<string>
  readonly env?: NodeJS.ProcessEnv
}

export const DUAL = { cidr6: "2001:db8:77::/64", cidr4: "10.77.0.0/24" }

/** The node's own addresses, of both families. */
export const HOST = ["2001:db8:ffff::1", "198.51.100.1"] as const

export class TestNode {
  readonly tag = `${process.pid}-${randomBytes(3).toString("hex")}`
  readonly name: string
  readonly netns = `flk-${this.tag}`
  readonly directory = mkdtempSync(join(tmpdir(), "flock-node-"))
  readonly socket = join(this.directory, "agent.sock")
  readonly log = join(this.directory, "agent.log")
  readonly config = join(this.directory, "config")
  readonly #pods = new Set<string>()
  readonly #options: NodeOptions
  #count = 0
  agent: ChildProcess | undefined

  protected constructor(options: NodeOptions) {
    this.#options = options
    this.name = options.name ?? "node1"
  }

  static async open(options: NodeOptions = {}): Promise<TestNode> {
    const node = new TestNode(options)
    await node.setUp()
    return node
  }

  protected async setUp(): Promise<void> {
    await run("ip", "netns", "add", this.netns)
    await this.ip("link", "set", "lo", "up")
    for (const address of HOST) await this.ip("addr", "add", address, "dev", "lo")
    mkdirSync(join(this.config, "pods"), { recursive: true })
    if (this.#options.spec !== undefined) this.writeNodeConfig(this.#options.spec)
  }

  /** The command that runs another one where the agent runs. */
  protected enter(): ReadonlyArray<string> {
    return ["nsenter", `--net=/run/netns/${this.netns}`]
  }

  protected async signal(agent: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    agent.kill(signal)
  }

  async close(): Promise<void> {
    await this.stop()
    for (const pod of this.#pods) await exec("ip", ["netns", "del", pod])
    await exec("ip", ["netns", "del", this.netns])
    rmSync(this.directory, { recursive: true, force: true })
  }

  writeNodeConfig(spec: unknown): void {
    this.#put(join(this.config, "nodeconfig.yaml"), {
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfig",
      metadata: { name: this.name },
      spec
    })
  }

  /** As `kubectl` would show it; annotations without their prefix. */
  writePod(
    name: string,
    pod: {
      readonly uid?: string
      readonly annotations?: Record<string, string>
      readonly ready?: boolean
      readonly deleting?: boolean
    }
  ): void {
    this.#put(join(this.config, "pods", `${name}.yaml`), {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        namespace: "default",
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

  #put(file: string, content: unknown): void {
    writeFileSync(`${file}.tmp`, JSON.stringify(content))
    renameSync(`${file}.tmp`, file)
  }

  inside(command: string, ...args: ReadonlyArray<string>): Promise<string> {
    return run("nsenter", `--net=/run/netns/${this.netns}`, command, ...args)
  }

  ip(...args: ReadonlyArray<string>): Promise<string> {
    return run("ip", "-n", this.netns, ...args)
  }

  spawnAgent(extra: ReadonlyArray<string> = []): ChildProcess {
    const fd = openSync(this.log, "a")
    const [command = "", ...args] = this.enter()
    this.agent = spawn(command, [
      ...args,
      process.execPath,
      AGENT,
      "run",
      "--node-name",
      this.name,
      "--standalone",
      this.config,
      "--socket",
      this.socket,
      "--state-dir",
      join(this.directory, "state"),
      "--bird-conf",
      join(this.directory, "bird/bird.conf"),
      "--bird-socket",
      join(this.directory, "bird/bird.ctl"),
      ...(this.#options.flags ?? ["--no-bird"]),
      ...extra
    ], { stdio: ["ignore", fd, fd], env: { ...process.env, ...this.#options.env } })
    return this.agent
  }

  /** Starts the agent and waits until it serves. */
  async start(): Promise<void> {
    const agent = this.spawnAgent()
    await eventually("the agent serves", async () => {
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

  /** Metrics as text, from inside the node. */
  metrics(path = "/metrics"): Promise<string> {
    return this.inside("curl", "-s", `http://127.0.0.1:9476${path}`)
  }

  /** A new network namespace for a pod; its container ID is its name. */
  async pod(setUp: ReadonlyArray<ReadonlyArray<string>> = []): Promise<string> {
    const name = `flp${this.#count++}-${this.tag}`
    await run("ip", "netns", "add", name)
    this.#pods.add(name)
    for (const [command = "true", ...args] of setUp) await run("nsenter", `--net=/run/netns/${name}`, command, ...args)
    return name
  }

  async deletePod(name: string): Promise<void> {
    await run("ip", "netns", "del", name)
    this.#pods.delete(name)
  }

  env(verb: string, container: string, options: CallOptions = {}): NodeJS.ProcessEnv {
    const args = options.pod === undefined
      ? ""
      : `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${options.pod};K8S_POD_UID=${options.uid ?? ""}`
    return {
      PATH: process.env["PATH"],
      FLOCK_SOCKET: this.socket,
      CNI_COMMAND: verb,
      CNI_CONTAINERID: container,
      CNI_NETNS: options.netns ?? (container === "" ? "" : `/run/netns/${container}`),
      CNI_IFNAME: options.ifName ?? "eth0",
      CNI_PATH: `${join(DIST, "cni")}:${PLUGINS}`,
      CNI_ARGS: options.args ?? args
    }
  }

  /** Runs a plugin as a runtime does. */
  async cni(verb: string, container = "", options: CallOptions = {}): Promise<CniReply> {
    const config = { cniVersion: "1.0.0", name: "flock", type: "flock", ...options.config }
    // flock's plugin only talks to the socket; others work in the namespace that they are started in.
    const call = options.plugin === undefined ? [PLUGIN] : ["nsenter", `--net=/run/netns/${this.netns}`, options.plugin]
    const { code, stdout } = await exec(call[0] ?? "", call.slice(1), {
      input: options.stdin ?? JSON.stringify(config),
      env: this.env(verb, container, options)
    })
    return { code, json: stdout.trim() === "" ? undefined : JSON.parse(stdout) }
  }

  /** ADD that must succeed. */
  async add(container: string, options: CallOptions = {}): Promise<CniReply["json"]> {
    const { code, json } = await this.cni("ADD", container, options)
    if (code !== 0) throw new Error(`ADD of ${container} failed: ${JSON.stringify(json)}`)
    return json
  }

  /** DELs every attachment that the agent has. */
  async removeAll(): Promise<void> {
    const { allocations } = JSON.parse((await this.tool("status", "--json")).stdout) as StatusReport
    for (const { containerId, ifName } of allocations) await this.cni("DEL", containerId, { ifName })
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
    return (await exec("nsenter", [`--net=/run/netns/${container}`, "ping", "-c", "1", "-W", "2", "-q", target]))
      .code === 0
  }
}

export interface CallOptions {
  readonly netns?: string
  readonly ifName?: string
  readonly args?: string
  /** Pod name in namespace `default`. */
  readonly pod?: string
  readonly uid?: string
  /** Over the default network configuration. */
  readonly config?: Record<string, unknown>
  readonly stdin?: string
  readonly plugin?: string
}

/** Addresses of an ADD result without their lengths: `[IPv6, IPv4]` as far as they are there. */
export const addressesOf = (result: CniReply["json"]): ReadonlyArray<string> =>
  result.ips.map((ip: { readonly address: string }) => ip.address.split("/")[0])
