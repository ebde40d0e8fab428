/** What the agent can do without may fail: pods are served meanwhile, it is said once, and it is tried again. */
import { resolve } from "node:path"
import { afterEach, assert, describe, it } from "vitest"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { inside } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
let node: AgentNode
const FLOOD = resolve(import.meta.dirname, "../../lab/flood.mjs")

const times = (text: string, what: RegExp): number => text.split("\n").filter((line) => what.test(line)).length

/** ADD and DEL, one after another; milliseconds of each ADD. */
const turns = async (count: number): Promise<ReadonlyArray<number>> => {
  const millis: Array<number> = []
  const netns = `/run/netns/${await node.pod()}`
  for (let i = 0; i < count; i++) {
    const began = performance.now()
    await node.add(`turn${i}`, { netns })
    millis.push(performance.now() - began)
    await node.cni("DEL", `turn${i}`, { netns })
  }
  return millis.toSorted((a, b) => a - b)
}
const quantile = (sorted: ReadonlyArray<number>, q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0

describe("the HTTP port", () => {
  afterEach(() => world.close())

  it("may be taken: pods are served, and it answers once the port is free", async () => {
    node = await AgentNode.open(world, { spec: DUAL })
    const hold = "require('node:net').createServer().listen(9476,'127.0.0.1',()=>console.log('held'))"
    const other = world.spawn([process.execPath, "-e", hold], { netns: node.netns, log: `${node.directory}/other.log` })
    await until("the port is taken", async () => (await node.inside("ss", "-ltn")).includes(":9476"))
    await node.start()
    await turns(1)
    await new Promise((done) => setTimeout(done, 4000))
    assert.strictEqual(times(node.readLog(), /cannot listen on 127\.0\.0\.1:9476 \(--http\): .*EADDRINUSE/), 1)
    other.kill("SIGKILL")
    await until("it answers", async () => (await node.metrics("/healthz").catch(() => "")) === "ok\n", 30)
  })

  it("may be flooded from a pod: ADD does not wait for it", async () => {
    node = await AgentNode.open(world, { spec: DUAL, flags: ["--no-bird", "--http", "[::]:9476"] })
    await node.start()
    const attacker = await node.attachedPod()
    const calm = await turns(60)
    const flood = inside(attacker.netns, process.execPath, FLOOD, "198.51.100.1", "9476", "8")
    await new Promise((done) => setTimeout(done, 500))
    const flooded = await turns(60)
    const opened = Number(await flood)
    console.log(
      `ADD p50/p99 ms: calm ${quantile(calm, 0.5).toFixed(1)}/${quantile(calm, 0.99).toFixed(1)}, ` +
        `flooded ${quantile(flooded, 0.5).toFixed(1)}/${quantile(flooded, 0.99).toFixed(1)}; ${opened} connections`
    )
    assert.isAbove(opened, 50, "there was a flood")
    // The flood takes one of the machine's cores for itself.
    assert.isBelow(quantile(flooded, 0.99), 10 * quantile(calm, 0.99) + 250)
    await until("it answers afterwards", async () => (await node.metrics("/healthz").catch(() => "")) === "ok\n", 15)
  })
})
