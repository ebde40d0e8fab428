/** Rounds: operations and faults at once, then rest, then the audit and pings. */
import { readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { describeDisagreement, type Disagreement } from "../../lab/agreement.ts"
import { exec } from "../../lab/exec.ts"
import type { Network } from "../../lab/Network.ts"
import type { World } from "../../lab/World.ts"
import { audit, type Idle } from "./audit.ts"
import type { Faults } from "./faults.ts"
import { inFlight } from "./inFlight.ts"
import { describeFault, describeOperation, type FaultKind, type Ground, type Operation, planRound } from "./plan.ts"
import { roundOf } from "./random.ts"
import { type Figures, noFigures } from "./report.ts"
import { ANYCAST, NODES, type Options, type Ready, setUp } from "./setUp.ts"
import { type SoakNode, Violation } from "./SoakNode.ts"
import { traffic, watchWitnesses } from "./traffic.ts"

/** Operations in flight. */
const AT_ONCE = 12
/** Faults that may cost the witness a packet: everything that cuts the node, or takes its routes. */
const LOSSY = new Set<FaultKind>(["cablePulled", "uplinkDown", "configGone"])
/** Graceful restart keeps the routes, but not where both ends connect at the same moment and one session closes again. */
const RESTARTS = new Set<FaultKind>(["birdKilled"])

/** What ended a soak. */
export class Failed extends Error {
  readonly round: number
  constructor(round: number, problems: ReadonlyArray<string>) {
    super(problems.join("\n"))
    this.round = round
  }
}

export class Soak {
  readonly #options: Options
  readonly #network: Network
  readonly #nodes: ReadonlyArray<SoakNode>
  readonly #faults: ReadonlyArray<Faults>
  readonly #ground: Ground
  readonly #idle: ReadonlyArray<Idle>
  readonly figures: Figures = noFigures()

  private constructor(options: Options, { faults, idle, network, nodes }: Ready) {
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
    return new Soak(options, await setUp(world, options))
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
    const witness = watchWitnesses(this.#network.lan.client, this.#nodes, this.figures)
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
    if (problems.length === 0) {
      const random = roundOf(this.#options.seed, -number)
      problems.push(...await traffic(this.#network.lan.client, this.#nodes, this.figures, random))
    }
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
