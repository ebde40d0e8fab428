/** Prefixes beside the node's own, and prefixes in place of addresses: by FRR's table, the node's kernel and traffic. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { ANYCAST4, ANYCAST6, cidr4, Network, nodeSpec } from "../../lab/Network.ts"
import { ping } from "../../lab/ping.ts"
import type { Pod } from "../../lab/Pod.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const ANYCAST = "192.0.2.0/24"
const SERVICES = "10.96.0.0/12"
const advertise = [ANYCAST, SERVICES, "2001:db8:a::/64"]

const world = new World()
let lab: Network
let pod: Pod
beforeAll(async () => {
  lab = await Network.open(world, { nodes: 1 })
  pod = await lab.pod(0, "dns", { anycast: [ANYCAST6, ANYCAST4] })
  pod.set({ ready: true })
  for (const address of [ANYCAST6, ANYCAST4]) await lab.ways(address, 1)
}, 60_000)
afterAll(() => world.close(), 30_000)

const routers = async (prefixes: ReadonlyArray<string>, absent: ReadonlyArray<string>) =>
  until(`the router has ${prefixes.join()} and not ${absent.join()}`, async () => {
    const has = new Map([...await lab.lan.kernelRoutes(6), ...await lab.lan.kernelRoutes(4)])
    return prefixes.every((prefix) => has.has(prefix)) && !absent.some((prefix) => has.has(prefix))
  })

const answered = async (target: string) => (await ping(lab.lan.client, target)).received

const why = async (address: string) => {
  const { code, stdout } = await lab.node(0).tool("why", address)
  return { code, text: stdout }
}

const stateOf = async (address: string) =>
  (await lab.node(0).status()).announcements.find((it) => it.address === address)?.state

describe("advertise", () => {
  it("announces prefixes beside the node's own, and drops what nobody has of those that pods have addresses of", async () => {
    lab.node(0).writeNodeConfig(nodeSpec(0, { advertise }))
    await routers([...advertise, ANYCAST4, ANYCAST6, cidr4(0)], [])
    assert.deepStrictEqual([await answered(ANYCAST4), await answered(ANYCAST6)], [1, 1])
    const unassigned = await ping(lab.lan.client, "192.0.2.77")
    assert.match(unassigned.text, /From 198\.51\.100\.11 .*Destination Host Unreachable/)
    // kube-proxy's own packets must find a way before they are rewritten.
    assert.include(await lab.node(0).ip("route", "get", "10.96.0.1"), "via 198.51.100.1")
    assert.notInclude(await lab.node(0).ip("route", "show", "proto", "bird"), SERVICES)
    assert.deepStrictEqual([await stateOf(ANYCAST4), await stateOf(ANYCAST6)], ["announced", "announced"])
    assert.include((await why("192.0.2.77")).text, `the node announces ${ANYCAST}, and drops what comes for unused`)
    assert.include((await why("10.96.0.1")).text, `the node announces ${SERVICES}, and leaves it to others`)
  })

  it("is withdrawn when the list is emptied", async () => {
    lab.node(0).writeNodeConfig(nodeSpec(0))
    await routers([ANYCAST4, ANYCAST6, cidr4(0)], advertise)
    await until(
      "the node's kernel has it no more",
      async () => !(await lab.node(0).ip("route", "show", "proto", "bird")).includes(ANYCAST)
    )
  })
})

describe("export.summaryOnly", () => {
  it("announces the prefix in place of its addresses, and other addresses as before", async () => {
    lab.node(0).writeNodeConfig(nodeSpec(0, { advertise: [ANYCAST], export: { summaryOnly: true } }))
    await routers([ANYCAST, ANYCAST6, cidr4(0)], [ANYCAST4])
    assert.deepStrictEqual([await answered(ANYCAST4), await answered(ANYCAST6)], [1, 1])
    assert.deepStrictEqual([await stateOf(ANYCAST4), await stateOf(ANYCAST6)], ["announced", "announced"])
    const { code, text } = await why(ANYCAST4)
    assert.strictEqual(code, 0, text)
    assert.include(text, `${ANYCAST}, to 198.51.100.1`)
  })

  it("says that the prefix stays where no pod is Ready", async () => {
    pod.set({ ready: false })
    await lab.ways(ANYCAST6, 0)
    assert.strictEqual(await stateOf(ANYCAST4), "withdrawn")
    await routers([ANYCAST], [ANYCAST6])
    const { code, text } = await why(ANYCAST4)
    assert.strictEqual(code, 1)
    assert.include(text, `${ANYCAST} is announced all the same: what comes for it is dropped`)
    assert.strictEqual(await answered(ANYCAST4), 0)
  })
})
