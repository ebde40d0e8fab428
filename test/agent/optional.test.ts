/** What the agent can do without may fail: pods are served meanwhile, it is said once, and it is tried again. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { resolve } from "node:path"
import { afterEach, assert, describe, it } from "vitest"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { inside, run } from "../../lab/exec.ts"
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

const mounted = async (folder: string, options: string) => {
  mkdirSync(folder, { recursive: true })
  await run("mount", "-t", "tmpfs", "-o", options, "flock-test", folder)
  world.defer(() => run("umount", "-l", folder))
  return folder
}

describe("a disk", () => {
  afterEach(() => world.close())

  it("may be full: ADD says so and leaves nothing, DEL works, and space is enough to go on", async () => {
    node = await AgentNode.open(world, { spec: DUAL })
    const state = await mounted(`${node.directory}/state`, "size=64k")
    await node.start()
    const netns = `/run/netns/${await node.pod()}`
    await node.add("before", { netns, ifName: "eth0" })
    const filler = `${state}/filler`
    assert.throws(() => writeFileSync(filler, Buffer.alloc(1 << 20)), /ENOSPC/)
    const other = `/run/netns/${await node.pod()}`
    const { code, json } = await node.cni("ADD", "while-full", { netns: other })
    assert.notStrictEqual(code, 0)
    assert.strictEqual(json.code, 5)
    assert.match(
      json.msg,
      new RegExp(`${state}/allocations/while-full@eth0\\.pending: ENOSPC: no space left on device$`)
    )
    assert.deepStrictEqual(readdirSync(`${state}/allocations`), ["before@eth0.json"])
    assert.strictEqual((await node.links()).length, 1)
    assert.strictEqual((await node.status()).allocations.length, 1)
    assert.strictEqual((await node.cni("DEL", "before", { netns })).code, 0)
    assert.deepStrictEqual(readdirSync(`${state}/allocations`), [])
    await node.stop("SIGKILL")
    await node.start()
    rmSync(filler)
    await node.add("after", { netns: other })
    assert.strictEqual((await node.cni("DEL", "after", { netns: other })).code, 0)
  })

  it("may be read-only, at a start too: DEL works, and ADD once it can be written", async () => {
    node = await AgentNode.open(world, { spec: DUAL })
    const state = await mounted(`${node.directory}/state`, "size=1m")
    await node.start()
    const netns = `/run/netns/${await node.pod()}`
    await node.add("before", { netns })
    rmSync(`${state}/allocations`, { recursive: true })
    await node.stop("SIGKILL")
    await run("mount", "-o", "remount,ro", state)
    await node.start()
    assert.include(node.readLog(), `cannot make ${state}/allocations: EROFS: read-only file system`)
    assert.strictEqual((await node.status()).allocations.length, 1, "rebuilt from the kernel, in memory")
    const other = `/run/netns/${await node.pod()}`
    const { json } = await node.cni("ADD", "while-ro", { netns: other })
    assert.match(json.msg, /allocations\/while-ro@eth0\.pending: EROFS: read-only file system$|allocations: EROFS/)
    assert.strictEqual((await node.cni("DEL", "before", { netns })).code, 0)
    assert.deepStrictEqual(await node.links(), [])
    await run("mount", "-o", "remount,rw", state)
    await node.add("after", { netns: other })
    assert.strictEqual((await node.cni("DEL", "after", { netns: other })).code, 0)
  })
})

describe("a folder of others", () => {
  afterEach(() => world.close())

  it("of BIRD may be read-only, of the conflist missing: said once each with errno and path, and done when they can be", async () => {
    const conf = await mounted(world.folder("conf"), "size=1m")
    await run("mount", "-o", "remount,ro", conf)
    node = await AgentNode.open(world, { spec: DUAL, flags: ["--cni-conf-dir", `${conf}/net.d`] })
    const bird = await mounted(node.birdDirectory, "size=1m")
    await run("mount", "-o", "remount,ro", bird)
    await node.start()
    await turns(1)
    await until("both are said", () => {
      const log = node.readLog()
      return log.includes(`${bird}/bird.conf.new: EROFS: read-only file system`) &&
        /cannot write [^ ]*net\.d[^ ]*: EROFS: read-only file system/.test(log)
    })
    await new Promise((done) => setTimeout(done, 16_000))
    assert.strictEqual(times(node.readLog(), /bird\.conf\.new: EROFS/), 1)
    assert.strictEqual(times(node.readLog(), /net\.d.*EROFS/), 1)
    await turns(1)
    await run("mount", "-o", "remount,rw", bird)
    await run("mount", "-o", "remount,rw", conf)
    await until(
      "both are written",
      () => existsSync(`${bird}/bird.conf`) && existsSync(`${conf}/net.d/01-flock.conflist`),
      40
    )
  })
})

describe("Kubernetes", () => {
  afterEach(() => world.close())

  it("may be away, or its kubeconfig broken: DEL works, ADD says why, and the file is read again", async () => {
    node = await AgentNode.open(world, { spec: DUAL })
    await node.start()
    const netns = `/run/netns/${await node.pod()}`
    await node.add("before", { netns })
    await node.stop()
    // What an agent in a cluster knew of its node.
    writeFileSync(
      `${node.directory}/state/nodeconfig.json`,
      JSON.stringify({
        apiVersion: "flock.fritzlab.net/v1alpha1",
        kind: "NodeConfig",
        metadata: { name: node.name, generation: 1 },
        spec: DUAL
      })
    )
    node.kubeconfig = `${node.directory}/kubeconfig`
    writeFileSync(node.kubeconfig, "clusters: [")
    await node.start()
    const other = `/run/netns/${await node.pod()}`
    await node.add("no-pod", { netns: other })
    const { json } = await node.cni("ADD", "a-pod", { netns: other, pod: "web", ifName: "eth1" })
    assert.strictEqual(json.code, 11)
    assert.match(
      json.msg,
      /Pod default\/web is not in the agent's cache, and asking failed: kubeconfig .* cannot be used/
    )
    assert.strictEqual((await node.cni("DEL", "before", { netns })).code, 0)
    const away = { server: "https://127.0.0.1:1", "insecure-skip-tls-verify": true }
    writeFileSync(
      node.kubeconfig,
      JSON.stringify({
        clusters: [{ name: "t", cluster: away }],
        users: [{ name: "t", user: { token: "x" } }],
        contexts: [{ name: "t", context: { cluster: "t", user: "t" } }],
        "current-context": "t"
      })
    )
    const later = await node.cni("ADD", "a-pod", { netns: other, pod: "web", ifName: "eth1" })
    assert.match(later.json.msg, /ECONNREFUSED/, later.json.msg)
    assert.strictEqual((await node.cni("DEL", "no-pod", { netns: other })).code, 0)
  })
})
