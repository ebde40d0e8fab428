/** Session options against FRR, an independent implementation: what the router itself says of them is asserted. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { run } from "../../lab/exec.ts"
import { node4, node6, ROUTER6 } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { nodeConfig } from "../unit/bird/inputs.ts"
import { closeAll, established, has, open, peer4, peer6 } from "./birdNode.ts"

afterEach(closeAll)

describe("sessions with FRR", () => {
  it("takes a password, TTL security and communities, all at once", async () => {
    const more = {
      passwordSecretRef: { name: "tor", key: "password" },
      ttlSecurity: true,
      communities: ["65001:100", "65001:1:2"]
    }
    const bgp = { asn: 65001, peers: [{ ...peer6, ...more }, { ...peer4, ...more }] }
    const options = { password: "it's}a;secret#1", ttlSecurity: true }
    const node = await open(bgp, options, options.password)
    await established(node, 2)
    await has(node, 6)
    const { paths } = await node.lan.vtysh("show bgp ipv6 unicast 2001:db8:100::/64 json")
    assert.strictEqual(paths[0].community.string, "65001:100")
    assert.strictEqual(paths[0].largeCommunity.string, "65001:1:2")
    const neighbor = (await node.lan.vtysh(`show bgp neighbors ${node6(0)} json`))[node6(0)]
    assert.strictEqual(neighbor.bgpTimerHoldTimeMsecs, 9000)
    assert.strictEqual(neighbor.externalBgpNbrMaxHopsAway, 1)
  })

  it("notices a cut link by BFD, long before the hold time", async () => {
    const bgp = { asn: 65001, peers: [{ ...peer6, bfd: true }, { ...peer4, bfd: true }] }
    const node = await open(bgp, { bfd: true })
    await established(node, 2)
    await has(node, 6)
    await until(
      "BFD is up",
      async () => (await node.lan.vtysh(`show bgp neighbors ${node6(0)} json`))[node6(0)].peerBfdInfo.status === "Up"
    )
    // The bridge forgets the node; neither end's own interface goes down.
    await run("ip", "-n", node.lan.router, "link", "set", "n0", "nomaster")
    await until("the router withdraws", async () => !(await node.lan.bgpTable(6)).has("2001:db8:100::/64"), 3)
  })

  it("does not come up with another password, until the Secret is right", async () => {
    const secret = { passwordSecretRef: { name: "tor", key: "password" } }
    const bgp = { asn: 65001, peers: [{ ...peer6, ...secret }, { ...peer4, ...secret }] }
    const node = await open(bgp, { password: "right" }, "wrong")
    await new Promise((resolve) => setTimeout(resolve, 3000))
    const { peers } = await Effect.runPromise(node.bird.status)
    assert.isTrue(peers.every(({ state }) => state !== "Established"))
    await Effect.runPromise(node.facts.kube.setSecret({ name: "tor", key: "password" }, "right"))
    await Effect.runPromise(node.bird.requestReload)
    await established(node, 2)
  })

  it("carries both families over one IPv6 session, with an IPv4 next hop", async () => {
    const node = await open({ asn: 65001, peers: [peer6] })
    await established(node, 1)
    assert.include(await has(node, 6) ?? [], node6(0))
    assert.deepStrictEqual(await has(node, 4), [node4(0)])
  })

  it("announces IPv4 over a link without IPv4 only to a router that knows the extended next hop", async () => {
    const node = await open({ asn: 65001, peers: [peer6] }, {}, undefined, [`${node6(0)}/64`])
    await run("ip", "-n", node.netns, "addr", "flush", "dev", "uplink", "scope", "global", "to", "198.51.100.0/24")
    await established(node, 1)
    await has(node, 6)
    assert.isFalse((await node.lan.bgpTable(4)).has("10.42.0.0/24"))
    await node.lan.configure("router bgp 65000", `neighbor ${node6(0)} capability extended-nexthop`)
    await node.lan.configure("do clear bgp *")
    assert.include(await has(node, 4) ?? [], node6(0))
  })

  it("is an iBGP peer where the AS numbers are the same", async () => {
    const node = await open({ asn: 65000, peers: [peer6, peer4] }, { asns: [65000] })
    await established(node, 2)
    await has(node, 6)
    await has(node, 4)
    const { paths } = await node.lan.vtysh("show bgp ipv4 unicast 10.42.0.0/24 json")
    assert.strictEqual(paths[0].aspath.string, "Local")
    assert.isTrue(paths[0].peer.type === "internal")
  })

  it("announces nothing more than it should, and follows a NodeConfig edit", async () => {
    const node = await open({ asn: 65001, peers: [peer6, peer4] })
    await established(node, 2)
    await has(node, 6)
    const received = async () =>
      Object.keys((await node.lan.vtysh(`show bgp ipv6 unicast neighbors ${node6(0)} routes json`)).routes ?? {})
    assert.deepStrictEqual(await received(), ["2001:db8:100::/64"])
    // Neither the node's other routes nor those of other protocol numbers.
    await run("ip", "-n", node.netns, "-6", "route", "add", "2001:db8:bad::/48", "via", ROUTER6)
    await run("ip", "-n", node.netns, "-6", "route", "add", "2001:db8:100::5/128", "via", ROUTER6, "proto", "200")
    await run("ip", "-n", node.netns, "-6", "route", "add", "2001:db8:a::5/128", "via", ROUTER6, "proto", "201")
    const spec = { cidr6: "2001:db8:102::/64", cidr4: "10.42.0.0/24", bgp: { asn: 65001, peers: [peer6, peer4] } }
    await Effect.runPromise(
      node.facts.kube.setNodeConfig({
        current: Option.some(nodeConfig(spec, "node1")),
        rejected: Option.none()
      })
    )
    await until("the new prefix alone", async () => {
      const prefixes = await received()
      return prefixes.length === 1 && prefixes[0] === "2001:db8:102::/64"
    })
  })
})
