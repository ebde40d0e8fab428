/**
 * `npm run scale -- [--nodes 100,300,1000] [--pods 20] [--outage 30] [--rollout 60] [--json FILE]`: one real API server with
 * its default flow control, and in this process the client code of as many agents (no kernel, no BIRD): what a fleet costs
 * its API server, how long it takes to know a change, and what comes after an outage.
 */
import { Effect, Stream } from "effect"
import { writeFileSync } from "node:fs"
import { loadavg } from "node:os"
import { parseArgs } from "node:util"
import { type Answer, type ApiServer, available, start as startServer } from "../../lab/ApiServer.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as lab from "../kube/lab.ts"
import { type Agents, cidr4Of, cidr6Of, each, makeNodes, nameOf, start, untilAll } from "./agents.ts"
import { measureMemory } from "./memory.ts"
import { ANSWERED, Recording, REFUSED, total, WRITES } from "./requests.ts"
import { samples, sum, usage } from "./server.ts"

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "100,300,1000" },
    pods: { type: "string", default: "20" },
    outage: { type: "string", default: "30" },
    rollout: { type: "string", default: "60" },
    idle: { type: "string", default: "60" },
    memory: { type: "boolean", default: false },
    others: { type: "string", default: "5000" },
    starts: { type: "string", default: "3" },
    json: { type: "string" }
  }
})
const SIZES = values.nodes.split(",").map(Number)
const PODS = Number(values.pods)
const OUTAGE = Number(values.outage)
const ROLLOUT = Number(values.rollout)
const IDLE = Number(values.idle)
const APPLY = "application/merge-patch+json"

const WATCHES = /^watch /
const WATCHES_OPENED = /^watch .* 200$/

const say = (words: string) => console.error(`scale: ${words}`)

type Row = readonly [name: string, value: number]

/** Runs it, and says what it cost: `name: …` rows. */
const phase = async (
  api: ApiServer,
  name: string,
  work: () => Promise<ReadonlyArray<Row>>
): Promise<ReadonlyArray<Row>> => {
  const before = usage(api)
  const recording = new Recording()
  const began = performance.now()
  const own = process.cpuUsage()
  const rows = await work()
  const took = (performance.now() - began) / 1000
  const { all, peak } = recording.stop()
  const after = usage(api)
  const mine = process.cpuUsage(own)
  say(`${name}: ${took.toFixed(1)} s, ${[...all].map(([key, n]) => `${key}: ${n}`).join(", ")}`)
  const row = (what: string, value: number): Row => [`${name}: ${what}`, value]
  const found = [
    ...rows.map(([what, value]) => row(what, value)),
    row("API server CPU s", after.pid === before.pid ? after.cpu - before.cpu : after.cpu),
    row("API server MB", after.rss),
    row("answers", total(all, ANSWERED)),
    row("answers, most in a second", peak(ANSWERED)),
    row("of them refusals", total(all, REFUSED)),
    row("no answer", total(all, / 0$/)),
    row("writes", total(all, WRITES)),
    row("writes, most in a second", peak(WRITES)),
    row("writes of NodeConfigs", total(all, /^patch nodeconfigs /)),
    row("writes of their status", total(all, /^patch nodeconfigs\/status /)),
    row("writes of Nodes' conditions", total(all, /^patch nodes\/status /)),
    row("writes of templates' status", total(all, /^patch nodeconfigtemplates/)),
    row("CPU s of all agents", (mine.user + mine.system) / 1e6)
  ]
  // Whatever becomes of the next phase.
  for (const [what, value] of found) console.error(`  ${what.padEnd(56)}${value.toFixed(2).padStart(12)}`)
  return found
}

const at = (times: ReadonlyArray<number>, share: number): number =>
  (times[Math.ceil(times.length * share) - 1] ?? 0) / 1000

const spread = (times: ReadonlyArray<number>): ReadonlyArray<Row> => [
  ["s until half know", at(times, 0.5)],
  ["s until 99 % know", at(times, 0.99)],
  ["s until all know", at(times, 1)]
]

/** Until it is done: a server that has just started has not all resources yet. */
const sure = (what: string, call: () => Promise<Answer>): Promise<unknown> =>
  until(what, async () => (await call()).status === 200, 120)

const edit = (api: ApiServer, n: number, mtu: number) =>
  each(n, (i) => {
    const path = `${lab.NODECONFIGS}/${nameOf(i)}`
    return sure(`edit of ${path}`, () => api.call("PATCH", path, { spec: { mtu } }, APPLY))
  })

/** Agents hear of one pod each that becomes ready. */
const untilReady = (agents: Agents) => {
  const began = performance.now()
  return Effect.runPromise(
    Effect.forEach(
      agents.all,
      ({ kube }) =>
        Stream.runDrain(Stream.take(Stream.filter(kube.podChanges, (it) => it._tag === "Changed" && it.pod.ready), 1))
          .pipe(
            Effect.map(() => performance.now() - began)
          ),
      { concurrency: "unbounded" }
    ).pipe(Effect.timeout("20 minutes"))
  ).then((times) => times.toSorted((a, b) => a - b))
}

const watchesOpen = async (api: ApiServer): Promise<number> =>
  sum(await samples(api, "apiserver_longrunning_requests"), "apiserver_longrunning_requests", { verb: "WATCH" })

/** Killed, away, and started again; times from the moment that it is ready. */
const outage = async (api: ApiServer, agents: Agents, n: number) => {
  const rows: Array<Row> = []
  api.signal("SIGKILL")
  await sleep(OUTAGE * 1000)
  const recording = new Recording()
  // In the middle of it: what an agent gets to know is what happened meanwhile.
  const knows = untilAll(agents, ({ mtu }) => mtu === 1500)
  const hears = untilReady(agents)
  const began = performance.now()
  await api.startAgain()
  const ready = performance.now()
  rows.push(["s until it is ready", (ready - began) / 1000])
  const edited = edit(api, n, 1500)
  const patched = each(n, (i) => sure(`pod ${i}`, () => lab.setReady(api, `p${i * PODS}`, true)))
  await Promise.all([edited, patched])
  rows.push(["s for the edits, by another client", (performance.now() - ready) / 1000])
  const [known, heard] = await Promise.all([knows, hears])
  const after = (times: ReadonlyArray<number>) => times.map((ms) => Math.max(0, ms - (ready - began)))
  rows.push(...spread(after(known)), ["s until all hear of a pod's readiness", at(after(heard), 1)])
  const { all, peak } = recording.stop()
  rows.push(["watches opened, most in a second", peak(WATCHES_OPENED)], ["watches asked for", total(all, WATCHES)])
  rows.push(["lists", total(all, /^list .* 200$/)])
  const fromEtcd = await samples(api, "apiserver_storage_list_total")
  for (const resource of ["pods", "nodeconfigs"]) {
    rows.push([`lists of ${resource} from etcd`, sum(fromEtcd, "apiserver_storage_list_total", { resource })])
  }
  return rows
}

const TEMPLATE = "all"
const template = (mtu: number) => ({
  cidrs: "podCIDRs",
  mtu,
  bgp: { asn: { fromLabel: "example.org/asn" }, peers: [{ address: "192.0.2.1", asn: 65000 }] }
})

const measure = async (n: number): Promise<ReadonlyArray<Row>> => {
  await using world = new World()
  const api = await startServer(world)
  await lab.prepare(api, "unused")
  say(`${n} nodes, ${n * PODS} pods: making them`)
  const tokens = new Map<string, string>()
  await makeNodes(api, n, tokens)
  await each(n, (i) => lab.create(api, lab.nodeConfig(nameOf(i), { mtu: 1500, cidr4: cidr4Of(i), cidr6: cidr6Of(i) })))
  await each(n * PODS, (i) => lab.create(api, lab.pod(`p${i}`, {}, nameOf(Math.floor(i / PODS)))))
  const rows: Array<Row> = [["pods", n * PODS], ["load of the machine", loadavg()[0] ?? 0], [
    "API server MB before",
    usage(api).rss
  ]]
  const holder: { agents?: Agents } = {}
  rows.push(
    ...await phase(api, "begin", async () => {
      const began = performance.now()
      const agents = holder.agents = await start(api, Array.from({ length: n }, (_, i) => nameOf(i)), {
        tokens,
        folder: world.folder("states")
      })
      const waiting = new Set(agents.all)
      await until("all know their NodeConfig and pods", async () => {
        for (const agent of waiting) if (await Effect.runPromise(agent.kube.synced)) waiting.delete(agent)
        return waiting.size === 0
      }, 600)
      return [["s until all know", (performance.now() - began) / 1000]]
    })
  )
  const agents = holder.agents
  if (agents === undefined) throw new Error("no agents")
  // What follows a start: condition, status.
  await sleep(10_000)
  rows.push(["watches open", await watchesOpen(api)])
  rows.push(
    ...await phase(api, "idle", async () => {
      await sleep(IDLE * 1000)
      return [["s", IDLE]]
    })
  )
  rows.push(
    ...await phase(api, "edit of each", async () => {
      const knows = untilAll(agents, ({ mtu }) => mtu === 9000)
      await edit(api, n, 9000)
      return spread(await knows)
    })
  )
  await sleep(10_000)
  rows.push(...await phase(api, "outage", () => outage(api, agents, n)))
  await sleep(15_000)
  await each(n, (i) => api.call("DELETE", `${lab.NODECONFIGS}/${nameOf(i)}`))
  await sleep(10_000)
  rows.push(
    ...await phase(api, "first template", async () => {
      const knows = untilAll(agents, ({ mtu }) => mtu === 1400)
      await lab.create(api, {
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfigTemplate",
        metadata: { name: TEMPLATE },
        spec: { nodeSelector: {}, rollout: { seconds: ROLLOUT }, template: template(1400) }
      })
      const times = await knows
      // Their trials end.
      await sleep(80_000)
      return spread(times)
    })
  )
  rows.push(
    ...await phase(api, "template edit", async () => {
      const knows = untilAll(agents, ({ mtu }) => mtu === 1450)
      await api.call("PATCH", `${lab.TEMPLATES}/${TEMPLATE}`, { spec: { template: template(1450) } }, APPLY)
      const times = await knows
      await sleep(80_000)
      return spread(times)
    })
  )
  rows.push(["MB here per agent", process.memoryUsage.rss() / 1e6 / n])
  rows.push([
    "lists from etcd",
    sum(await samples(api, "apiserver_storage_list_total"), "apiserver_storage_list_total")
  ])
  await agents.stop()
  return rows
}

if (!available) process.exit(1)
if (values.memory) {
  await measureMemory(Number(values.others), Number(values.starts))
  process.exit(0)
}
const results: Array<ReadonlyMap<string, number>> = []
for (const n of SIZES) {
  results.push(new Map([["nodes", n] as const, ...await measure(n)]))
  // Whatever becomes of the next size.
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify(results.map((it) => Object.fromEntries(it)), undefined, 2)}\n`)
  }
}
for (const key of results[0]?.keys() ?? []) {
  console.log(
    `${key.padEnd(56)}${results.map((it) => String(Math.round((it.get(key) ?? 0) * 100) / 100).padStart(12)).join("")}`
  )
}
process.exit(0)
