/** Rounds: operations and faults at once, then rest, then the audit and pings. */
import { readdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { describeDisagreement, type Disagreement, type Wanted } from "../../lab/agreement.ts"
import { type ApiServer, start as startApi } from "../../lab/ApiServer.ts"
import { exec } from "../../lab/exec.ts"
import { processFacts } from "../../lab/facts.ts"
import { CLIENT4, CLIENT6 } from "../../lab/Lan.ts"
import { Network, nodeSpec } from "../../lab/Network.ts"
import { ping, pinging } from "../../lab/ping.ts"
import type { Relay } from "../../lab/Relay.ts"
import type { World } from "../../lab/World.ts"
import * as cluster from "../kube/lab.ts"
import { audit, type Idle } from "./audit.ts"
import { CLOCK_AHEAD, Faults, mountState } from "./faults.ts"
import { describeFault, describeOperation, type FaultKind, type Ground, type Operation, planRound } from "./plan.ts"
import { clusterPods, folderPods } from "./pods.ts"
import { roundOf } from "./random.ts"
import { SoakNode, type Spec, Violation } from "./SoakNode.ts"

const NODES = 2
const ANYCAST = Array.from({ length: 6 }, (_, i) => [`2001:db8:a::${i + 1}`, `192.0.2.${i + 1}`]).flat()
/** Operations in flight. */
const AT_ONCE = 12
/** Faults that may cost the witness a packet: everything that cuts the node, or takes its routes. */
const LOSSY = new Set<FaultKind>(["cablePulled", "uplinkDown", "configGone"])
/** Graceful restart keeps the routes, but not where both ends connect at the same moment and one session closes again. */
const RESTARTS = new Set<FaultKind>(["birdKilled"])

export interface Options {
  readonly seed: number
  readonly slots: number
  readonly operations: number
  readonly faults: number
  readonly kinds: ReadonlyArray<FaultKind>
  /** libfaketime's library; undefined: clocks are left alone. */
  readonly faketime: string | undefined
  /** One of the nodes follows a real API server. */
  readonly api: boolean
  /** Seconds within which all must agree once nothing happens any more. */
  readonly settle: number
  /** Removes a record behind the agent's back in the first round: shows that a soak can fail. */
  readonly spoil: boolean
}

export interface Figures {
  rounds: number
  operations: number
  faults: Partial<Record<FaultKind, number>>
  pings: number
  /** Of pings to pods that nothing happens to, in rounds without a fault that cuts their node. */
  witness: { sent: number; lost: number }
  /** The same where only BIRD was killed. */
  restarts: { sent: number; lost: number }
  /** Milliseconds from the last operation's end until all agreed. */
  settled: Array<number>
  /** Most that an agent had at rest. */
  descriptors: number
  memory: number
  audits: number
}

/** What ended a soak. */
export class Failed extends Error {
  readonly round: number
  constructor(round: number, problems: ReadonlyArray<string>) {
    super(problems.join("\n"))
    this.round = round
  }
}

/** Runs tasks in order, so many at a time; `onStart` is told each one's index. */
const inFlight = async (
  tasks: ReadonlyArray<() => Promise<void>>,
  limit: number,
  onStart: (index: number) => void,
  onError: (error: unknown) => void
): Promise<void> => {
  const running = new Set<Promise<void>>()
  for (const [i, task] of tasks.entries()) {
    while (running.size >= limit) await Promise.race(running)
    onStart(i)
    const one: Promise<void> = task().catch(onError).finally(() => running.delete(one))
    running.add(one)
  }
  await Promise.all(running)
}

export class Soak {
  readonly #options: Options
  readonly #network: Network
  readonly #nodes: ReadonlyArray<SoakNode>
  readonly #faults: ReadonlyArray<Faults>
  readonly #ground: Ground
  readonly #idle: ReadonlyArray<Idle>
  readonly figures: Figures = {
    rounds: 0,
    operations: 0,
    faults: {},
    pings: 0,
    witness: { sent: 0, lost: 0 },
    restarts: { sent: 0, lost: 0 },
    settled: [],
    descriptors: 0,
    memory: 0,
    audits: 0
  }

  private constructor(
    options: Options,
    network: Network,
    nodes: ReadonlyArray<SoakNode>,
    faults: ReadonlyArray<Faults>,
    idle: ReadonlyArray<Idle>
  ) {
    const { kinds, operations, slots } = options
    this.#options = options
    this.#network = network
    this.#nodes = nodes
    this.#faults = faults
    this.#idle = idle
    this.#ground = {
      nodes: NODES,
      slots,
      anycast: ANYCAST.length,
      cluster: new Set(options.api ? [NODES - 1] : []),
      operations,
      faults: options.faults,
      kinds
    }
  }

  static async open(world: World, options: Options): Promise<Soak> {
    const api = options.api ? await startApi(world) : undefined
    if (api !== undefined) {
      const name = `node${NODES}`
      await cluster.prepare(api, name)
      await cluster.create(api, cluster.nodeConfig(name, nodeSpec(NODES - 1)))
    }
    const clocks = Array.from({ length: NODES }, () => join(world.folder("clock"), "offset"))
    for (const clock of clocks) writeFileSync(clock, `+${CLOCK_AHEAD}\n`)
    const relays: Array<Relay | undefined> = []
    const network = await Network.open(world, {
      nodes: NODES,
      env: (i) =>
        options.faketime === undefined ? {} : {
          LD_PRELOAD: options.faketime,
          FAKETIME_TIMESTAMP_FILE: clocks[i],
          FAKETIME_CACHE_DURATION: "1",
          FAKETIME_DONT_FAKE_MONOTONIC: "1",
          DONT_FAKE_MONOTONIC: "1",
          NO_FAKE_STAT: "1"
        },
      prepare: async (node, i) => {
        await mountState(world, join(node.directory, "state"))
        if (api === undefined || i !== NODES - 1) return
        const { kubeconfig, relay } = await api.relay("agent", node.netns)
        node.kubeconfig = kubeconfig
        relays[i] = relay
      }
    })
    const idle = network.nodes.map(({ agent }) => processFacts(agent?.pid ?? 0))
    const nodes: Array<SoakNode> = []
    for (const [i, node] of network.nodes.entries()) {
      nodes.push(
        await SoakNode.open({
          node,
          pods: node.kubeconfig === undefined ? folderPods(node) : clusterPods(node, api as ApiServer),
          spec: nodeSpec(i) as Spec,
          slots: options.slots,
          prefixes: { ipv6: `2001:db8:10${i}:`, ipv4: `10.42.${i}.` },
          anycast: ANYCAST,
          chosen: (slot) => `2001:db8:a::c${i}:${(slot + 1).toString(16)}`,
          taken: () => new Set(nodes.flatMap(({ wanted }) => wanted.flatMap(({ addresses }) => addresses)))
        })
      )
    }
    for (const soak of nodes) {
      await soak.add(options.slots, { anycast: [], chosen: false, ipv4: true, forbidden: false })
    }
    const faults = nodes.map((soak, index) =>
      new Faults({
        soak,
        index,
        router: network.lan.router,
        relay: relays[index],
        clock: options.faketime === undefined ? undefined : clocks[index]
      })
    )
    return new Soak(options, network, nodes, faults, idle)
  }

  #perform(operation: Operation): Promise<unknown> {
    const soak = this.#nodes[operation.node] as SoakNode
    switch (operation.kind) {
      case "cycle":
      case "twice": {
        const times = operation.kind === "twice" ? 2 : 1
        const { asks, slot } = operation
        return soak.slot(slot).container === undefined ? soak.add(slot, asks, times) : soak.del(slot, times)
      }
      case "check":
        return soak.check(operation.slot)
      case "flip":
        return soak.flip(operation.slot)
      case "annotate":
        return soak.annotate(operation.slot)
      case "forget":
        return soak.forget(operation.slot, operation.namespace)
      case "gc":
        return soak.gc()
      case "status":
        return soak.status()
      case "edit":
        return soak.edit(operation.edit)
    }
  }

  /** Operations on one pod run one after another, as a kubelet works; all others side by side. */
  #lanes(operations: ReadonlyArray<Operation>): ReadonlyArray<() => Promise<void>> {
    const lanes = new Map<string, Promise<unknown>>()
    return operations.map((operation) => async () => {
      const lane = `${operation.node}/${"slot" in operation ? operation.slot : operation.kind}`
      const before = lanes.get(lane) ?? Promise.resolve()
      const done = before.then(() => this.#perform(operation))
      lanes.set(lane, done.catch(() => undefined))
      await done
    })
  }

  async round(number: number): Promise<void> {
    const { faults, operations } = planRound(this.#options.seed, number, this.#ground)
    const witness = this.#watchWitnesses()
    const ends: Array<{ readonly to: number; readonly end: Promise<() => Promise<void>> }> = []
    const over: Array<Promise<void>> = []
    const finish = (upTo: number) => {
      for (const one of ends.splice(0, ends.length)) {
        if (one.to > upTo) ends.push(one)
        else over.push(one.end.then((end) => end()))
      }
    }
    const pending = [...faults]
    const onStart = (index: number) => {
      finish(index)
      while (pending[0] !== undefined && pending[0].from <= index) {
        const { kind, node, to, which } = pending.shift() as typeof pending[number]
        this.figures.faults[kind] = (this.figures.faults[kind] ?? 0) + 1
        ends.push({ to, end: (this.#faults[node] as Faults).begin(kind, which) })
      }
    }
    const problems: Array<string> = []
    const note = (error: unknown) => {
      problems.push(
        error instanceof Violation ? error.message : error instanceof Error ? error.stack ?? "" : String(error)
      )
    }
    const work = inFlight(this.#lanes(operations), AT_ONCE, onStart, note)
    // A fault that lasts to the end of the round may be what an operation waits for.
    const limit = setTimeout(() => finish(Number.POSITIVE_INFINITY), 10_000)
    await work
    clearTimeout(limit)
    finish(Number.POSITIVE_INFINITY)
    await Promise.all(over).catch(note)
    for (const soak of this.#nodes) {
      await soak.renewRebuilt().catch(note)
      // Every fourth time it is left to the agent alone.
      if (soak.forgotten.size > 0 || (soak.vanished && number % 4 !== 0)) await soak.gc().catch(note)
    }
    this.figures.rounds++
    this.figures.operations += operations.length
    if (this.#options.spoil) this.#spoil()
    problems.push(...await this.#settle(number))
    if (problems.length === 0) problems.push(...await this.#traffic(number))
    const nodesOf = (kinds: ReadonlySet<FaultKind>) =>
      new Set(faults.filter(({ kind }) => kinds.has(kind)).map(({ node }) => node))
    problems.push(...await witness(nodesOf(LOSSY), nodesOf(RESTARTS)))
    for (const soak of this.#nodes) soak.circumstances.trim(performance.now() - 60_000)
    if (problems.length > 0) throw new Failed(number, problems)
  }

  #spoil(): void {
    const records = join((this.#nodes[0] as SoakNode).parts.node.directory, "state/allocations")
    for (const file of readdirSync(records).slice(0, 1)) rmSync(join(records, file))
  }

  /** Pings to a pod of each node that nothing happens to. The result stops them and says what was lost. */
  #watchWitnesses() {
    const watched = this.#nodes.flatMap((soak, node) =>
      (soak.witness.container?.wanted.addresses ?? []).map((address) => ({
        node,
        address,
        pings: pinging(this.#network.lan.client, address, 50)
      }))
    )
    return async (lossy: ReadonlySet<number>, restarted: ReadonlySet<number>): Promise<ReadonlyArray<string>> => {
      const results = await Promise.all(watched.map(async ({ pings, ...one }) => ({ ...one, ...await pings.stop() })))
      return results.filter(({ node }) => !lossy.has(node)).flatMap(({ address, node, received, sent, text }) => {
        const figure = restarted.has(node) ? "restarts" : "witness"
        this.figures[figure].sent += sent
        this.figures[figure].lost += sent - received
        return sent === received || restarted.has(node) ?
          [] :
          [`${sent - received} of ${sent} pings to ${address}, whose pod was left alone, are lost: ${
            text.split("\n").filter((line) => line.startsWith("From")).slice(0, 3).join("; ")
          }`]
      })
    }
  }

  /** Until all sources agree; what they disagree in after the time that is allowed. */
  async #settle(sample: number): Promise<ReadonlyArray<string>> {
    const begin = performance.now()
    for (;;) {
      const last = await audit(this.#network, this.#nodes, this.#idle, sample).catch((error: unknown) => ({
        facts: undefined,
        found: [{ where: "audit", source: "nodes", problem: String(error) }] satisfies ReadonlyArray<Disagreement>
      }))
      this.figures.audits++
      const took = performance.now() - begin
      for (const { process } of last.facts?.nodes ?? []) {
        this.figures.descriptors = Math.max(this.figures.descriptors, process?.descriptors ?? 0)
        this.figures.memory = Math.max(this.figures.memory, process?.memory ?? 0)
      }
      if (last.found.length === 0) {
        this.figures.settled.push(took)
        return []
      }
      if (took > this.#options.settle * 1000) return last.found.map(describeDisagreement)
      await sleep(400)
    }
  }

  /** Some pods and the client, some announced addresses, both families: one ping each, and it must be answered. */
  async #traffic(round: number): Promise<ReadonlyArray<string>> {
    const random = roundOf(this.#options.seed, -round)
    const { client } = this.#network.lan
    const pods = this.#nodes.flatMap(({ slots }) =>
      slots.flatMap(({ container, netns }) => container === undefined ? [] : [{ netns, ...container.wanted }])
    )
    /** An address that an operator chose is announced only while its pod is Ready. */
    const reachable = (pod: Wanted) => pod.addresses.filter((address) => pod.ready || !pod.follows.includes(address))
    const chosen = random.some(pods, 6)
    const due = random.some(pods.filter(({ ready }) => ready).flatMap(({ follows }) => follows), 3)
    const [one, other] = random.some(pods, 2)
    const pairs = [
      ...chosen.flatMap((pod) =>
        reachable(pod).flatMap((address) => [
          [pod.netns, address.includes(":") ? CLIENT6 : CLIENT4] as const,
          [client, address] as const
        ])
      ),
      ...due.map((address) => [client, address] as const),
      ...(one === undefined || other === undefined ?
        [] :
        reachable(other).filter((address) => reachable(one).some((own) => own.includes(":") === address.includes(":")))
          .map((address) => [one.netns, address] as const))
    ]
    const results = await Promise.all(
      pairs.map(async ([netns, target]) => ({ netns, target, ...await ping(netns, target) }))
    )
    this.figures.pings += results.length
    return results.filter(({ received }) => received === 0).map(({ netns, target, text }) =>
      `no answer from ${target} to ${netns}: ${text}`
    )
  }

  /** DELs all, and sees that nothing is left. */
  async drain(): Promise<void> {
    for (const soak of this.#nodes) await Promise.all(soak.slots.map((_, i) => soak.del(i)))
    const problems = [...await this.#settle(0)]
    for (const { parts: { node } } of this.#nodes) {
      const left = (await exec("pgrep", ["-f", "dist/cni/flock"])).stdout.trim()
      if (left !== "") problems.push(`plugins are left: ${left}`)
      const links = (await node.links()).filter((name) => name.startsWith("flock"))
      if (links.length > 0) problems.push(`${node.name}: links are left: ${links.join(" ")}`)
    }
    if (problems.length > 0) throw new Failed(0, problems)
  }

  /** What a failed round did, for people. */
  describe(round: number): ReadonlyArray<string> {
    const { faults, operations } = planRound(this.#options.seed, round, this.#ground)
    return [
      ...faults.map((fault) => `fault ${describeFault(fault)}`),
      ...operations.map((one, i) => `${i} ${describeOperation(one)}`)
    ]
  }

  logs(): ReadonlyArray<readonly [string, string]> {
    return this.#network.nodes.flatMap((node, i) => [
      [`${node.name}.agent.log`, node.readLog()] as const,
      [`${node.name}.bird.log`, this.#network.birdLog(i)] as const,
      [`${node.name}.bird.conf`, node.readConf()] as const
    ])
  }
}
