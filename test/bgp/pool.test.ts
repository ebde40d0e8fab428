/** The node's own prefix, or a part of it, in others' hands: real BIRD and FRR, and two real nodes with one prefix. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { kernelRoutes, Lan, node4, node6 } from "../../lab/Lan.ts"
import { cidr4, cidr6, Network, nodeSpec } from "../../lab/Network.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { formatAddress } from "../../src/domain/Ip.ts"
import type { Occupied } from "../../src/domain/occupied.ts"
import { NodeNetwork } from "../../src/netlink/NodeNetwork.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import { type BirdNode, closeAll, established, has, open, peer4, peer6, startNode } from "./birdNode.ts"

// A route counts when it has stood for ten seconds, so these wait side by side.
const world = new World()
afterAll(() => Promise.all([closeAll(), world.close()]))

const BGP = { asn: 65001, peers: [peer6, peer4] }
const { spec } = nodeConfig({ cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24", bgp: BGP }, "node1")

const occupied = ({ facts }: Pick<BirdNode, "facts">): Promise<Occupied> =>
  Effect.runPromise(
    Effect.flatMap(NodeNetwork, (network) => network.occupied(spec)).pipe(Effect.provideContext(facts.context))
  )

/** By the NodeConfig of {@link open}. */
const conflicts = async (node: Pick<BirdNode, "facts">) => (await occupied(node)).conflicts

/** The router announces prefixes besides, each with this AS path behind its own number and this next hop. */
const announce = (
  { lan }: BirdNode,
  prefixes: ReadonlyArray<readonly [prefix: string, path?: string, nextHop?: string]>,
  no = ""
) =>
  lan.configure(...prefixes.flatMap(([prefix, path, nextHop], i) => {
    const six = prefix.includes(":")
    return [
      `route-map m${i}${six ? 6 : 4} permit 10`,
      ...(path === undefined ? [] : [`set as-path prepend ${path}`]),
      ...(nextHop === undefined ? [] : [six ? `set ipv6 next-hop global ${nextHop}` : `set ip next-hop ${nextHop}`]),
      "exit",
      "router bgp 65000",
      `address-family ipv${six ? 6 : 4} unicast`,
      `${no} network ${prefix} route-map m${i}${six ? 6 : 4}`,
      "exit",
      "exit"
    ]
  }))

const learnedByBird = async (netns: string, family: 4 | 6) => [...(await kernelRoutes(netns, family, "bird")).keys()]

describe.concurrent("what a router announces of the node's prefixes", () => {
  it(
    "refuses the prefix when it is a part of it, with its name and the router's; holds a single address; and is over",
    async () => {
      const node = await open(BGP)
      await established(node, 2)
      await announce(node, [["10.42.0.128/25"], ["10.42.0.7/32"], ["2001:db8:100:0:8000::/66", "65009"]])
      const is = await until("both conflicts", async () => {
        const { 4: four, 6: six } = await conflicts(node)
        return four !== undefined && six !== undefined ? [four, six] : undefined
      }, 30)
      assert.deepStrictEqual(is, [
        "spec.cidr4 10.42.0.0/24 contains 10.42.0.128/25, to which 198.51.100.1 (AS 65000) has a route that leads elsewhere, " +
        "where AS 65000 announces it",
        "spec.cidr6 2001:db8:100::/64 contains 2001:db8:100:0:8000::/66, to which 2001:db8:ffff::1 (AS 65000) has a route that " +
        "leads elsewhere, where AS 65009 announces it"
      ])
      const held = [...(await occupied(node)).held[4]].map(([value, is]) => [formatAddress({ family: 4, value }), is])
      assert.deepStrictEqual(held, [["10.42.0.7", "announced to this node by 198.51.100.1 (AS 65000)"]])
      // Nothing of it is in the kernel, nor counted as learned.
      assert.deepStrictEqual(await learnedByBird(node.netns, 4), ["10.42.0.0/24"])
      assert.deepStrictEqual(await learnedByBird(node.netns, 6), ["2001:db8:100::/64"])
      const { peers } = await Effect.runPromise(node.bird.status)
      assert.deepStrictEqual(peers.map(({ ipv4, ipv6 }) => ipv4.learned + ipv6.learned), [0, 0])
      await has(node, 4)
      await announce(node, [["10.42.0.128/25"], ["10.42.0.7/32"], ["2001:db8:100:0:8000::/66", "65009"]], "no")
      await until("it is over", async () => Object.keys(await conflicts(node)).length === 0, 30)
      assert.strictEqual((await occupied(node)).held[4].size, 0)
    },
    90_000
  )

  it(
    "is no conflict where it is wider, the default route, the node's own given back, the router's static, or shared",
    async () => {
      const node = await open(BGP)
      await established(node, 2)
      const setOf = (more: object) =>
        nodeConfig({
          bgp: { ...BGP, advertise: ["10.42.0.192/26"] },
          cidr6: "2001:db8:100::/64",
          cidr4: "10.42.0.0/24",
          ...more
        }, "node1")
      await Effect.runPromise(node.facts.kube.setNodeConfig({
        current: Option.some(setOf({ anycast: { allowedCIDRs: ["10.42.0.64/26", "2001:db8:100::a:0/112"] } }))
      }))
      await Effect.runPromise(node.bird.requestReload)
      await announce(node, [
        ["10.42.0.0/16", "65009"],
        ["2001:db8:100::/56", "65009"],
        // This node's AS number behind the router's: its own announcement, as far as anybody can tell.
        ["10.42.0.0/24", "65001"],
        ["10.42.0.192/26", "65001"],
        // The router's own.
        ["2001:db8:100::/64"],
        ["10.42.0.66/32", "65009"],
        ["2001:db8:100::a:1/128", "65009"],
        ["10.43.0.0/24", "65009"],
        // And one that is, so that waiting has an end.
        ["10.42.0.8/32", "65009"]
      ])
      await until("the single address is held", async () => (await occupied(node)).held[4].size > 0, 30)
      assert.deepStrictEqual(await conflicts(node), {})
      assert.strictEqual((await occupied(node)).held[4].size, 1)
      assert.strictEqual((await occupied(node)).held[6].size, 0)
    },
    90_000
  )

  it.each(
    [
      ["another AS", [["10.42.0.0/24", "65009"], ["2001:db8:100::/64", "65009"]]],
      ["another node of its AS, by the next hop", [
        ["10.42.0.0/24", "65001", node4(7)],
        ["2001:db8:100::/64", "65001", node6(7)]
      ]]
    ] as const
  )("refuses the prefix when the whole of it comes from %s", async (_, prefixes) => {
    const node = await open({ ...BGP, importCIDRs: ["0.0.0.0/0", "::/0"] })
    await established(node, 2)
    await announce(node, prefixes)
    const is = await until("both conflicts", async () => {
      const { 4: four, 6: six } = await conflicts(node)
      return four !== undefined && six !== undefined ? [four, six] : undefined
    }, 30)
    assert.match(is[0] ?? "", /^spec\.cidr4 10\.42\.0\.0\/24 is another node's too: 198\.51\.100\.1 \(AS 65000\) has/)
    assert.match(
      is[1] ?? "",
      /^spec\.cidr6 2001:db8:100::\/64 is another node's too: 2001:db8:ffff::1 \(AS 65000\) has/
    )
    // What else the router has is learned as ever, and the node's own prefix leads to no router.
    await until("a learned route", async () => (await learnedByBird(node.netns, 4)).includes("203.0.113.0/24"))
    assert.notInclude([...(await kernelRoutes(node.netns, 4, "bird")).get("10.42.0.0/24") ?? []], "198.51.100.1")
  }, 90_000)

  it("is another node's where a route reflector says so, and not where the reflector has it itself", async () => {
    const nodes = [world.netns("node"), world.netns("node")] as const
    const lan = await Lan.open(world, { router: "frr", nodes, asns: [65000, 65000] })
    await lan.configure(
      "router bgp 65000",
      "address-family ipv4 unicast",
      ...[0, 1].map((i) => `neighbor ${node4(i)} route-reflector-client`),
      "exit",
      // Its own, of the IPv6 prefix that both nodes have too.
      "address-family ipv6 unicast",
      "network 2001:db8:100::/64"
    )
    const bgp = { asn: 65000, peers: [peer6, peer4] }
    const started = await Promise.all(
      nodes.map((netns, i) =>
        startNode(world, netns, bgp, [hostInterface("uplink", [`${node6(i)}/64`, `${node4(i)}/24`])])
      )
    )
    const said = await until("one of them is told of the other", async () => {
      const all = await Promise.all(started.map((node) => conflicts(node)))
      return all.some((of) => of[4] !== undefined) ? all : undefined
    }, 40)
    assert.deepStrictEqual(said.map((of) => of[6]), [undefined, undefined])
    assert.lengthOf(said.filter((of) => of[4] !== undefined), 1)
    assert.match(
      said.find((of) => of[4] !== undefined)?.[4] ?? "",
      /is another node's too: 198\.51\.100\.1 \(AS 65000\) has/
    )
  }, 90_000)

  it(
    "two nodes have one prefix: one of them gives no pod an address any more, and says why; its pods go on; and it is over",
    async () => {
      const network = await Network.open(world, { nodes: 2 })
      const pods = [await network.node(0).attachedPod(), await network.node(1).attachedPod()]
      // One AS number for all nodes, as most have it; the router keeps next hops on its LAN.
      network.node(1).writeNodeConfig({ ...nodeSpec(1), cidr4: cidr4(0) })
      const conflictsOf = async (i: number) => (await network.node(i).status()).nodeConfig.conflicts ?? []
      const refused = await until("one of them is told of the other", async () => {
        const all = [await conflictsOf(0), await conflictsOf(1)]
        const i = all.findIndex((list) => list.length > 0)
        return i === -1 ? undefined : { i, words: all[i]?.[0] ?? "", both: all.every((list) => list.length > 0) }
      }, 40)
      assert.isFalse(refused.both)
      assert.strictEqual(
        refused.words,
        `spec.cidr4 ${
          cidr4(0)
        } is another node's too: 198.51.100.1 (AS 65000) has a route to it that leads elsewhere, where ` +
          "AS 65001 announces it"
      )
      const node = network.node(refused.i)
      const { code, json } = await node.cni("ADD", await node.pod())
      assert.strictEqual(code, 1)
      assert.include(json.msg, refused.words)
      assert.strictEqual((await node.cni("STATUS")).code, 0)
      assert.include(await node.metrics("/readyz"), refused.words)
      assert.include((await node.tool("status")).stdout, `no new pod gets an address: ${refused.words}`)
      const doctor = (await node.tool("doctor", "--json")).stdout
      assert.include(doctor, "prefix-conflict")
      assert.include(doctor, refused.words)
      assert.include(node.readLog(), refused.words)
      // Pods that run keep theirs.
      const pod = pods[refused.i]
      assert.isTrue(await node.ping(pod?.netns ?? "", node4(refused.i)))
      const own = (await node.status()).allocations[0]
      const why = await node.tool("why", own?.ipv4 ?? "")
      // Of the second node the pod has an address of the prefix before.
      if (refused.i === 0) assert.include(why.stdout, `packets to it may go elsewhere: ${refused.words}`)
      else assert.notInclude(why.stdout, "packets to it may go elsewhere")
      network.node(1).writeNodeConfig({ ...nodeSpec(1), cidr4: cidr4(1), cidr6: cidr6(1) })
      await until("it is over", async () => (await conflictsOf(refused.i)).length === 0, 40)
      assert.strictEqual((await node.cni("ADD", await node.pod())).code, 0)
    },
    120_000
  )
})
