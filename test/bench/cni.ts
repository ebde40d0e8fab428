/** CNI ADD and DEL, whole process and dual-stack, against Debian's ptp with host-local in the same rounds. */
import { PLUGIN } from "../../lab/cni.ts"
import { run } from "../../lab/exec.ts"
import { sleep } from "../../lab/until.ts"
import { BenchNode, callPlugin, type Lab, openLab, type Plugin } from "./lab.ts"
import { ptp } from "./ptp.ts"
import { type Bench, bucketQuantile, median, type Options, pairedRatio, percentile, type Row } from "./report.ts"

const PODS = 100
/** Milliseconds after which the agent has given back what a burst took. */
const SETTLED = 12_000
const LOOP_DELAY = "flock_event_loop_delay_seconds"
const CIDR4 = "10.42.0.0/16"
const CIDR6 = "2001:db8:42::/64"

const SPEC = { cidr4: CIDR4, cidr6: CIDR6, mtu: 1500 }

/** What the calls of one plugin took: per round, milliseconds. */
class Samples {
  readonly add: Array<ReadonlyArray<number>> = []
  readonly del: Array<ReadonlyArray<number>> = []
  readonly addAll: Array<ReadonlyArray<number>> = []
  readonly delAll: Array<ReadonlyArray<number>> = []
}

const oneByOne = async (lab: Lab, plugin: Plugin, ids: ReadonlyArray<string>, samples: Samples) => {
  samples.add.push((await callPlugin(lab, plugin, "ADD", "one", ids)).each)
  samples.del.push((await callPlugin(lab, plugin, "DEL", "one", ids)).each)
}

const atOnce = async (lab: Lab, plugin: Plugin, ids: ReadonlyArray<string>, samples: Samples) => {
  samples.addAll.push([(await callPlugin(lab, plugin, "ADD", "all", ids)).total])
  samples.delAll.push([(await callPlugin(lab, plugin, "DEL", "all", ids)).total])
}

/** Links that the plugins left on the host's side. */
const leftOver = async (): Promise<ReadonlyArray<string>> => {
  const links: ReadonlyArray<{ readonly ifname: string }> = JSON.parse(await run("ip", "-json", "link", "show"))
  return links.map(({ ifname }) => ifname).filter((name) => name !== "lo")
}

const compare = (peer: string, theirs: Samples, ours: Samples): ReadonlyArray<Row> => [
  ...(["add", "del"] as const).flatMap((verb): ReadonlyArray<Row> => [
    { name: `${peer}: ${verb.toUpperCase()} p50`, value: median(theirs[verb].flat()), unit: "ms" },
    { name: `  times flock's`, value: pairedRatio(theirs[verb], ours[verb]), unit: "×" }
  ]),
  ...([["addAll", "ADD"], ["delAll", "DEL"]] as const).flatMap(([key, verb]): ReadonlyArray<Row> => [
    { name: `${peer}: ${PODS} ${verb}s at once`, value: median(theirs[key].flat()), unit: "ms" },
    { name: `  times flock's`, value: pairedRatio(theirs[key], ours[key]), unit: "×" }
  ])
]

const measure = async (lab: Lab, agent: BenchNode, { log, rounds }: Options): Promise<ReadonlyArray<Row>> => {
  const flock: Plugin = {
    path: PLUGIN,
    config: lab.write("flock.json", JSON.stringify({ cniVersion: "1.0.0", name: "flock", type: "flock" }))
  }
  const peers = [
    // Its dual-stack ADD waits nearly two seconds for DAD: few calls one by one are enough to see that.
    { name: "ptp dual-stack", plugin: ptp(lab, "ptp-dual", ["10.43.0.0/16", "2001:db8:43::/64"]), single: 2 },
    { name: "ptp IPv4 only", plugin: ptp(lab, "ptp-ipv4", ["10.44.0.0/16"]), single: 20 }
  ].map((peer) => ({ ...peer, samples: new Samples() }))
  const ours = new Samples()
  const delays: Array<number> = []
  const ids = Array.from({ length: PODS }, () => lab.world.netns("pod"))
  await oneByOne(lab, flock, ids.slice(0, 20), new Samples())
  for (let round = 0; round < rounds; round++) {
    log(`round ${round + 1} of ${rounds}`)
    const sides = [
      async () => {
        await oneByOne(lab, flock, ids.slice(0, 20), ours)
        const before = await agent.buckets(LOOP_DELAY)
        await atOnce(lab, flock, ids, ours)
        const delay = bucketQuantile(0.99, before, await agent.buckets(LOOP_DELAY))
        if (delay !== undefined) delays.push(delay * 1000)
      },
      ...peers.map(({ plugin, samples, single }) => async () => {
        await oneByOne(lab, plugin, ids.slice(0, single), samples)
        await atOnce(lab, plugin, ids, samples)
      })
    ]
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) await side()
  }
  const links = await leftOver()
  if (links.length > 0) throw new Error(`links left after all DELs: ${links.join(" ")}`)
  await sleep(SETTLED)
  const before = agent.memory("VmRSS")
  await callPlugin(lab, flock, "ADD", "all", ids)
  const burst = agent.memory("VmRSS")
  await sleep(SETTLED)
  const full = agent.memory("VmRSS")
  const calls = `${ours.add.flat().length} calls`
  const bursts = `median of ${rounds}`
  return [
    { name: "ADD p50", value: median(ours.add.flat()), unit: "ms", target: 4, note: calls },
    { name: "ADD p99", value: percentile(ours.add.flat(), 0.99), unit: "ms", target: 12, note: calls },
    { name: "DEL p50", value: median(ours.del.flat()), unit: "ms", target: 20, note: calls },
    { name: "DEL p99", value: percentile(ours.del.flat(), 0.99), unit: "ms", note: calls },
    { name: `${PODS} ADDs at once`, value: median(ours.addAll.flat()), unit: "ms", target: 300, note: bursts },
    { name: `${PODS} DELs at once`, value: median(ours.delAll.flat()), unit: "ms", target: 200, note: bursts },
    ...(delays.length === 0 ? [] : [
      {
        name: "event-loop delay p99 in the burst",
        value: median(delays),
        unit: "ms",
        target: 10,
        note: bursts
      } satisfies Row
    ]),
    { name: `agent RSS, ${PODS} pods`, value: full, unit: "MB", target: 110, note: `${SETTLED / 1000} s later` },
    { name: `agent RSS, right after ${PODS} ADDs`, value: burst, unit: "MB" },
    { name: "agent RSS before them", value: before, unit: "MB", note: `after ${rounds * 120 + 20} ADDs and DELs` },
    { name: "agent RSS, highest", value: agent.memory("VmHWM"), unit: "MB" },
    ...peers.flatMap(({ name, samples }) => compare(name, samples, ours))
  ]
}

/** Start to ready, `count` times over. */
const starts = async (agent: BenchNode, count: number): Promise<ReadonlyArray<number>> => {
  const times: Array<number> = []
  for (let i = 0; i < count; i++) {
    await agent.start()
    times.push(agent.readyAfter)
    await agent.stop()
  }
  return times
}

export const cni: Bench = {
  name: "cni",
  title: "CNI ADD and DEL, whole process, dual-stack",
  seconds: { once: 22, round: 33 },
  run: async (options) => {
    await using lab = await openLab()
    const agent = await BenchNode.open(lab.world, { spec: SPEC })
    const cold = await starts(agent, 5)
    await agent.start()
    process.env["FLOCK_SOCKET"] = agent.socket
    const rows = await measure(lab, agent, options)
    await agent.stop()
    const warm = await starts(agent, 5)
    return [
      ...rows.slice(0, 6),
      { name: "agent ready after", value: median(cold), unit: "ms", target: 600, note: "median of 5" },
      { name: `agent ready after, ${PODS} pods`, value: median(warm), unit: "ms", note: "median of 5" },
      ...rows.slice(6)
    ]
  }
}
