/** A node as its container runtime sees it: pods in slots, every call checked against the model. */
import { setTimeout as sleep } from "node:timers/promises"
import type { AgentNode } from "../../lab/AgentNode.ts"
import type { Wanted } from "../../lab/agreement.ts"
import { addressesOf, type CniReply } from "../../lab/cni.ts"
import { ip } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { Circumstances } from "./Circumstances.ts"
import { addressProblem, answerProblem, type Request, type Verb, wantedOf } from "./model.ts"
import type { Asks, Edit } from "./plan.ts"
import type { Pods } from "./pods.ts"
import { edited, type Spec } from "./spec.ts"

/** A pod's place on a node. */
export interface Slot {
  readonly name: string
  netns: string
  /** What the runtime has, with what it remembers for CHECK and DEL. */
  container: Container | undefined
  /** Whether the pod's annotations are others than at its ADD. */
  edited: boolean
}

export interface Container {
  readonly id: string
  readonly uid: string
  wanted: Wanted
  readonly result: CniReply["json"]
}

export interface NodeParts {
  readonly node: AgentNode
  readonly pods: Pods
  readonly spec: Spec
  /** Pods that operations work on. One more, the witness, has its network all the time. */
  readonly slots: number
  /** Text that the node's addresses begin with. */
  readonly prefixes: { readonly ipv6: string; readonly ipv4: string }
  readonly anycast: ReadonlyArray<string>
  /** The address that slot `i` may choose. */
  readonly chosen: (slot: number) => string
  /** Addresses of all nodes' pods at this moment. */
  readonly taken: () => ReadonlySet<string>
}

/** An answer or a state that must not be. */
export class Violation extends Error {}

/** How long a runtime tries a DEL again. */
const DEL_SECONDS = 60

/** Faults with which the agent ends. */
const ENDS = ["agentKilled", "agentStopped", "stateLost", "podsLost"] as const

const FORBIDDEN = "198.18.1.1"

export class SoakNode {
  readonly parts: NodeParts
  readonly slots: ReadonlyArray<Slot>
  readonly circumstances = new Circumstances()
  /** Containers that the runtime does not know any more and GC is to free, with their namespaces. */
  forgotten = new Set<string>()
  /** Whether namespaces ended without a DEL since the last GC: the agent finds that out, in some 10 s. */
  vanished = false
  /** Set when the records were lost in this round: ends what that excuses. */
  lostState: (() => void) | undefined
  /** In force, as far as the writer knows. */
  spec: Spec
  calls = { ADD: 0, DEL: 0, CHECK: 0, GC: 0, STATUS: 0 }
  #containers = 0
  /** ADDs and DELs in flight: a runtime lets no GC run beside them. */
  #inFlight = 0
  #collecting = false

  private constructor(parts: NodeParts, slots: ReadonlyArray<Slot>) {
    this.parts = parts
    this.slots = slots
    this.spec = parts.spec
  }

  static async open(parts: NodeParts): Promise<SoakNode> {
    const slots: Array<Slot> = []
    for (let i = 0; i <= parts.slots; i++) {
      const netns = await parts.node.pod()
      slots.push({ name: `${parts.node.name}-p${i}`, netns, container: undefined, edited: false })
    }
    return new SoakNode(parts, slots)
  }

  slot(i: number): Slot {
    const slot = this.slots[i]
    if (slot === undefined) throw new RangeError(`no slot ${i}`)
    return slot
  }

  get witness(): Slot {
    return this.slot(this.parts.slots)
  }

  /** All but the witness. */
  get operated(): ReadonlyArray<Slot> {
    return this.slots.slice(0, this.parts.slots)
  }

  get wanted(): ReadonlyArray<Wanted> {
    return this.slots.flatMap(({ container }) => container === undefined ? [] : [container.wanted])
  }

  /** A call, and how it was answered; fails where the model does not allow the answer. */
  async call(verb: Verb, slot: Slot | undefined, container: Pick<Container, "id" | "uid">, options: {
    readonly asks?: Asks
    readonly attached?: boolean
    readonly config?: Record<string, unknown>
  } = {}): Promise<CniReply> {
    const from = performance.now()
    this.calls[verb]++
    const reply = await this.parts.node.cni(verb, container.id, {
      ...slot === undefined ? {} : { netns: `/run/netns/${slot.netns}`, pod: slot.name, uid: container.uid },
      ...options.config === undefined ? {} : { config: options.config }
    })
    const during = this.circumstances.since(from, slot?.name)
    const call = { verb, attached: options.attached ?? false, during, ...options.asks && { asks: options.asks } }
    const problem = answerProblem(call, reply.code === 0 ? 0 : reply.json?.code ?? -1)
    if (problem !== undefined) {
      const what = slot === undefined ? "" : ` (${slot.name}, container ${container.id})`
      throw new Violation(
        `${this.parts.node.name}: ${problem}${what} during {${[...during].join(", ")}}: ${JSON.stringify(reply.json)}`
      )
    }
    return reply
  }

  /** Waits until no GC runs, and holds the next one off. */
  async #moving<A>(task: () => Promise<A>): Promise<A> {
    while (this.#collecting) await sleep(5)
    this.#inFlight++
    try {
      return await task()
    } finally {
      this.#inFlight--
    }
  }

  #request(i: number, asks: Asks): Request {
    const has = (address: string | undefined): address is string => address !== undefined
    return {
      anycast: asks.anycast.map((index) => this.parts.anycast[index]).filter(has),
      chosen: asks.chosen ? [this.parts.chosen(i)] : []
    }
  }

  #annotations({ anycast, chosen }: Request, asks: Asks): Record<string, string> {
    const all = [...anycast, ...asks.forbidden ? [FORBIDDEN] : []]
    return {
      ...all.length > 0 && { anycast: all.join(",") },
      ...chosen.length > 0 && { addresses: chosen.join(",") },
      ...!asks.ipv4 && { ipv4: "false" }
    }
  }

  /** Pod created, ADD; where that fails, DEL as a runtime does. `times`: at the same moment, of which one may succeed. */
  add(i: number, asks: Asks, times = 1): Promise<void> {
    return this.#moving(async () => {
      const slot = this.slot(i)
      const ipv4 = this.spec.defaults?.ipv4 !== false
      const from = performance.now()
      const request = this.#request(i, asks)
      const uid = await this.parts.pods.create(slot.name, this.#annotations(request, asks))
      const id = `c${++this.#containers}-${slot.netns}`
      slot.edited = false
      const rivals = times === 1 ? undefined : this.circumstances.begin("rivals", slot.name)
      const replies = await Promise.all(
        Array.from({ length: times }, () => this.call("ADD", slot, { id, uid }, { asks }))
      )
      rivals?.()
      const [good, ...more] = replies.filter(({ code }) => code === 0)
      if (more.length > 0) throw new Violation(`${slot.name}: two ADDs at once both succeeded`)
      if (good === undefined) {
        // A refusal by the rules leaves nothing to be removed, and the audit will see whether that is so.
        if (replies.some(({ json }) => json?.code !== 100)) await this.#del(slot, { id, uid })
        // An agent that ended in the middle has rolled nothing back, and nobody enters a pod at a DEL.
        if (this.circumstances.sinceAny(from, ENDS)) await this.#clearLo(slot)
        await this.parts.pods.remove(slot.name)
        return
      }
      const addresses = addressesOf(good.json)
      const { node, prefixes, taken } = this.parts
      const problem = addressProblem(addresses, {
        asks,
        ipv4,
        request,
        either: this.circumstances.since(from).has("edited"),
        prefixes: { ...prefixes, taken: taken() }
      })
      if (problem !== undefined) throw new Violation(`${node.name}: ADD of ${slot.name} gave ${problem}`)
      slot.container = { id, uid, wanted: wantedOf(`${id}/eth0`, addresses, request), result: good.json }
    })
  }

  /** A pod's namespace ends with it; these are used again. */
  async #clearLo({ netns }: Slot): Promise<void> {
    await ip(netns, "addr", "flush", "dev", "lo", "scope", "global")
  }

  async #del(slot: Slot | undefined, container: Pick<Container, "id" | "uid">): Promise<void> {
    await until(`DEL of ${container.id}`, async () => (await this.call("DEL", slot, container)).code === 0, DEL_SECONDS)
  }

  del(i: number, times = 1): Promise<void> {
    return this.#moving(async () => {
      const slot = this.slot(i)
      const { container } = slot
      if (container === undefined) return
      // From here on its addresses may be another's.
      slot.container = undefined
      await Promise.all(Array.from({ length: times }, () => this.#del(slot, container)))
      await this.#clearLo(slot)
      await this.parts.pods.remove(slot.name)
    })
  }

  async check(i: number): Promise<void> {
    const slot = this.slot(i)
    const { container } = slot
    if (container === undefined) return
    await this.call("CHECK", slot, container, { attached: true, config: { prevResult: container.result } })
  }

  async flip(i: number): Promise<void> {
    const slot = this.slot(i)
    const { container } = slot
    if (container === undefined) return
    const ready = !container.wanted.ready
    const done = this.circumstances.begin("flipped", slot.name)
    await this.parts.pods.setReady(slot.name, ready)
    container.wanted = { ...container.wanted, ready }
    setTimeout(done, 2_000)
  }

  /** New annotations of a pod that has its network: they count at its next ADD. */
  async annotate(i: number): Promise<void> {
    const slot = this.slot(i)
    if (slot.container === undefined) return
    slot.edited = true
    await this.parts.pods.annotate(slot.name, { anycast: this.parts.anycast.slice(0, 2).join(",") })
  }

  /** The runtime loses its knowledge of a container. Its pod is gone for Kubernetes too. */
  forget(i: number, namespace: boolean): Promise<void> {
    return this.#moving(async () => {
      const slot = this.slot(i)
      if (slot.container === undefined) return
      slot.container = undefined
      this.forgotten.add(slot.netns)
      await this.parts.pods.remove(slot.name)
      const before = slot.netns
      slot.netns = await this.parts.node.pod()
      if (namespace) {
        this.forgotten.delete(before)
        this.vanished = true
        await this.parts.node.deletePod(before)
      }
    })
  }

  /** GC with all that the runtime knows, as libcni sends it. */
  async gc(): Promise<boolean> {
    while (this.#collecting || this.#inFlight > 0) await sleep(5)
    this.#collecting = true
    try {
      const valid = this.slots.flatMap(({ container }) =>
        container === undefined ? [] : [{ containerID: container.id, ifname: "eth0" }]
      )
      const config = { cniVersion: "1.1.0", "cni.dev/valid-attachments": valid }
      const { code } = await this.call("GC", undefined, { id: "", uid: "" }, { config })
      if (code !== 0) return false
      for (const netns of this.forgotten) await this.parts.node.deletePod(netns)
      this.forgotten.clear()
      this.vanished = false
      return true
    } finally {
      this.#collecting = false
    }
  }

  /** Annotations that were changed after an ADD count for an agent that rebuilds its records: such pods begin anew. */
  async renewRebuilt(): Promise<void> {
    if (this.lostState === undefined) return
    await Promise.all(this.slots.map((slot, i) => slot.edited ? this.del(i) : undefined))
    this.lostState()
    this.lostState = undefined
  }

  async status(): Promise<void> {
    await this.call("STATUS", undefined, { id: "", uid: "" }, { config: { cniVersion: "1.1.0" } })
  }

  async edit(edit: Edit): Promise<void> {
    const done = this.circumstances.begin("edited")
    const { spec } = this
    this.spec = edited(spec, edit)
    if (edit === "invalid") await this.parts.pods.configure({ ...spec, mtu: 7 })
    await this.parts.pods.configure(this.spec)
    setTimeout(done, 3_000)
  }
}
