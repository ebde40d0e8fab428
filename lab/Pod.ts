/** A pod as Kubernetes would run it: a Pod object, a network namespace, its network through the real plugin. */
import type { AgentNode } from "./AgentNode.ts"
import { inside } from "./exec.ts"
import { serveHttp } from "./http.ts"
import { now, until } from "./until.ts"

export interface PodOptions {
  readonly anycast?: ReadonlyArray<string>
  readonly addresses?: ReadonlyArray<string>
  /** False: without an IPv4 address. */
  readonly ipv4?: boolean
  /** Runs the HTTP server in it. */
  readonly serve?: boolean
}

export class Pod {
  readonly node: AgentNode
  readonly name: string
  readonly netns: string
  /** Requests that have reached its server. */
  requests = 0
  readonly #annotations: Record<string, string>

  private constructor(node: AgentNode, name: string, netns: string, options: PodOptions) {
    this.node = node
    this.name = name
    this.netns = netns
    this.#annotations = {
      ...(options.anycast === undefined ? {} : { anycast: options.anycast.join(",") }),
      ...(options.addresses === undefined ? {} : { addresses: options.addresses.join(",") }),
      ...(options.ipv4 === false ? { ipv4: "false" } : {})
    }
  }

  /** Its network is complete; it is not Ready. */
  static async start(node: AgentNode, name: string, options: PodOptions): Promise<Pod> {
    const pod = new Pod(node, name, await node.pod(), options)
    pod.set({ ready: false })
    const wanted = [...options.anycast ?? [], ...options.addresses ?? []]
      .filter((address) => options.ipv4 !== false || address.includes(":"))
    await until("an ADD after the agent has read the pod's file", async () => {
      await pod.add()
      const addresses = await inside(pod.netns, "ip", "-br", "address", "show")
      if (wanted.every((address) => addresses.includes(`${address}/`))) return true
      await pod.detach()
      return false
    })
    if (options.serve === true) await pod.serve()
    return pod
  }

  get #call() {
    return { pod: this.name, uid: `uid-${this.name}` }
  }

  /** Writes the Pod; the result is when, in milliseconds since the epoch. */
  set(state: { readonly ready?: boolean; readonly deleting?: boolean }): number {
    this.node.writePod(this.name, { uid: `uid-${this.name}`, annotations: this.#annotations, ...state })
    return now()
  }

  add(): Promise<unknown> {
    return this.node.add(this.netns, this.#call)
  }

  async detach(): Promise<void> {
    const { code, json } = await this.node.cni("DEL", this.netns, this.#call)
    if (code !== 0) throw new Error(`DEL of ${this.name} failed: ${JSON.stringify(json)}`)
  }

  /** DEL, and the Pod is gone from the API. */
  async del(): Promise<void> {
    await this.detach()
    this.node.removePod(this.name)
  }

  /** Serves its name by HTTP on port 80, both families. */
  serve(): Promise<unknown> {
    return serveHttp(this.node.world, this.netns, this.name, () => this.requests++)
  }
}
