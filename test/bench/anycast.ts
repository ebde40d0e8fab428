import { ANYCAST4, ANYCAST6, Network, nodeSpec } from "../../lab/Network.ts"
import type { Pod } from "../../lab/Pod.ts"
import { now, sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
/**
 * How fast a pod's readiness reaches the router: from the write of the Pod (atomic rename of its file; standalone mode)
 * to the change in the router's kernel, as `ip monitor route` in the router's namespace shows it. The router is BIRD,
 * which follows at once; FRR adds 60 ms by fixed timers of its own (50 in bgpd's process queue, 10 in zebra's).
 */
import { makeIndex } from "../../src/anycast/holders.ts"
import { allKeys, byDestination, plan } from "../../src/anycast/routePlan.ts"
import type { Allocation } from "../../src/domain/Allocation.ts"
import { NOTHING_OCCUPIED } from "../../src/domain/occupied.ts"
import { podKey } from "../../src/domain/Pod.ts"
import { allocation, linkOf, pod } from "../unit/anycast/fakes.ts"
import { type Bench, type Options, percentile, type Row } from "./report.ts"

const FLIPS = 200
const PODS = 200

/** Milliseconds until the router has changed every one of these destinations. */
const flip = async (
  lab: Network,
  pods: ReadonlyArray<Pod>,
  destinations: ReadonlyArray<string>,
  ready: boolean
): Promise<number> => {
  lab.monitor.events.length = 0
  const start = now()
  for (const each of pods) each.set({ ready })
  const done = () => {
    const last = new Map(lab.monitor.events.map((event) => [event.destination, event]))
    const changes = destinations.map((destination) => last.get(destination))
    return changes.every((change) => change?.deleted === !ready)
      ? Math.max(...changes.map((change) => change?.at ?? Number.NaN)) - start
      : undefined
  }
  return until(`the router's change of ${destinations.length} destinations`, async () => done(), 20)
}

/**
 * Milliseconds between flips, out of step with the agent's 2 s tick. BIRD does not set TCP_NODELAY, so an update that
 * follows another within the 40 ms of a delayed ACK waits for it (seen: 35 ms); these are to be flips of their own.
 */
const apart = (i: number): number => 45 + (i * 7) % 50

/** Milliseconds of `count` flips each way of a pod with an anycast address of each family. */
export const flips = async (lab: Network, count: number, log: Options["log"]) => {
  const one = await lab.pod(0, "one", { anycast: [ANYCAST6, ANYCAST4] })
  const up: Array<number> = []
  const down: Array<number> = []
  for (let i = 0; i < count + 5; i++) {
    const times = [await flip(lab, [one], [ANYCAST6, ANYCAST4], true)]
    await sleep(apart(i))
    times.push(await flip(lab, [one], [ANYCAST6, ANYCAST4], false))
    await sleep(apart(i))
    // The first few find the agent cold.
    if (i < 5) continue
    up.push(times[0] ?? Number.NaN)
    down.push(times[1] ?? Number.NaN)
    if (i % 50 === 0) log(`${i} of ${count} flips each way`)
  }
  await one.del()
  return { up, down }
}

const manyPods = async (lab: Network, rounds: number, log: Options["log"]) => {
  const addresses = Array.from({ length: PODS }, (_, i) => `2001:db8:a::1:${(i + 1).toString(16)}`)
  const { anycast, ...rest } = nodeSpec(0)
  lab.node(0).writeNodeConfig({ ...rest, anycast: { ...anycast, maxPerNamespace: PODS } })
  const pods: Array<Pod> = []
  for (const [i, address] of addresses.entries()) pods.push(await lab.pod(0, `many-${i}`, { anycast: [address] }))
  await sleep(1000)
  const up: Array<number> = []
  const down: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    up.push(await flip(lab, pods, addresses, true))
    await sleep(1000)
    down.push(await flip(lab, pods, addresses, false))
    await sleep(1000)
    log(`${PODS} pods, round ${round + 1} of ${rounds}`)
  }
  return { up, down }
}

/**
 * Milliseconds of event loop for a full pass over 1,000 addresses of 500 pods, half of which have just flipped; the
 * thread's own CPU time, so that other processes of the machine do not count.
 */
const diffs = (count: number): ReadonlyArray<number> => {
  const ns = Array.from({ length: 500 }, (_, i) => i + 1)
  const allocations: ReadonlyArray<Allocation> = ns.map((n) =>
    allocation(n, {
      anycast: [`2001:db8:a::${n.toString(16)}`, `192.0.${2 + (n >> 8)}.${n & 255}`],
      ipv4: `10.42.${n >> 8}.${n & 255}`
    })
  )
  const links = new Map(ns.map((n) => [linkOf(n), 100 + n]))
  const worldOf = (ready: (n: number) => boolean, installed: ReturnType<typeof byDestination>) => ({
    pods: new Map(ns.map((n) => {
      const info = pod(n, { ready: ready(n) })
      return [podKey(info), info] as const
    })),
    synced: true,
    unreachable: new Map(),
    spec: undefined,
    occupied: NOTHING_OCCUPIED,
    ifIndexOf: (name: string) => links.get(name),
    installed
  })
  const index = makeIndex(allocations)
  const all = plan(allKeys(index), index, worldOf(() => true, byDestination([]))).install
  return Array.from({ length: count }, (_, i) => {
    const world = worldOf((n) => n % 2 === i % 2, byDestination([]))
    const start = process.threadCpuUsage()
    const installed = byDestination(all)
    const { remove } = plan(allKeys(index, installed), index, { ...world, installed })
    const { system, user } = process.threadCpuUsage(start)
    if (remove.length !== 500) throw new Error(`the diff withdrew ${remove.length} of 500`)
    return (system + user) / 1000
  })
}

const both = (name: string, times: ReadonlyArray<number>, p50?: number, p99?: number): ReadonlyArray<Row> => [
  { name: `${name}, p50`, value: percentile(times, 0.5), unit: "ms", ...(p50 === undefined ? {} : { target: p50 }) },
  {
    name: `${name}, p99`,
    value: percentile(times, 0.99),
    unit: "ms",
    ...(p99 === undefined ? {} : { target: p99 }),
    note: `${times.length} flips`
  }
]

const run: Bench["run"] = async ({ log, rounds }) => {
  const rows: Array<Row> = []
  {
    await using world = new World()
    const lab = await Network.open(world, { nodes: 1, router: "bird" })
    const { down, up } = await flips(lab, FLIPS, log)
    rows.push(...both("not Ready → withdrawn in the router", down, 8, 25))
    rows.push(...both("Ready → announced in the router", up, 8, 25))
    const many = await manyPods(lab, Math.min(rounds, 5), log)
    const note = `worst of ${many.down.length}, from the first file's write`
    rows.push({
      name: `${PODS} pods at once, all withdrawn`,
      value: Math.max(...many.down),
      unit: "ms",
      target: 250,
      note
    })
    rows.push({ name: `${PODS} pods at once, all announced`, value: Math.max(...many.up), unit: "ms", note })
  }
  {
    await using world = new World()
    const frr = await Network.open(world, { nodes: 1 })
    const { down } = await flips(frr, 20, log)
    rows.push(...both("the same behind FRR: withdrawn", down))
  }
  const times = diffs(200)
  rows.push({
    name: "diff over 1,000 addresses",
    value: percentile(times, 0.99),
    unit: "ms",
    target: 10,
    note: "p99 of 200, CPU time"
  })
  return rows
}

export const anycast: Bench = {
  name: "anycast",
  title: "Anycast: from the Pod's status to the router's kernel",
  seconds: { once: 96, round: 15 },
  run
}
