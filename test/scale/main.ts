/**
 * `npm run scale -- [--nodes 100,300,1000] [--pods 20] [--json FILE]`: one real API server, and in this process the client
 * code of as many agents (no kernel, no BIRD): what a fleet costs its API server, and how long it takes to know a change.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Exit, Layer, Logger, Option, Scope, SubscriptionRef } from "effect"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as Cluster from "../../src/kube/cluster.ts"
import { KubeApi } from "../../src/kube/KubeApi.ts"
import * as lab from "../kube/lab.ts"

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "100,300,1000" },
    pods: { type: "string", default: "20" },
    json: { type: "string" }
  }
})
const SIZES = values.nodes.split(",").map(Number)
const PODS = Number(values.pods)
const IDLE_SECONDS = 30
const AT_ONCE = 32

const nameOf = (i: number): string => `node${String(i).padStart(5, "0")}`

/** `work` for each of 0 to n - 1, several at a time. */
const each = async (n: number, work: (i: number) => Promise<unknown>): Promise<void> => {
  const next = { i: 0 }
  const worker = async () => {
    while (next.i < n) await work(next.i++)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

/** CPU seconds and MB of the API server's process (proc(5)). */
const usage = (api: ApiServer) => {
  const pid = readFileSync(join(api.dir, "apiserver.pid"), "utf8").trim()
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
  return { cpu: (Number(fields[11]) + Number(fields[12])) / 100, rss: Number(rss) / 1000 }
}

const seconds = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1000
}

interface Fleet {
  readonly agents: ReadonlyArray<KubeApi["Service"]>
  readonly stop: () => Promise<void>
}

/** The agents' client code as `main` wires it, one per node, all at once. */
const startFleet = async (api: ApiServer, n: number, folder: string): Promise<Fleet> => {
  const scope = await Effect.runPromise(Scope.make())
  const one = (i: number) =>
    Effect.gen(function*() {
      const stateDir = join(folder, nameOf(i))
      mkdirSync(stateDir, { recursive: true })
      const layer = Cluster.layer({
        nodeName: nameOf(i),
        // Tokens of a fleet's agents are bound to their nodes; here one identity does for all.
        kubeconfig: api.kubeconfig("admin"),
        stateDir,
        namespace: lab.NAMESPACE
      })
      const context = yield* Layer.buildWithScope(Layer.provide(layer, NodeServices.layer), scope)
      const kube = Context.get(context, KubeApi)
      yield* Effect.forkIn(kube.run, scope)
      return kube
    }).pipe(Effect.orDie)
  const quiet = Logger.layer([])
  const agents = await Effect.runPromise(
    Effect.forEach(Array.from({ length: n }, (_, i) => i), one, { concurrency: 64 }).pipe(Effect.provide(quiet))
  )
  return { agents, stop: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

const count = async (fleet: Fleet, holds: (kube: KubeApi["Service"]) => Effect.Effect<boolean>): Promise<number> =>
  (await Effect.runPromise(Effect.forEach(fleet.agents, holds))).filter((it) => it).length

const everybody = (what: string, fleet: Fleet, holds: (kube: KubeApi["Service"]) => Effect.Effect<boolean>) =>
  until(what, async () => (await count(fleet, holds)) === fleet.agents.length, 600)

const mtuIs = (mtu: number) => (kube: KubeApi["Service"]) =>
  Effect.map(
    SubscriptionRef.get(kube.nodeConfig),
    ({ current }) => Option.exists(current, ({ spec }) => spec.mtu === mtu)
  )

const edit = (api: ApiServer, n: number, mtu: number) =>
  each(
    n,
    (i) => api.call("PATCH", `${lab.NODECONFIGS}/${nameOf(i)}`, { spec: { mtu } }, "application/merge-patch+json")
  )

const measure = async (n: number) => {
  await using world = new World()
  const api = await start(world, "--max-requests-inflight=3000 --max-mutating-requests-inflight=1000")
  await lab.prepare(api, "unused")
  console.error(`scale: ${n} nodes, ${n * PODS} pods: making them`)
  await each(n, (i) => lab.create(api, lab.node(nameOf(i))))
  await each(n, (i) => lab.create(api, lab.nodeConfig(nameOf(i), { mtu: 1500 })))
  await each(n * PODS, (i) => lab.create(api, lab.pod(`p${i}`, {}, nameOf(Math.floor(i / PODS)))))
  const empty = usage(api)
  const fleet = await startFleet(api, n, world.folder("states"))
  const known = await seconds(() => everybody("all know their NodeConfig and pods", fleet, ({ synced }) => synced))
  const begun = usage(api)
  console.error(`scale: ${n} nodes know everything after ${known.toFixed(1)} s; ${IDLE_SECONDS} s of nothing`)
  await sleep(IDLE_SECONDS * 1000)
  const idle = usage(api)
  const changed = await seconds(async () => {
    const told = edit(api, n, 9000)
    await everybody("all know the change", fleet, mtuIs(9000))
    await told
  })
  const edited = usage(api)
  api.signal("SIGKILL")
  await sleep(5000)
  api.restart()
  const restarted = usage(api)
  const back = await seconds(async () => {
    const told = edit(api, n, 1500)
    await everybody("all know a change after the restart", fleet, mtuIs(1500))
    await told
  })
  const after = usage(api)
  const own = process.memoryUsage.rss() / 1e6
  await fleet.stop()
  return {
    nodes: n,
    pods: n * PODS,
    "s until all know": known,
    "API server MB before, with them": [empty.rss, idle.rss],
    "its CPU s to begin": begun.cpu - empty.cpu,
    "its CPU % when nothing happens": (idle.cpu - begun.cpu) / IDLE_SECONDS * 100,
    "s until all have an edit of each NodeConfig": changed,
    "its CPU s for that": edited.cpu - idle.cpu,
    "s until all have one after its restart": back,
    "its CPU s for that and all lists anew": after.cpu - restarted.cpu,
    "MB here per agent": own / n
  }
}

const shown = (value: number | ReadonlyArray<number>): string =>
  typeof value === "number" ? String(Math.round(value * 100) / 100) : value.map(shown).join(", ")

if (!available) process.exit(1)
const results: Array<Awaited<ReturnType<typeof measure>>> = []
for (const n of SIZES) results.push(await measure(n))
for (const key of Object.keys(results[0] ?? {}) as ReadonlyArray<keyof typeof results[0] & string>) {
  console.log(`${key.padEnd(48)}${results.map((it) => shown(it[key]).padStart(16)).join("")}`)
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, undefined, 2)}\n`)
process.exit(0)
