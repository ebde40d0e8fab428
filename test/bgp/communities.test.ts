/** Communities per anycast prefix, as FRR has them. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { node6 } from "../../lab/Lan.ts"
import { ANYCAST4, cidr6, Network, nodeSpec } from "../../lab/Network.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
afterAll(() => world.close(), 30_000)

const OPEN6 = "2001:db8:a:1::53"
const SHOP6 = "2001:db8:a::53"
const INNER6 = "2001:db8:a:2::53"

describe("communities of grants", () => {
  it("are those of the longest prefix, and follow an edit without a new session", async () => {
    const lab = await Network.open(world, { nodes: 1 })
    const node = lab.node(0)
    const grants = (shop: ReadonlyArray<string>) => ({
      allowedCIDRs: ["2001:db8:a:1::/64", "192.0.2.0/24"],
      grants: [
        { cidr: "2001:db8:a::/48", namespaces: ["default"], communities: shop },
        { cidr: "2001:db8:a:2::/64", namespaces: ["default"], communities: ["graceful-shutdown"] },
        { cidr: `${ANYCAST4}/32`, namespaces: ["default"], communities: ["no-peer", "65001:4"] }
      ]
    })
    const edit = (shop: ReadonlyArray<string>) => node.writeNodeConfig({ ...nodeSpec(0), anycast: grants(shop) })
    edit(["65001:1", "no-export", "65001:1:2"])
    await until("the edit is in force", () => node.readConf().includes("flock_communities6"))
    const since = (await node.status()).bird.peers.map((peer) => peer.since)
    const pod = await lab.pod(0, "dns", { anycast: [OPEN6, SHOP6, INNER6, ANYCAST4] })
    pod.set({ ready: true })
    const path = (destination: string) =>
      until(`FRR has ${destination}`, async () => {
        const family = destination.includes(":") ? 6 : 4
        const { paths: [first] = [] } = await lab.lan.vtysh(`show bgp ipv${family} unicast ${destination} json`)
        return first
      })
    const said = async (destination: string) => {
      const { community, largeCommunity, locPrf } = await path(destination)
      return [community?.string, largeCommunity?.string, locPrf]
    }
    assert.deepStrictEqual(await said(SHOP6), ["65001:1 no-export", "65001:1:2", undefined])
    assert.deepStrictEqual(await said(OPEN6), [undefined, undefined, undefined])
    assert.deepStrictEqual(await said(INNER6), ["graceful-shutdown", undefined, 0])
    assert.deepStrictEqual(await said(ANYCAST4), ["65001:4 no-peer", undefined, undefined])
    assert.deepStrictEqual(await said(cidr6(0)), [undefined, undefined, undefined])
    assert.include(
      (await node.tool("why", SHOP6)).stdout,
      "gives to namespaces default and announces with 65001:1, no-export, 65001:1:2"
    )
    // docs/router-examples.md, Communities per service
    await lab.lan.configure(
      "bgp community-list standard SHOP seq 5 permit 65001:1",
      "route-map NODES-IN permit 10",
      "match community SHOP",
      "set local-preference 200",
      "exit",
      "route-map NODES-IN permit 20",
      "exit",
      "router bgp 65000",
      "address-family ipv6 unicast",
      `neighbor ${node6(0)} route-map NODES-IN in`
    )
    await until("FRR goes by the community", async () => (await said(SHOP6))[2] === 200)
    assert.strictEqual((await said(OPEN6))[2], undefined)
    edit(["no-advertise"])
    await until("FRR has the edit", async () => (await said(SHOP6))[0] === "no-advertise")
    assert.deepStrictEqual((await node.status()).bird.peers.map((peer) => peer.since), since)
  })
})
