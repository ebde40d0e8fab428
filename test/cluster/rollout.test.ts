/**
 * The first roll-out after a start from nothing, under pings to an address that pods of one node or of two announce. Two
 * starts of each, or as many as FLOCK_STARTS says.
 */
import { assert, it } from "@effect/vitest"
import { readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { describe } from "vitest"
import type { Cluster } from "../../lab/Cluster.ts"
import { exec, run } from "../../lab/exec.ts"
import { RouteMonitor } from "../../lab/RouteMonitor.ts"
import { agentPod, established } from "../../lab/site.ts"
import { sleep, until } from "../../lab/until.ts"
import { fetchFrom, onCluster, readyPods, removeAll, workload } from "./fixture.ts"
import { lossesDuring } from "./losses.ts"

const STARTS = Number(process.env["FLOCK_STARTS"] ?? 1)

const ADDRESSES = ["2001:db8:a::5", "198.18.53.5"] as const

const label = (cluster: Cluster, i: number, value: string) =>
  cluster.kubectl("label", "node", `node${i}`, `flock.fritzlab.net/agent${value}`)

/** Takes flock from a node with all that it wrote there. */
const takeAway = async (cluster: Cluster, i: number): Promise<void> => {
  await label(cluster, i, "-")
  await until(`no agent on node${i}`, async () => !(await agentPod(cluster, i).catch(() => false)), 60)
  const state = cluster.stateOf(i)
  for (const name of readdirSync(state)) rmSync(join(state, name), { recursive: true, force: true })
  for (const family of ["-4", "-6"]) {
    await exec("ip", ["-n", cluster.netns(`node${i}`), family, "route", "flush", "proto", "bird"])
  }
}

onCluster("the first roll-out after a fresh start", ({ client, cluster, router, world }) => {
  const numbers = [1, 2]

  const start = async (): Promise<void> => {
    await removeAll(cluster)
    await Promise.all(numbers.map((i) => takeAway(cluster, i)))
    // what routers kept for a graceful restart is no fresh start
    await run("vtysh", "--vty_socket", router.directory, "-c", "clear bgp *")
    await Promise.all(numbers.map((i) => label(cluster, i, "=")))
    await until("agents", async () => (await Promise.all(numbers.map((i) => agentPod(cluster, i)))).length === 2, 60)
    await Promise.all(numbers.map((i) => established(cluster, i)))
  }

  /** What the router deleted of the addresses and which packets were lost, while the DaemonSet is rolled out. */
  const rollOut = async (nodes: ReadonlyArray<number>): Promise<ReadonlyArray<string>> => {
    await start()
    const annotations = { "flock.fritzlab.net/anycast": ADDRESSES.join(",") }
    const container = { readinessProbe: { httpGet: { port: 80, path: "/" }, periodSeconds: 1, timeoutSeconds: 10 } }
    for (const i of nodes) {
      const spec = { nodeSelector: { "kubernetes.io/hostname": `node${i}` } }
      await cluster.apply(workload("Deployment", `rolled${i}`, { replicas: 2 }, { annotations, container, spec }))
    }
    for (const i of nodes) await readyPods(cluster, `rolled${i}`, 2)
    for (const address of ADDRESSES) {
      await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false), 20)
    }
    const monitor = await RouteMonitor.open(world, router.netns)
    const { lost, pings } = await lossesDuring(world, client, ADDRESSES, async () => {
      await cluster.kubectl("-n", "flock-system", "rollout", "restart", "daemonset/flock-agent")
      await cluster.kubectl("-n", "flock-system", "rollout", "status", "daemonset/flock-agent", "--timeout=120s")
      await Promise.all(numbers.map((i) => established(cluster, i)))
      await sleep(2000)
    })
    // the monitor tries itself with an unreachable route
    const changes = monitor.events.filter(({ destination }) => destination !== "unreachable")
    console.log(
      `${pings} pings; the router: ${
        changes.map(({ at, deleted, destination }) =>
          `${new Date(at).toISOString().slice(17, 23)} ${deleted ? "-" : "+"}${destination}`
        ).join(", ")
      }`
    )
    const deleted = changes.filter(({ deleted }) => deleted).map(({ at, destination }) => {
      const back = changes.find((event) => !event.deleted && event.destination === destination && event.at >= at)
      return `${destination} was deleted for ${back === undefined ? "good" : `${(back.at - at).toFixed(1)} ms`}`
    })
    return [...lost, ...deleted]
  }

  describe.each(Array.from({ length: STARTS }, (_, i) => i + 1))("start %i", () => {
    it("loses nothing with pods on one node", async () => assert.deepStrictEqual(await rollOut([1]), []), 240_000)
    it("loses nothing with pods on two", async () => assert.deepStrictEqual(await rollOut([1, 2]), []), 240_000)
  })
})
