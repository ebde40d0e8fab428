/** CPU time of ADD and DEL, and bursts beside ptp with host-local in the same rounds: what a busy node feels. */
import { PLUGIN } from "../../lab/cni.ts"
import { type BenchNode, callPlugin, type Lab, type Plugin, withAgent } from "./lab.ts"
import { ptp } from "./ptp.ts"
import { type Bench, median, type Options, type Row } from "./report.ts"

const CALLS = 100
const WARM_UP = 50
const STARTS = 5
const SPEC = { cidr4: "10.42.0.0/16", cidr6: "2001:db8:42::/64", mtu: 1500 }

/** Milliseconds per call. */
interface Cost {
  readonly user: number
  readonly system: number
  /** The processes that the runtime starts. */
  readonly plugin: number
}

type Verb = "ADD" | "DEL"
type Mode = "one" | "all"

const costOf = async (
  lab: Lab,
  agent: BenchNode,
  plugin: Plugin,
  verb: Verb,
  mode: Mode,
  ids: ReadonlyArray<string>
) => {
  const before = agent.cpu()
  const { cpu, total } = await callPlugin(lab, plugin, verb, mode, ids)
  const after = agent.cpu()
  const cost: Cost = {
    user: (after.user - before.user) / ids.length,
    system: (after.system - before.system) / ids.length,
    plugin: cpu / ids.length
  }
  return { cost, total }
}

const inAll = ({ plugin, system, user }: Cost): number => user + system + plugin

const costRow = (name: string, costs: ReadonlyArray<Cost>, target?: number): Row => {
  const part = (key: keyof Cost) => median(costs.map((cost) => cost[key])).toFixed(1)
  return {
    name,
    value: median(costs.map(({ system, user }) => user + system)),
    unit: "ms",
    ...(target === undefined ? {} : { target }),
    note: `${part("user")} user, ${part("system")} system; the plugin's process ${part("plugin")} beside it`
  }
}

/** Milliseconds of the first two ADDs after a start, which find code that has run little. */
const firstAdds = async (lab: Lab, agent: BenchNode, plugin: Plugin, ids: ReadonlyArray<string>) => {
  const pair = ids.slice(0, 2)
  const starts: Array<ReadonlyArray<number>> = []
  for (let i = 0; i < STARTS; i++) {
    await agent.stop()
    await agent.start()
    starts.push((await callPlugin(lab, plugin, "ADD", "one", pair)).each)
    await callPlugin(lab, plugin, "DEL", "one", pair)
  }
  return pair.map((_, i) => median(starts.map((each) => each[i] ?? Number.NaN)))
}

const measure = async (lab: Lab, agent: BenchNode, { log, rounds }: Options): Promise<ReadonlyArray<Row>> => {
  const flock: Plugin = {
    path: PLUGIN,
    config: lab.write("flock.json", JSON.stringify({ cniVersion: "1.0.0", name: "flock", type: "flock" }))
  }
  const peer = ptp(lab, "ptp-dual", ["10.43.0.0/16", "2001:db8:43::/64"])
  const ids = Array.from({ length: CALLS }, () => lab.world.netns("pod"))
  const costs: Record<`${Verb} ${Mode}`, Array<Cost>> = { "ADD one": [], "DEL one": [], "ADD all": [], "DEL all": [] }
  const theirs: Array<{ readonly add: number; readonly cpu: number }> = []
  const bursts: Array<number> = []
  for (const verb of ["ADD", "DEL"] as const) await callPlugin(lab, flock, verb, "one", ids.slice(0, WARM_UP))
  const ours = async () => {
    for (const mode of ["one", "all"] as const) {
      for (const verb of ["ADD", "DEL"] as const) {
        const { cost, total } = await costOf(lab, agent, flock, verb, mode, ids)
        costs[`${verb} ${mode}`].push(cost)
        if (verb === "ADD" && mode === "all") bursts.push(total)
      }
    }
  }
  const others = async () => {
    const { cpu, total } = await callPlugin(lab, peer, "ADD", "all", ids)
    theirs.push({ add: total, cpu: cpu / CALLS })
    await callPlugin(lab, peer, "DEL", "all", ids)
  }
  for (let round = 0; round < rounds; round++) {
    log(`round ${round + 1} of ${rounds}`)
    for (const side of round % 2 === 0 ? [ours, others] : [others, ours]) await side()
  }
  const [first = Number.NaN, second = Number.NaN] = await firstAdds(lab, agent, flock, ids)
  const ratios = (pairs: (round: number) => number) =>
    median(Array.from({ length: rounds }, (_, round) => pairs(round)))
  return [
    costRow("agent's CPU time per ADD, one by one", costs["ADD one"], 3),
    costRow("agent's CPU time per DEL, one by one", costs["DEL one"], 3),
    costRow(`agent's CPU time per ADD, ${CALLS} at once`, costs["ADD all"], 3),
    costRow(`agent's CPU time per DEL, ${CALLS} at once`, costs["DEL all"], 3),
    {
      name: "first ADD after a start",
      value: first,
      unit: "ms",
      note: `whole process, median of ${STARTS} starts; the second ${second.toFixed(1)}`
    },
    { name: "ptp dual-stack: CPU time per ADD", value: median(theirs.map(({ cpu }) => cpu)), unit: "ms" },
    {
      name: "  flock's, its plugin's process included, of that",
      value: ratios((round) => {
        const cost = costs["ADD all"][round]
        return cost === undefined ? Number.NaN : inAll(cost) / (theirs[round]?.cpu ?? Number.NaN)
      }),
      unit: "×"
    },
    {
      name: `flock's ${CALLS} ADDs at once, of ptp's time`,
      value: ratios((round) => (bursts[round] ?? Number.NaN) / (theirs[round]?.add ?? Number.NaN)),
      unit: "×",
      target: 0.3
    }
  ]
}

export const cpu: Bench = {
  name: "cpu",
  title: `CPU time of ADD and DEL: ${CALLS} calls after ${WARM_UP} to warm up`,
  seconds: { once: 14, round: 14 },
  run: (options) => withAgent(SPEC, (lab, agent) => measure(lab, agent, options))
}
