import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import type { Attached } from "../../lab/AgentNode.ts"
import { ip } from "../../lab/exec.ts"
import { CLIENT4, CLIENT6, kernelRoutes, node4, node6, ROUTER4, ROUTER6 } from "../../lab/Lan.ts"
import { cidr4, cidr6, Network, nodeSpec } from "../../lab/Network.ts"
import { ping } from "../../lab/ping.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

describe.each(["frr", "bird"] as const)("two nodes, a %s router and a client behind it", (router) => {
  const world = new World()
  let network: Network
  let pods: ReadonlyArray<Attached>

  beforeAll(async () => {
    network = await Network.open(world, { router, nodes: 2 })
    pods = await Promise.all(network.nodes.map((node) => node.attachedPod()))
  }, 60_000)
  afterAll(() => world.close())

  const node = (i: number) => network.node(i)
  const pod = (i: number): Attached => pods[i] ?? assert.fail(`no pod ${i}`)

  it("has the nodes' prefixes in the router's own table and in its kernel", async () => {
    for (const i of [0, 1]) {
      const [six, four] = await until(`routes of node ${i}`, async () => {
        const six = (await network.lan.kernelRoutes(6)).get(cidr6(i))
        const four = (await network.lan.kernelRoutes(4)).get(cidr4(i))
        return six !== undefined && four !== undefined && [six, four]
      })
      assert.deepStrictEqual(four, [node4(i)])
      // FRR installs the link-local next hop that comes along with the global one.
      if (router === "bird") assert.deepStrictEqual(six, [node6(i)])
    }
    if (router === "frr") {
      const table = await network.lan.bgpTable(6)
      // The global next hop comes with a link-local one, never alone.
      assert.include(table.get(cidr6(0)) ?? [], node6(0))
      assert.deepStrictEqual((await network.lan.bgpTable(4)).get(cidr4(0)), [node4(0)])
      assert.deepStrictEqual(
        [...table.keys()].toSorted(),
        ["2001:db8:c::/64", "2001:db8:ffff::/64", cidr6(0), cidr6(1)].toSorted()
      )
    }
  })

  it("carries traffic between client and pod, both families, both ways", async () => {
    for (const i of [0, 1]) {
      for (const target of [pod(i).v6, pod(i).v4]) {
        assert.strictEqual((await ping(network.lan.client, target, 5)).received, 5, target)
      }
      for (const target of [CLIENT6, CLIENT4]) {
        assert.strictEqual((await ping(pod(i).netns, target, 5)).received, 5, target)
      }
    }
  })

  it("carries traffic between pods of two nodes, through the router as long as nothing is imported", async () => {
    for (const target of [pod(1).v6, pod(1).v4]) {
      const { received, ttl } = await ping(pod(0).netns, target, 5)
      assert.strictEqual(received, 5)
      assert.strictEqual(ttl, 64 - 3)
    }
  })

  it("answers for unassigned addresses with unreachable, and nothing goes in circles", async () => {
    for (const target of ["2001:db8:100::dead:beef", "10.42.0.200"]) {
      const { received, text } = await ping(network.lan.client, target)
      assert.strictEqual(received, 0)
      assert.match(text, /Destination unreachable|Destination Host Unreachable|Destination Net Unreachable/, target)
      assert.notMatch(text, /[Tt]ime to live exceeded|Hop limit|Time exceeded/)
    }
  })

  it("learns nothing by default", async () => {
    assert.deepStrictEqual([...(await kernelRoutes(node(0).netns, 6, "bird")).keys()], [cidr6(0)])
    assert.deepStrictEqual([...(await kernelRoutes(node(0).netns, 4, "bird")).keys()], [cidr4(0)])
  })

  it("learns what importCIDRs allow, at once after the edit, and traffic goes straight", async () => {
    const importCIDRs = ["2001:db8::/32", "10.0.0.0/8", "198.51.0.0/16"]
    for (const i of [0, 1]) node(i).writeNodeConfig(nodeSpec(i, { importCIDRs }))
    const { netns } = node(0)
    const [six, four] = await until("the other node's prefixes", async () => {
      const six = (await kernelRoutes(netns, 6, "bird")).get(cidr6(1))
      const four = (await kernelRoutes(netns, 4, "bird")).get(cidr4(1))
      return six !== undefined && four !== undefined && [six, four]
    })
    assert.deepStrictEqual([six, four], [[node6(1)], [node4(1)]])
    await until(
      "node 1 learned too",
      async () =>
        (await kernelRoutes(node(1).netns, 6, "bird")).has(cidr6(0)) &&
        (await kernelRoutes(node(1).netns, 4, "bird")).has(cidr4(0))
    )
    for (const target of [pod(1).v6, pod(1).v4]) {
      const { received, ttl } = await ping(pod(0).netns, target, 5)
      assert.deepStrictEqual([received, ttl], [5, 64 - 2], target)
    }
  })

  it("does not learn the connected subnet, which the router announces and importCIDRs cover", async () => {
    const { netns } = node(0)
    if (router === "frr") assert.isTrue((await network.lan.bgpTable(6)).has("2001:db8:ffff::/64"))
    assert.deepStrictEqual(
      [...(await kernelRoutes(netns, 6, "bird")).keys()].toSorted(),
      [cidr6(0), cidr6(1), "2001:db8:c::/64"].toSorted()
    )
    assert.notInclude([...(await kernelRoutes(netns, 4, "bird")).keys()], "198.51.100.0/24")
    assert.notInclude(await ip(netns, "-6", "route", "get", ROUTER6), "via")
    assert.notInclude(await ip(netns, "route", "get", ROUTER4), "via")
  })

  it("learns a default route only where importCIDRs names it, and never in place of the node's own", async () => {
    const { netns } = node(0)
    const own = async () => [
      (await ip(netns, "-6", "route", "show", "default")).split("\n").filter((l) => !l.includes("bird")),
      (await ip(netns, "route", "show", "default")).split("\n").filter((l) => !l.includes("bird"))
    ]
    const before = await own()
    assert.notInclude([...(await kernelRoutes(netns, 6, "bird")).keys()], "default")
    node(0).writeNodeConfig(nodeSpec(0, { importCIDRs: ["::/0", "0.0.0.0/0"] }))
    await until(
      "default routes of BIRD",
      async () =>
        (await kernelRoutes(netns, 6, "bird")).has("default") && (await kernelRoutes(netns, 4, "bird")).has("default")
    )
    assert.deepStrictEqual(await own(), before)
    // What the kernel uses is the node's own.
    for (const family of ["-6", "-4"]) {
      const target = family === "-6" ? "2001:db8:dddd::1" : "192.0.2.200"
      const used = await ip(netns, family, "route", "get", "fibmatch", target)
      assert.notInclude(used, "bird")
    }
    node(0).writeNodeConfig(nodeSpec(0))
    await until("nothing learned again", async () => (await kernelRoutes(netns, 6, "bird")).size === 1)
    assert.deepStrictEqual(await own(), before)
  })
})
