/**
 * `npm run scale -- --memory [--others 5000] [--starts 3]`: the built agent against a real API server, first alone, then with
 * as many others' Nodes, NodeConfigs and templates beside its own: what it holds of objects that are not its own.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { AgentNode } from "../../lab/AgentNode.ts"
import { type ApiServer, start as startServer } from "../../lab/ApiServer.ts"
import { exec } from "../../lab/exec.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as lab from "../kube/lab.ts"
import { cidr4Of, cidr6Of, each, nameOf } from "./agents.ts"

const PODS = 20
/** After the start, until lists are done and their memory is given back (`process/trim.ts`). */
const SETTLE_SECONDS = 45
const INSPECTOR = 9229

/** Bytes of V8's heap in use after a collection (Chrome DevTools protocol); in the agent's namespace. */
const HEAP = `
const { webSocketDebuggerUrl } = (await (await fetch("http://127.0.0.1:${INSPECTOR}/json/list")).json())[0]
const socket = new WebSocket(webSocketDebuggerUrl)
await new Promise((done) => socket.addEventListener("open", done))
const ask = (id, method) => new Promise((done) => {
  socket.addEventListener("message", ({ data }) => JSON.parse(data).id === id && done(JSON.parse(data).result))
  socket.send(JSON.stringify({ id, method }))
})
await ask(1, "HeapProfiler.enable")
await ask(2, "HeapProfiler.collectGarbage")
console.log((await ask(3, "Runtime.getHeapUsage")).usedSize)
process.exit(0)
`

export interface Memory {
  /** MB. */
  readonly rss: number
  /** MB, after a collection. */
  readonly heap: number
  /** MB, the most since the start. */
  readonly peak: number
}

const median = (values: ReadonlyArray<number>): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

const once = async (api: ApiServer): Promise<Memory> => {
  await using world = new World()
  const node = await AgentNode.open(world, {
    name: lab.NODE,
    flags: ["--no-bird"],
    env: { NODE_OPTIONS: `--inspect=127.0.0.1:${INSPECTOR}` }
  })
  const { kubeconfig } = await api.relay("agent", node.netns)
  node.kubeconfig = kubeconfig
  await node.start()
  await until("all is watched", async () => {
    const metrics = await node.metrics()
    return ["pods", "nodeconfigs", "nodeconfigtemplates"].every((resource) =>
      new RegExp(
        `^flock_kube_requests_total\\{[^}]*verb="list"[^}]*resource="${resource}"[^}]*code="200"[^}]*\\} [1-9]`,
        "m"
      ).test(metrics)
    )
  }, 120)
  await sleep(SETTLE_SECONDS * 1000)
  const status = readFileSync(join("/proc", String(node.agent?.pid), "status"), "utf8")
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]) / 1024
  const { code, stderr, stdout } = await exec("nsenter", [
    `--net=/run/netns/${node.netns}`,
    process.execPath,
    "--input-type=module",
    "-e",
    HEAP
  ])
  if (code !== 0) throw new Error(stderr)
  return { rss: field("VmRSS"), heap: Number(stdout) / 1024 / 1024, peak: field("VmHWM") }
}

const template = (i: number) => ({
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfigTemplate",
  metadata: { name: `rack${i}` },
  spec: {
    nodeSelector: { matchLabels: { rack: `rack${i}` } },
    template: {
      cidrs: "podCIDRs",
      mtu: 1500,
      anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] },
      bgp: { asn: { fromLabel: "example.org/asn" }, peers: [{ address: "192.0.2.1", asn: 65000 }] }
    }
  }
})

export const measureMemory = async (others: number, starts: number): Promise<void> => {
  await using world = new World()
  const api = await startServer(world)
  await lab.prepare(api)
  await lab.create(api, lab.nodeConfig())
  for (let i = 0; i < PODS; i++) await lab.create(api, lab.pod(`p${i}`))
  const say = async (what: string) => {
    const all: Array<Memory> = []
    for (let i = 0; i < starts; i++) all.push(await once(api))
    const of = (pick: (memory: Memory) => number) => median(all.map(pick)).toFixed(1).padStart(8)
    console.log(`${what.padEnd(56)}${of((it) => it.rss)}${of((it) => it.heap)}${of((it) => it.peak)}`)
  }
  console.log(
    `${`MB, median of ${starts} starts`.padEnd(56)}${["RSS", "heap", "peak"].map((it) => it.padStart(8)).join("")}`
  )
  await say(`alone, ${PODS} pods`)
  await each(
    others,
    (i) =>
      lab.create(api, { ...lab.node(nameOf(i)), spec: { podCIDRs: [cidr4Of(i), cidr6Of(i)], podCIDR: cidr4Of(i) } })
  )
  await each(others, (i) => lab.create(api, lab.nodeConfig(nameOf(i), { cidr4: cidr4Of(i), cidr6: cidr6Of(i) })))
  await say(`and ${others} others' Nodes and NodeConfigs`)
  /** Counted, as a fleet's nodes have done it: this agent alone must not count all of them while it is looked at. */
  const makeTemplate = async (i: number) => {
    await lab.create(api, template(i))
    const { resourceVersion } = (await api.call("GET", `${lab.NODECONFIGS}?limit=1`)).body.metadata
    const at = `${new Date().toISOString().slice(0, 19)}Z`
    const counts = { nodes: 20, updated: 20, ready: 20, observedGeneration: 1, resourceVersion, at }
    const path = `${lab.TEMPLATES}/rack${i}/status`
    const { status } = await api.call("PATCH", path, { status: { counts } }, "application/merge-patch+json")
    if (status !== 200) throw new Error(`${path}: ${status}`)
  }
  const racks = Math.ceil(others / 20)
  await each(racks, makeTemplate)
  await say(`and ${racks} templates, a rack of 20 each`)
  await each(others - racks, (i) => makeTemplate(racks + i))
  await say(`and ${others} templates, one for each node`)
}
