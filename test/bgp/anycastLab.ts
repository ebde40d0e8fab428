/** Nodes with real agents and BIRDs behind an FRR router, pods that serve HTTP, and a client that fetches in a loop. */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { eventually, run, TestNode } from "../agent/node.ts"
import { end, inside, Lab, type LabOptions, NODE_ASN, ROUTER4, ROUTER6, ROUTER_ASN, startBird } from "./lab.ts"
import { now, RouteMonitor } from "./monitor.ts"

export const ANYCAST6 = "2001:db8:a::1"
export const ANYCAST4 = "192.0.2.1"

/** One fetch; times in milliseconds since the epoch. */
export interface Fetch {
  readonly url: string
  readonly start: number
  readonly end: number
  /** Name of the pod that answered. */
  readonly pod?: string
  readonly error?: string
}

/** `/?ms=N` answers after N milliseconds, with the server's name; a line is printed when the request arrives. */
const SERVER = `import { createServer } from "node:http"
createServer((request, response) => {
  const ms = Number(new URL(request.url, "http://pod").searchParams.get("ms") ?? 0)
  response.setHeader("connection", "close")
  console.log(request.url)
  setTimeout(() => response.end(process.argv[2]), ms)
}).listen(80, "::")
`

/** Fetches each URL again and again, a new connection each time, and prints a line for each fetch. */
const CLIENT = `import { get } from "node:http"
const now = () => performance.timeOrigin + performance.now()
const fetchOne = (url) => new Promise((done) => {
  const start = now()
  const request = get(url, { agent: false, timeout: 3000 }, (response) => {
    let pod = ""
    response.on("data", (chunk) => { pod += chunk })
    response.on("end", () => done({ url, start, end: now(), pod }))
    response.on("error", (error) => done({ url, start, end: now(), error: String(error) }))
  })
  request.on("timeout", () => request.destroy(new Error("timeout")))
  request.on("error", (error) => done({ url, start, end: now(), error: String(error) }))
})
const [times, ...urls] = process.argv.slice(2)
await Promise.all(urls.map(async (url) => {
  for (let i = 0; i < Number(times); i++) {
    console.log(JSON.stringify(await fetchOne(url)))
    await new Promise((done) => setTimeout(done, 2))
  }
}))
`

export const urlOf = (address: string, query = ""): string =>
  `http://${address.includes(":") ? `[${address}]` : address}/${query}`

export interface PodOptions {
  readonly anycast?: ReadonlyArray<string>
  readonly addresses?: ReadonlyArray<string>
  /** False: without an IPv4 address. */
  readonly ipv4?: boolean
  /** Runs the HTTP server in it. */
  readonly serve?: boolean
}

export class AnycastPod {
  readonly node: TestNode
  readonly name: string
  readonly netns: string
  /** Requests that have reached its server. */
  requests = 0
  readonly #annotations: Record<string, string>

  constructor(node: TestNode, name: string, netns: string, annotations: Record<string, string>) {
    this.node = node
    this.name = name
    this.netns = netns
    this.#annotations = annotations
  }

  /** Writes the Pod; the result is when, in milliseconds since the epoch. */
  set(state: { readonly ready?: boolean; readonly deleting?: boolean }): number {
    this.node.writePod(this.name, { uid: `uid-${this.name}`, annotations: this.#annotations, ...state })
    return now()
  }

  add(): Promise<unknown> {
    return this.node.add(this.netns, { pod: this.name, uid: `uid-${this.name}` })
  }

  async detach(): Promise<void> {
    const { code, json } = await this.node.cni("DEL", this.netns, { pod: this.name, uid: `uid-${this.name}` })
    if (code !== 0) throw new Error(`DEL of ${this.name} failed: ${JSON.stringify(json)}`)
  }

  /** DEL, and the Pod is gone from the API. */
  async del(): Promise<void> {
    await this.detach()
    rmSync(join(this.node.config, "pods", `${this.name}.yaml`), { force: true })
  }
}

export class AnycastLab {
  readonly nodes: ReadonlyArray<TestNode>
  readonly lab: Lab
  /** Of the router. */
  readonly monitor: RouteMonitor
  readonly #children = new Set<ChildProcess>()

  private constructor(nodes: ReadonlyArray<TestNode>, lab: Lab, monitor: RouteMonitor) {
    this.nodes = nodes
    this.lab = lab
    this.monitor = monitor
  }

  /** All agents and BIRDs run, and every session is Established. */
  static async open(
    options: Partial<Pick<LabOptions, "bfd" | "router">> & { readonly nodes: number }
  ): Promise<AnycastLab> {
    const nodes: Array<TestNode> = []
    let lab: Lab | undefined
    try {
      for (let i = 0; i < options.nodes; i++) {
        const peer = { asn: ROUTER_ASN, bfd: options.bfd ?? false, holdTimeSeconds: 9 }
        nodes.push(
          await TestNode.open({
            name: `node${i + 1}`,
            flags: [],
            spec: {
              cidr6: `2001:db8:${i + 1}::/64`,
              cidr4: `10.42.${i + 1}.0/24`,
              anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] },
              bgp: { asn: NODE_ASN, peers: [{ address: ROUTER6, ...peer }, { address: ROUTER4, ...peer }] }
            }
          })
        )
      }
      // A lone node has its addresses on lo; here they are on the uplink.
      for (const node of nodes) await node.ip("addr", "flush", "dev", "lo", "scope", "global")
      lab = await Lab.open({
        router: options.router ?? "frr",
        nodes: nodes.map(({ netns }) => netns),
        bfd: options.bfd ?? false
      })
      const anycast = new AnycastLab(nodes, lab, await RouteMonitor.open(lab.router))
      await anycast.#start()
      return anycast
    } catch (error) {
      await lab?.close()
      for (const node of nodes) await node.close()
      throw error
    }
  }

  async #start(): Promise<void> {
    // Two pods on one node, or two nodes, are chosen by port as well: RFC 2992 hashing over the flow.
    await inside(
      this.lab.router,
      "sysctl",
      "-qw",
      "net.ipv6.fib_multipath_hash_policy=1",
      "net.ipv4.fib_multipath_hash_policy=1"
    )
    for (const [i, node] of this.nodes.entries()) {
      await node.start()
      await this.startBird(i)
    }
    for (const family of [6, 4] as const) {
      await eventually(
        "every node's prefix is in the router",
        async () => (await this.lab.kernelRoutes(family)).size === this.nodes.length,
        30
      )
    }
  }

  /** Runs commands in one session of FRR's shell. */
  vtysh(...commands: ReadonlyArray<string>): Promise<string> {
    return run("vtysh", "--vty_socket", join(this.lab.directory, "router"), ...commands.flatMap((c) => ["-c", c]))
  }

  /** Waits until so many BFD sessions are up. */
  bfdUp(count: number): Promise<true> {
    return eventually(`${count} BFD sessions`, async () => {
      const peers: ReadonlyArray<{ status: string }> = JSON.parse(await this.vtysh("show bfd peers json"))
      return peers.filter(({ status }) => status === "up").length === count ? true as const : undefined
    }, 20)
  }

  async startBird(i: number): Promise<ChildProcess> {
    const node = this.nodes[i] as TestNode
    const directory = join(node.directory, "bird")
    await eventually("the agent writes bird.conf", async () => existsSync(join(directory, "bird.conf")))
    const child = await startBird(node.netns, directory)
    this.#children.add(child)
    return child
  }

  /** A pod with its network, not Ready yet. */
  async pod(i: number, name: string, options: PodOptions): Promise<AnycastPod> {
    const node = this.nodes[i] as TestNode
    const pod = new AnycastPod(node, name, await node.pod(), {
      ...(options.anycast === undefined ? {} : { anycast: options.anycast.join(",") }),
      ...(options.addresses === undefined ? {} : { addresses: options.addresses.join(",") }),
      ...(options.ipv4 === false ? { ipv4: "false" } : {})
    })
    pod.set({ ready: false })
    const wanted = [...options.anycast ?? [], ...options.addresses ?? []]
      .filter((address) => options.ipv4 !== false || address.includes(":"))
    await eventually("an ADD after the agent has read the pod's file", async () => {
      await pod.add()
      const addresses = await run("ip", "-n", pod.netns, "-br", "address", "show")
      if (wanted.every((address) => addresses.includes(`${address}/`))) return true
      await pod.detach()
      return false
    })
    if (options.serve === true) await this.serve(pod)
    return pod
  }

  async serve(pod: AnycastPod): Promise<void> {
    const script = join(this.lab.directory, "server.mjs")
    writeFileSync(script, SERVER)
    const child = this.#spawn(pod.netns, script, pod.name)
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", () => pod.requests++)
    await eventually(`${pod.name} serves`, async () => {
      const listening = await run("nsenter", `--net=/run/netns/${pod.netns}`, "ss", "-Htnl", "sport", "=", ":80")
      return listening !== ""
    })
  }

  #spawn(netns: string, script: string, ...args: ReadonlyArray<string>): ChildProcess {
    const child = spawn("nsenter", [`--net=/run/netns/${netns}`, process.execPath, script, ...args], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    this.#children.add(child)
    return child
  }

  /** A client that fetches every URL in a loop; `fetches` grows while it runs. */
  fetchLoop(urls: ReadonlyArray<string>, times = 1_000_000) {
    const script = join(this.lab.directory, "client.mjs")
    writeFileSync(script, CLIENT)
    const child = this.#spawn(this.lab.client, script, String(times), ...urls)
    const fetches: Array<Fetch> = []
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
    lines.on("line", (line) => fetches.push(JSON.parse(line)))
    const ended = new Promise<void>((done) => lines.on("close", done))
    return { fetches, ended, stop: async () => void (await end(child), await ended) }
  }

  async fetch(url: string): Promise<Fetch> {
    const { ended, fetches } = this.fetchLoop([url], 1)
    await ended
    if (fetches[0] === undefined) throw new Error(`no answer for ${url}`)
    return fetches[0]
  }

  /** Gateways of the router's kernel route to an address; empty: it has none. */
  async gateways(address: string): Promise<ReadonlyArray<string>> {
    return (await this.lab.kernelRoutes(address.includes(":") ? 6 : 4)).get(address) ?? []
  }

  /**
   * Failed fetches that no change of the router's ways explains. A router that spreads flows over several ways moves
   * some of those that are open when a way goes (RFC 2992, section 3); one caught within its few milliseconds is reset
   * by the pod that it comes to, whoever announces the address.
   */
  unexplained(fetches: ReadonlyArray<Fetch>): ReadonlyArray<Fetch> {
    return fetches.filter(({ end, error, start, url }) =>
      error !== undefined &&
      !this.monitor.events.some(({ at, destination }) => url === urlOf(destination) && at > start - 10 && at < end + 10)
    )
  }

  /** Waits until the router has exactly so many ways to an address. */
  ways(address: string, count: number, seconds = 10): Promise<true> {
    return eventually(
      `${count} ways to ${address} in the router`,
      async () => (await this.gateways(address)).length === count ? true as const : undefined,
      seconds
    )
  }

  /** BIRD's log on a node; what it says of reconfigurations is there. */
  birdLog(i: number): string {
    return readFileSync(join((this.nodes[i] as TestNode).directory, "bird/bird.log"), "utf8")
  }

  async close(): Promise<void> {
    await this.monitor.close()
    for (const child of this.#children) await end(child, "SIGKILL")
    for (const node of this.nodes) await node.close()
    await this.lab.close()
  }
}
