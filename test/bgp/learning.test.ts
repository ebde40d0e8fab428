/** What a node learns, and what it does not, from an FRR that announces too much. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ip, run } from "../../lab/exec.ts"
import { CLIENT6, kernelRoutes, ROUTER6, ROUTER_LOOPBACK } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { address, hostCidr } from "../../src/domain/Ip.ts"
import { closeAll, established, has, open, peer6 } from "./birdNode.ts"

afterEach(closeAll)

const learned = async (netns: string) => [...(await kernelRoutes(netns, 6, "bird")).keys()].toSorted()

describe("what a node learns", () => {
  it("is never a prefix that covers, equals or lies in its own or a connected one", async () => {
    const announce = [
      // Its own prefix, half of it, and a wider one.
      "2001:db8:100::/64",
      "2001:db8:100::8000:0:0:0/65",
      "2001:db8:100::/56",
      // The same of the connected network; a host in it.
      "2001:db8:ffff::/65",
      "2001:db8:fff0::/44",
      "2001:db8:ffff::7777/128",
      // Never anywhere.
      "fe80::/64",
      "ff05::/16",
      "::1/128",
      // Not allowed here.
      "2001:dc8::/32",
      // Good, the second inside an allowed prefix.
      "2001:db8:e000::/36",
      "2001:db8:d:d::d/128"
    ]
    const node = await open({ asn: 65001, importCIDRs: ["2001:db8::/32", "fe00::/7"], peers: [peer6] }, { announce })
    await established(node, 1)
    const good = ["2001:db8:100::/64", "2001:db8:c::/64", "2001:db8:d:d::d", "2001:db8:e000::/36"]
    await until("the good ones", async () => (await learned(node.netns)).includes("2001:db8:e000::/36"))
    assert.deepStrictEqual(await learned(node.netns), good)
    assert.include(
      await ip(node.netns, "-6", "route", "show", "proto", "bird"),
      "unreachable 2001:db8:100::/64"
    )
  })

  it("is 1000 prefixes at most, and the session stays", async () => {
    const announce = Array.from({ length: 1200 }, (_, i) => `2001:db8:e:${i.toString(16)}::/64`)
    const node = await open({ asn: 65001, importCIDRs: ["2001:db8:e::/48"], peers: [peer6] }, { announce })
    await established(node, 1)
    await until(
      "1000 learned",
      async () => (await Effect.runPromise(node.bird.status)).peers[0]?.ipv6.learned === 1000
    )
    assert.strictEqual((await learned(node.netns)).length, 1001)
    await has(node, 6)
    await established(node, 1)
  })

  it("does not displace an address that the node itself announces", async () => {
    const announce = ["2001:db8:a::1/128"]
    const node = await open({ asn: 65001, importCIDRs: ["2001:db8:a::/64"], peers: [peer6] }, { announce })
    await established(node, 1)
    await until("the other's learned", async () => (await learned(node.netns)).includes("2001:db8:a::1"))
    const anycast = address("2001:db8:a::1")
    await Effect.runPromise(node.bird.setExportSet([anycast]))
    await Effect.runPromise(node.bird.requestReload)
    await run("ip", "-n", node.netns, "-6", "route", "add", "2001:db8:a::1", "via", ROUTER6, "proto", "201")
    await until("exported", () => Effect.runPromise(node.bird.exportedTo(hostCidr(anycast), "peer_2001_db8_ffff__1")))
    assert.notInclude(await learned(node.netns), "2001:db8:a::1")
    await run("ip", "-n", node.netns, "-6", "route", "del", "2001:db8:a::1", "proto", "201")
    await until(
      "withdrawn",
      async () => !await Effect.runPromise(node.bird.exportedTo(hostCidr(anycast), "peer_2001_db8_ffff__1"))
    )
  })

  it("works over a multihop session, where next hops are looked up", async () => {
    const peer = { ...peer6, address: ROUTER_LOOPBACK, multihop: 3 }
    const bgp = { asn: 65001, importCIDRs: ["2001:db8:c::/64"], peers: [peer] }
    const node = await open(bgp, { multihop: true })
    await run("ip", "-n", node.netns, "-6", "route", "replace", `${ROUTER_LOOPBACK}/128`, "via", ROUTER6)
    await established(node, 1)
    await has(node, 6)
    const route = await until(
      "the client's network",
      async () => (await kernelRoutes(node.netns, 6, "bird")).get("2001:db8:c::/64")
    )
    assert.deepStrictEqual(route, [ROUTER6])
    await run("nsenter", `--net=/run/netns/${node.netns}`, "ping", "-c", "1", "-W", "2", CLIENT6)
    // The node's own routes, which BIRD now knows, go nowhere.
    const { routes } = await node.lan.vtysh("show bgp ipv6 unicast json")
    assert.deepStrictEqual(
      Object.keys(routes).toSorted(),
      ["2001:db8:100::/64", "2001:db8:c::/64", "2001:db8:ffff::/64"]
    )
  })
})
