/** The dashboard's queries and the alerts, by a real Prometheus that scrapes a real agent. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { parse } from "yaml"
import { Network } from "../../lab/Network.ts"
import { filled, Prometheus } from "../../lab/Prometheus.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { PANELS } from "../../scripts/dashboard/panels.ts"
import { work } from "../../scripts/dashboard/record.ts"

const ROOT = resolve(import.meta.dirname, "../..")
const { spec } = parse(readFileSync(join(ROOT, "manifests/overlays/monitoring/alerts.yaml"), "utf8"))

/** A node without Kubernetes asks no API server. */
const inCluster = (query: string) => query.includes("flock_kube_")

const world = new World()
let lab: Network
let prometheus: Prometheus
beforeAll(async () => {
  lab = await Network.open(world, { nodes: 1, bfd: true })
  prometheus = await Prometheus.open(lab.node(0), spec.groups)
  await work(lab, 12)
}, 90_000)
afterAll(() => world.close(), 30_000)

const queries = PANELS.flatMap(({ queries, title }) => queries.map(({ expr, legend }) => ({ title, expr, legend })))

describe("a real agent's series", () => {
  it.each(queries)("$title: $legend has data, with the labels of its legend", async ({ expr, legend }) => {
    const query = filled(expr)
    if (inCluster(query)) return assert.deepStrictEqual(await prometheus.query(query), [])
    const series = await until("the query has series", async () => {
      await sleep(500)
      const found = await prometheus.range(query, 30, 1)
      return found.length > 0 && found
    }, 20)
    for (const [, label = ""] of legend.matchAll(/\{\{(\w+)\}\}/g)) {
      for (const { metric } of series) assert.property(metric, label)
    }
    assert.isTrue(series.some(({ values }) => values.some(([, value]) => Number.isFinite(Number(value)))), query)
  })

  it("each alert is evaluated without an error, and each of its selectors names series that an agent has", async () => {
    const rules = await until("all are evaluated", async () => {
      const all = await prometheus.rules()
      return all.length > 10 && all.every(({ health }) => health === "ok") && all
    }, 20)
    for (const { query } of rules.filter(({ query }) => !inCluster(query))) {
      for (const [selector] of query.matchAll(/\b(?:flock_[a-z0-9_]+|up)(?:\{[^}]*\})?/g)) {
        assert.isAbove((await prometheus.query(selector)).length, 0, selector)
      }
    }
    assert.deepStrictEqual(rules.flatMap(({ alerts, name }) => alerts.length === 0 ? [] : name), [])
  })

  it("FlockBirdDown and FlockNodeCutOff are on their way when BIRD has died, and over when it is back", async () => {
    const due = async () => {
      await sleep(500)
      return (await prometheus.rules()).filter(({ alerts }) => alerts.length > 0).map(({ name }) => name)
    }
    await lab.node(0).stopBird("SIGKILL")
    await until("both are due", async () => {
      const names = await due()
      return names.includes("FlockBirdDown") && names.includes("FlockNodeCutOff")
    }, 30)
    await lab.node(0).startBird()
    await until("none is due", async () => (await due()).length === 0, 60)
  })

  it("a node that an operator withdrew is no fault", async () => {
    await lab.node(0).tool("withdraw", "--now")
    await until("it is seen", async () => {
      await sleep(500)
      return (await prometheus.query("flock_bird_withdrawn == 1 and on (node) flock_bgp_session_established == 0"))
        .length > 0
    }, 20)
    const due = (await prometheus.rules()).filter(({ alerts }) => alerts.length > 0).map(({ name }) => name)
    assert.deepStrictEqual(due.filter((name) => name !== "FlockWithdrawn"), [])
    await lab.node(0).tool("restore")
  })
})
