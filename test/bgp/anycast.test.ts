import { afterAll, afterEach, assert, beforeAll, describe, it } from "@effect/vitest"
import { readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { exec, inside } from "../../lab/exec.ts"
import { type Fetch, urlOf } from "../../lab/http.ts"
import { ANYCAST4, ANYCAST6, Network } from "../../lab/Network.ts"
import type { Pod } from "../../lab/Pod.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const BOTH = [ANYCAST6, ANYCAST4] as const
const URLS = BOTH.map((address) => urlOf(address))

const world = new World()
let lab: Network
const pods: Array<Pod> = []

beforeAll(async () => {
  lab = await Network.open(world, { nodes: 2 })
}, 60_000)
afterAll(() => world.close(), 30_000)

/** A pod that the test's end takes away. */
const pod = async (...args: Parameters<Network["pod"]>) => {
  const made = await lab.pod(...args)
  pods.push(made)
  return made
}

const ways = async (count: number) => {
  for (const address of BOTH) await lab.ways(address, count)
}

/** Each test ends with no pods and no anycast address in the router. */
afterEach(async () => {
  for (const made of pods.splice(0)) {
    made.set({ ready: false })
    await made.del()
  }
  await ways(0)
})

const answeredBy = (fetches: ReadonlyArray<Fetch>) => [...new Set(fetches.map(({ pod }) => pod))].toSorted()

const failures = (fetches: ReadonlyArray<Fetch>) => fetches.filter(({ error }) => error !== undefined)

/** Waits until so many more fetches are done. */
const more = (fetches: ReadonlyArray<Fetch>, count: number) => {
  const from = fetches.length
  return until(`${count} more fetches`, async () => fetches.length >= from + count, 30)
}

const routesOf = (node: number, protocol: 200 | 201) => lab.nodes[node]?.routes(protocol) ?? Promise.resolve([])

const why = async (node: number, address: string) => {
  const answer = await lab.nodes[node]?.tool("why", "--json", address)
  return { code: answer?.code, report: JSON.parse(answer?.stdout ?? "") }
}

/** When BIRD was reconfigured last, and how often its log says so. */
const reconfigured = async () => {
  const socket = join(lab.nodes[0]?.directory ?? "", "bird/bird.ctl")
  const { stdout } = await exec("birdc", ["-s", socket, "show", "status"])
  const since = /Last reconfiguration on .*/.exec(stdout)?.[0]
  assert.isDefined(since)
  return { since, log: lab.birdLog(0).split("\n").filter((line) => line.includes("Reconfigur")).length }
}

/** A sample of node 0's metrics. */
const metric = async (sample: string) =>
  Number(new RegExp(`^${sample} (\\S+)$`, "m").exec(await lab.nodes[0]?.metrics() ?? "")?.[1])

describe("anycast on two nodes behind FRR", () => {
  it("fails over without one failed request, goes when no pod is Ready, and comes back", async () => {
    const a = await pod(0, "a", { anycast: BOTH, serve: true })
    const b = await pod(1, "b", { anycast: BOTH, serve: true })
    a.set({ ready: true })
    b.set({ ready: true })
    await ways(2)
    const loop = lab.fetchLoop(URLS)
    await until("both pods answer", async () => answeredBy(loop.fetches).length === 2)

    const flip = a.set({ ready: false })
    await ways(1)
    // FRR follows after 60 ms, by fixed timers of its own; anycastBird.test.ts has a router without them.
    const followed = BOTH.map((address) => lab.monitor.last(address, flip)?.at ?? Number.NaN)
    await more(loop.fetches, 100)
    const late = loop.fetches.filter(({ start }) => start > Math.max(flip + 50, ...followed))
    assert.isAtLeast(late.length, 50)
    assert.deepStrictEqual(answeredBy(late), ["b"])

    a.set({ ready: true })
    await ways(2)
    await more(loop.fetches, 100)
    await loop.stop()
    assert.deepStrictEqual(lab.unexplained(loop.fetches), [])

    a.set({ ready: false })
    b.set({ ready: false })
    await ways(0)
    b.set({ ready: true })
    await ways(1)
    for (const url of URLS) assert.strictEqual((await lab.fetch(url)).pod, "b")
  })

  it("of two pods on one node behind one address, one leaves and the other serves on", async () => {
    const a = await pod(0, "a", { anycast: BOTH, serve: true })
    const b = await pod(0, "b", { anycast: BOTH, serve: true })
    a.set({ ready: true })
    b.set({ ready: true })
    await ways(1)
    const loop = lab.fetchLoop(URLS)
    await until("both pods answer", async () => answeredBy(loop.fetches).length === 2)
    const flip = a.set({ ready: false })
    await until("one next hop", async () => {
      const routes = await routesOf(0, 201)
      return routes.length === 2 && routes.every((route) => !route.includes("nexthop"))
    })
    await more(loop.fetches, 100)
    await loop.stop()
    const late = loop.fetches.filter(({ start }) => start > flip + 50)
    assert.deepStrictEqual([answeredBy(late), failures(late)], [["b"], []])
  })

  it("100 transitions: no reload of BIRD", async () => {
    const a = await pod(0, "a", { anycast: BOTH })
    await until(
      "the export set",
      async () => readFileSync(join(lab.nodes[0]?.directory ?? "", "bird/bird.conf"), "utf8").includes(ANYCAST6)
    )
    await sleep(1000)
    const before = await reconfigured()
    assert.isAtLeast(before.log, 1)
    for (let i = 0; i < 100; i++) {
      a.set({ ready: i % 2 === 0 })
      await until("the transition", async () => (await routesOf(0, 201)).length === (i % 2 === 0 ? 2 : 0))
    }
    assert.deepStrictEqual(await reconfigured(), before)
  })

  it("kill -9 of the agent while a pod flips: right again within 2 s of the restart", async () => {
    const [node] = lab.nodes
    const a = await pod(0, "a", { anycast: BOTH })
    const b = await pod(0, "b", { anycast: ["2001:db8:a::b"] })
    a.set({ ready: true })
    await ways(1)
    a.set({ ready: false })
    b.set({ ready: true })
    await node?.stop("SIGKILL")
    a.set({ ready: false })
    b.set({ ready: true })
    await node?.start()
    for (const address of BOTH) await lab.ways(address, 0, 2)
    await lab.ways("2001:db8:a::b", 1, 2)
    assert.strictEqual((await routesOf(0, 201)).length, 1)
    b.set({ ready: false })
    await lab.ways("2001:db8:a::b", 0)
  })

  it("the agent stops: what is announced stays, and starting again flaps nothing", async () => {
    const [node] = lab.nodes
    const a = await pod(0, "a", { anycast: BOTH })
    a.set({ ready: true })
    await ways(1)
    const since = performance.timeOrigin + performance.now()
    await node?.stop()
    await node?.start()
    await sleep(2500)
    await ways(1)
    for (const address of BOTH) assert.isUndefined(lab.monitor.last(address, since))
  })

  it("the agent loses its state and starts again: what is announced stays, and still follows the pod", async () => {
    const [node] = lab.nodes
    const a = await pod(0, "a", { anycast: BOTH })
    a.set({ ready: true })
    await ways(1)
    const since = performance.timeOrigin + performance.now()
    await node?.stop("SIGKILL")
    rmSync(join(node?.directory ?? "", "state"), { recursive: true })
    await node?.start()
    await sleep(2500)
    await ways(1)
    for (const address of BOTH) assert.isUndefined(lab.monitor.last(address, since))
    a.set({ ready: false })
    await ways(0)
  })

  it("deletionTimestamp: withdrawn, while a request in flight is answered", async () => {
    const a = await pod(0, "a", { anycast: BOTH, serve: true })
    a.set({ ready: true })
    await ways(1)
    const slow = BOTH.map((address) => lab.fetch(urlOf(address, "?ms=1500")))
    await until("the requests have arrived", async () => a.requests === 2)
    a.set({ ready: true, deleting: true })
    await ways(0)
    assert.deepStrictEqual(await routesOf(0, 201), [])
    const answers = await Promise.all(slow)
    assert.deepStrictEqual(answers.map(({ pod }) => pod), ["a", "a"])
  })

  it("heals what others do to its routes", async () => {
    const a = await pod(0, "a", { anycast: BOTH })
    a.set({ ready: true })
    await ways(1)
    const { netns = "" } = lab.nodes[0] ?? {}
    const before = await routesOf(0, 201)
    await inside(netns, "ip", "-6", "route", "flush", "proto", "201")
    await inside(netns, "ip", "route", "flush", "proto", "201")
    await inside(netns, "ip", "route", "add", "192.0.2.99", "dev", "lo", "proto", "201")
    await until("two routes, none of them the stranger", async () => {
      const routes = await routesOf(0, 201)
      return routes.length === 2 && !routes.some((route) => route.includes("192.0.2.99"))
    }, 5)
    assert.deepStrictEqual(await routesOf(0, 201), before)
    await ways(1)
  })
})

describe("chosen addresses", () => {
  it("are the pod's own always, and announced outside the aggregate while it is Ready", async () => {
    const a = await pod(0, "a", { addresses: BOTH, serve: true })
    const own = await routesOf(0, 200)
    for (const address of BOTH) assert.isTrue(own.some((route) => route.startsWith(`${address} dev flock`)))
    a.set({ ready: true })
    await ways(1)
    for (const url of URLS) assert.strictEqual((await lab.fetch(url)).pod, "a")
    a.set({ ready: false })
    await ways(0)
    assert.deepStrictEqual(await routesOf(0, 200), own)
    assert.strictEqual((await why(0, ANYCAST6)).report.kind, "chosen")
  })

  it("that another pod of the node holds are refused", async () => {
    await pod(0, "a", { addresses: BOTH })
    const second = await lab.pod(0, "b", { anycast: [] })
    pods.push(second)
    await second.detach()
    lab.nodes[0]?.writePod("b", { uid: "uid-b", annotations: { addresses: BOTH.join(",") } })
    const refusal = await until("the refusal", async () => {
      const { code, json } = await lab.nodes[0]?.cni("ADD", second.netns, { pod: "b", uid: "uid-b" }) ?? {}
      if (code === 0) await second.detach()
      return code === 0 ? undefined : JSON.stringify(json)
    })
    assert.match(refusal, /in use/)
  })
})

describe("refused addresses", () => {
  it("never reach the kernel or BIRD, and why says so", async () => {
    const node = lab.nodes[0]
    const netns = await node?.pod() ?? ""
    node?.writePod("evil", { uid: "uid-evil", annotations: { anycast: "2001:db8:bad::1" }, ready: true })
    await until("the refusal", async () => {
      const { code, json } = await node?.cni("ADD", netns, { pod: "evil", uid: "uid-evil" }) ?? {}
      if (code === 0) await node?.cni("DEL", netns, { pod: "evil", uid: "uid-evil" })
      return code !== 0 && JSON.stringify(json).includes("2001:db8:bad::1")
    })
    await sleep(2500)
    assert.deepStrictEqual(await routesOf(0, 201), [])
    assert.notInclude(readFileSync(join(node?.directory ?? "", "bird/bird.conf"), "utf8"), "2001:db8:bad")
    const { code, report } = await why(0, "2001:db8:bad::1")
    assert.strictEqual(code, 1)
    assert.match(report.answer, /pod default\/evil asks for it .* and was refused/)
  })
})

describe("an address of a family that the pod lacks", () => {
  it("is skipped with a warning, and the other one is announced", async () => {
    const a = await pod(0, "a", { anycast: BOTH, ipv4: false })
    a.set({ ready: true })
    await lab.ways(ANYCAST6, 1)
    assert.deepStrictEqual((await routesOf(0, 201)).map((route) => route.split(" ")[0]), [ANYCAST6])
    assert.notInclude(await inside(a.netns, "ip", "address", "show"), ANYCAST4)
    assert.match(lab.nodes[0]?.readLog() ?? "", /192\.0\.2\.1[^\n]*IPv4/)
    assert.match((await why(0, ANYCAST4)).report.answer, /pod default\/a has no IPv4 address to reach it by/)
  })
})

describe("why and metrics", () => {
  it("name the peers, and the step that stops", async () => {
    const a = await pod(0, "a", { anycast: BOTH })
    a.set({ ready: true })
    await ways(1)
    const good = await why(0, ANYCAST6)
    assert.deepStrictEqual([good.code, good.report.announced], [0, true])
    assert.include(good.report.answer, "to 2001:db8:ffff::1 (AS65000)")
    a.set({ ready: false })
    await ways(0)
    const stopped = await why(0, ANYCAST6)
    assert.strictEqual(stopped.code, 1)
    assert.strictEqual(stopped.report.answer, `${ANYCAST6} is not announced: pod default/a is not Ready`)
    assert.include((await why(1, ANYCAST6)).report.answer, "no pod on node")
  })

  it("count transitions and time them, into the kernel and out of BIRD", async () => {
    /** A series appears with its first event. */
    const count = async (name: string) => await metric(`flock_anycast_${name}_seconds_count`) || 0
    // Scrapes within a second are one.
    const installed = (wanted: number) =>
      until(`${wanted} installed`, async () => await metric("flock_anycast_installed") === wanted)
    const start = await count("export")
    const a = await pod(0, "a", { anycast: BOTH })
    a.set({ ready: true })
    await ways(1)
    await installed(2)
    // One flip at a time is followed: the next would be passed over while this one is.
    await until("the sample of the announcement", async () => await count("export") > start)
    const before = { kernel: await count("kernel"), exported: await count("export") }
    a.set({ ready: false })
    await ways(0)
    await installed(0)
    assert.strictEqual(await count("kernel"), before.kernel + 2)
    await until("the sample of BIRD's export", async () => await count("export") > before.exported)
  })
})
