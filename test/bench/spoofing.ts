/** What anti-spoofing costs an ADD: the same node with it and without it, in pairs, one after the other and then the other way. */
import { PLUGIN } from "../../lab/cni.ts"
import { until } from "../../lab/until.ts"
import { type BenchNode, callPlugin, type Lab, type Plugin, withAgent } from "./lab.ts"
import { type Bench, median, type Options, pairedRatio, type Row } from "./report.ts"

const PODS = 100
/** Of them, one at a time. */
const SINGLE = 40
const SPEC = { cidr4: "10.42.0.0/16", cidr6: "2001:db8:42::/64", mtu: 1500 }

/** Per pair, milliseconds. */
class Samples {
  readonly add: Array<ReadonlyArray<number>> = []
  readonly del: Array<ReadonlyArray<number>> = []
  readonly addAll: Array<ReadonlyArray<number>> = []
}

const switchTo = async (agent: BenchNode, antiSpoofing: boolean): Promise<void> => {
  agent.writeNodeConfig({ ...SPEC, antiSpoofing })
  const state = antiSpoofing ? "on" : "off"
  await until(`anti-spoofing is ${state}`, async () => (await agent.status()).antiSpoofing.state === state)
}

const measure = async (lab: Lab, agent: BenchNode, { log, rounds }: Options): Promise<ReadonlyArray<Row>> => {
  const flock: Plugin = {
    path: PLUGIN,
    config: lab.write("flock.json", JSON.stringify({ cniVersion: "1.0.0", name: "flock", type: "flock" }))
  }
  const ids = Array.from({ length: PODS }, () => lab.world.netns("pod"))
  const some = ids.slice(0, SINGLE)
  const call = (verb: "ADD" | "DEL", which: ReadonlyArray<string>, mode: "one" | "all") =>
    callPlugin(lab, flock, verb, mode, which)
  const [on, off] = [new Samples(), new Samples()]
  for (const verb of ["ADD", "DEL"] as const) await call(verb, some, "one")
  for (let round = 0; round < rounds; round++) {
    log(`round ${round + 1} of ${rounds}`)
    // Twice a round, so that each side is first once.
    for (const antiSpoofing of round % 2 === 0 ? [true, false, false, true] : [false, true, true, false]) {
      const samples = antiSpoofing ? on : off
      await switchTo(agent, antiSpoofing)
      samples.add.push((await call("ADD", some, "one")).each)
      samples.del.push((await call("DEL", some, "one")).each)
      samples.addAll.push([(await call("ADD", ids, "all")).total])
      await call("DEL", ids, "all")
    }
  }
  const pairs = `median of ${2 * rounds} pairs`
  return [
    { name: "ADD p50 with it", value: median(on.add.flat()), unit: "ms", note: `${on.add.flat().length} calls` },
    { name: "ADD p50 without", value: median(off.add.flat()), unit: "ms", note: `${off.add.flat().length} calls` },
    { name: "  with it, of without", value: pairedRatio(on.add, off.add), unit: "×", target: 1.05, note: pairs },
    { name: "DEL p50 with it, of without", value: pairedRatio(on.del, off.del), unit: "×", note: pairs },
    { name: `${PODS} ADDs at once with it`, value: median(on.addAll.flat()), unit: "ms" },
    {
      name: "  with it, of without",
      value: pairedRatio(on.addAll, off.addAll),
      unit: "×",
      target: 1.1,
      note: pairs
    }
  ]
}

export const spoofing: Bench = {
  name: "spoofing",
  title: "Anti-spoofing: ADD and DEL with it and without, in pairs",
  seconds: { once: 10, round: 12 },
  run: (options) => withAgent(SPEC, (lab, agent) => measure(lab, agent, options))
}
