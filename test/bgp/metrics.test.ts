/** What an agent that serves pods exports, against Prometheus' own tools. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { ANYCAST4, ANYCAST6, Network, nodeSpec } from "../../lab/Network.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const ROOT = resolve(import.meta.dirname, "../..")

const world = new World()
let lab: Network
/** Before the first pod. */
let first: string
beforeAll(async () => {
  lab = await Network.open(world, { nodes: 1, bfd: true })
  first = await lab.node(0).metrics()
}, 60_000)
afterAll(() => world.close(), 30_000)

/** `probe` of a scrape; the port is closed for a second where more than 20 a second come. */
const eventually = (what: string, probe: (text: string) => boolean) =>
  until(what, async () => {
    await sleep(200)
    return probe(await lab.node(0).metrics())
  }, 20)

/** promtool's findings; empty if it has none. */
const check = (text: string): string => {
  try {
    return execFileSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8", stdio: "pipe" })
  } catch (error) {
    return (error as { readonly stderr: string }).stderr
  }
}

interface Documented {
  readonly name: string
  readonly type: string
  readonly labels: ReadonlyArray<string>
  /** The values of a label, where the document lists them. */
  readonly values: Readonly<Record<string, ReadonlyArray<string>>>
}

const [, section = ""] = readFileSync(join(ROOT, "docs/reference.md"), "utf8").split("\n## Metrics\n")
const documented: ReadonlyArray<Documented> = [
  ...(section.split("\n## ")[0] ?? "").matchAll(/^\| `([a-z0-9_]+)` \| (\w+) \| (.*?) \| /gm)
].map(([, name = "", type = "", labels = ""]) => ({
  name,
  type,
  labels: [...labels.replace(/\([^)]*\)/g, "").matchAll(/`(\w+)`/g)].map(([, label = ""]) => label),
  values: Object.fromEntries(
    [...labels.matchAll(/`(\w+)` \(([^)]*)\)/g)].map(([, label = "", list = ""]) => [
      label,
      list.split(", ").map((value) => value.replaceAll("`", "")).toSorted()
    ])
  )
}))

/** Series of a metric, without their values; a histogram's by its count. */
const seriesOf = (text: string, { name, type }: Documented) =>
  [...text.matchAll(new RegExp(`^${name}${type === "histogram" ? "_count" : ""}(?:\\{(.*)\\})? (\\S+)$`, "gm"))]
    .map(([, labels = "", value]) => ({
      labels: [...labels.matchAll(/(\w+)="/g)].map(([, label = ""]) => label),
      values: Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, text]) => [label, text])),
      value: Number(value)
    }))

describe("/metrics", () => {
  it("is what Prometheus takes, before the first pod and with pods, refusals and sessions", async () => {
    assert.strictEqual(check(first), "")
    const pod = await lab.pod(0, "web", { anycast: [ANYCAST6, ANYCAST4] })
    pod.set({ ready: true })
    const node = lab.node(0)
    node.writePod("greedy", { annotations: { anycast: "2001:db8:beef::1" } })
    const args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=greedy"
    assert.strictEqual((await node.cni("ADD", await node.pod(), { args })).json?.code, 100)
    await eventually("the addresses are announced", (text) => /^flock_anycast_announced 2$/m.test(text))
    pod.set({ ready: false })
    await eventually(
      "the transitions are counted",
      (text) => /^flock_anycast_transitions_total\{to="removed"\} 2$/m.test(text)
    )
    const text = await node.metrics()
    assert.strictEqual(check(text), "")
    assert.match(text, /^flock_cni_calls_total\{verb="ADD",code="100"\} 1$/m)
    assert.match(text, /^flock_address_refusals_total\{reason="NotAllowed"\} 1$/m)
    assert.match(text, /^flock_dropped_packets_total\{namespace="default",pod="web",reason="spoofed"\} 0$/m)
    pod.set({ ready: true })
  })

  it("check is one that fails", () => {
    assert.include(check("# HELP x_total x\n# TYPE x_total gauge\nx_total 1\n"), "x_total")
  })

  // Without a cluster nothing is asked of an API server, and packets are counted for pods.
  it.each(documented.filter(({ name }) => !/^flock_(kube|dropped)_/.test(name)))(
    "$name is there from the start, with its labels; a counter at 0 or more",
    (metric) => {
      const series = seriesOf(first, metric)
      assert.isAbove(series.length, 0)
      for (const { labels } of series) assert.deepStrictEqual(labels.toSorted(), metric.labels.toSorted())
      for (const [label, values] of Object.entries(metric.values)) {
        assert.deepStrictEqual([...new Set(series.map((one) => one.values[label]))].toSorted(), [...values], label)
      }
      const unsettled = /^flock_(cni|bird_reloads|event_loop)/.test(metric.name)
      if (metric.type === "counter" && !unsettled) assert.isTrue(series.every(({ value }) => value === 0))
    }
  )

  it("goes with a log of one object a line, with the same keys first, and levels that mean something", async () => {
    const node = lab.node(0)
    interface Line {
      readonly level: string
      readonly message: string
      readonly code?: number
    }
    const lines = (): ReadonlyArray<Line> => node.readLog().trim().split("\n").map((line) => JSON.parse(line))
    const refused = lines().filter(({ message }) => message.startsWith("ADD refused: "))
    assert.deepStrictEqual(refused.map(({ code, level }) => [level, code]), [["WARN", 100]])
    node.writeNodeConfig({ ...nodeSpec(0), cidr4: "10.42.1.1/24" })
    const mistake = await until("it is said", () => lines().find(({ message }) => message.includes("is not valid")))
    assert.strictEqual(mistake.level, "ERROR")
    node.writeNodeConfig(nodeSpec(0))
    const before = lines().length
    for (let i = 0; i < 3; i++) await node.cni("STATUS")
    for (const line of lines()) {
      assert.deepStrictEqual(Object.keys(line).slice(0, 3), ["timestamp", "level", "message"])
      assert.notProperty(line, "fiberId")
      assert.notProperty(line, "spans")
    }
    assert.isAtMost(lines().slice(before).filter(({ message }) => message.includes("STATUS")).length, 0)
    assert.isTrue(
      lines().some(({ level, message }) => level === "INFO" && message.startsWith("NetworkUnavailable=False"))
    )
  })

  it("has no session of a peer that the NodeConfig no longer has", async () => {
    const node = lab.node(0)
    const [peer] = nodeSpec(0).bgp.peers
    const sessions = (text: string) => [...text.matchAll(/^flock_bgp_session_established\{/gm)].length
    assert.strictEqual(sessions(first), 2)
    node.writeNodeConfig(nodeSpec(0, { peers: [peer] }))
    await eventually("the peer's series are gone", (text) => sessions(text) === 1)
    node.writeNodeConfig(nodeSpec(0))
    await eventually("they are back", (text) => sessions(text) === 2)
  })
})
