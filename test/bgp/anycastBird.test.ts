/** A router whose own following takes milliseconds, so that what is seen is flock's. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { inside } from "../../lab/exec.ts"
import { urlOf } from "../../lab/http.ts"
import { CLIENT4, CLIENT6 } from "../../lab/Lan.ts"
import { ANYCAST4, ANYCAST6, Network } from "../../lab/Network.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const BOTH = [ANYCAST6, ANYCAST4] as const
const URLS = BOTH.map((address) => urlOf(address))

const world = new World()
let lab: Network
beforeAll(async () => {
  lab = await Network.open(world, { nodes: 2, router: "bird" })
}, 60_000)
afterAll(() => world.close(), 30_000)

describe("anycast on two nodes behind BIRD", () => {
  it("no request started 50 ms after the flip reaches the pod, and none fails", async () => {
    const a = await lab.pod(0, "a", { anycast: BOTH, serve: true })
    const b = await lab.pod(1, "b", { anycast: BOTH, serve: true })
    a.set({ ready: true })
    for (const address of BOTH) await lab.ways(address, 1)
    b.set({ ready: true })
    await until(
      "the other way is known",
      async () =>
        (await inside(lab.nodes[1]?.netns ?? "", "ip", "-6", "route", "show", "proto", "201")).includes(ANYCAST6)
    )
    const loop = lab.fetchLoop(URLS)
    await until("the first pod answers", async () => loop.fetches.length > 50)
    assert.deepStrictEqual([...new Set(loop.fetches.map(({ pod }) => pod))], ["a"])
    const flip = a.set({ ready: false })
    const from = loop.fetches.length
    await until("100 more fetches", async () => loop.fetches.length > from + 100)
    await loop.stop()
    const late = loop.fetches.filter(({ start }) => start > flip + 50)
    assert.deepStrictEqual([...new Set(late.map(({ pod }) => pod))], ["b"])
    assert.deepStrictEqual(lab.unexplained(loop.fetches), [])
    await a.del()
    await b.del()
    for (const address of BOTH) await lab.ways(address, 0)
  })

  it("a withdrawn pod's replies leave a node that has no default route either", async () => {
    const a = await lab.pod(0, "a", { anycast: BOTH, serve: true })
    a.set({ ready: true })
    for (const address of BOTH) await lab.ways(address, 1)
    const { netns = "" } = lab.nodes[0] ?? {}
    await inside(netns, "ip", "route", "add", `${CLIENT4}/32`, "via", "198.51.100.1")
    await inside(netns, "ip", "-6", "route", "add", `${CLIENT6}/128`, "via", "2001:db8:ffff::1")
    await inside(netns, "ip", "route", "del", "default")
    await inside(netns, "ip", "-6", "route", "del", "default")
    const slow = BOTH.map((address) => lab.fetch(urlOf(address, "?ms=1200")))
    await until("the requests have arrived", async () => a.requests === 2)
    a.set({ ready: true, deleting: true })
    const answers = await Promise.all(slow)
    assert.deepStrictEqual(answers.map(({ error, pod }) => error ?? pod), ["a", "a"])
    assert.notInclude(await inside(netns, "ip", "route", "show"), ANYCAST4)
    await a.del()
  })
})
