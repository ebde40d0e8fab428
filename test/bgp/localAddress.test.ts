/** Which address a session has, and that it keeps it: a real agent and BIRD, FRR as the router. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { AgentNode } from "../../lab/AgentNode.ts"
import { ip } from "../../lab/exec.ts"
import { Lan, node4, node6, ROUTER4, ROUTER6, ROUTER_ASN } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
afterEach(() => world.close())

const FAMILIES = [6, 4] as const

const open = async (bgp: object = {}) => {
  const peers = [ROUTER6, ROUTER4].map((address) => ({ address, asn: ROUTER_ASN, holdTimeSeconds: 9 }))
  const node = await AgentNode.open(world, {
    flags: [],
    spec: { cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24", bgp: { asn: 65001, peers, ...bgp } }
  })
  const lan = await Lan.open(world, { router: "frr", nodes: [node.netns] })
  await node.start()
  await node.startBird()
  return { node, lan }
}

const local = (family: 4 | 6) => family === 6 ? node6(0) : node4(0)

/** What the router says: how often each session came up, and with which router ID. */
const seen = async (lan: Lan, families: ReadonlyArray<4 | 6> = FAMILIES) =>
  Promise.all(families.map(async (family) => {
    const neighbor = (await lan.vtysh(`show bgp neighbors ${local(family)} json`))[local(family)]
    return {
      state: String(neighbor.bgpState),
      times: Number(neighbor.connectionsEstablished),
      routerId: String(neighbor.remoteRouterId)
    }
  }))

/** By the word of both sides. */
const established = ({ lan, node }: { readonly lan: Lan; readonly node: AgentNode }, families = [...FAMILIES]) =>
  until("the router has the sessions", async () => {
    const sessions = await seen(lan, families)
    const { peers } = (await node.status()).bird
    if ([...sessions, ...peers].some(({ state }) => state !== "Established")) {
      throw new Error(JSON.stringify([sessions, peers]))
    }
    return sessions
  }, 30)

/** The agent looks 500 ms after a change at the latest, and BIRD takes a moment. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 1500))

const add = (node: AgentNode, address: string, ...more: ReadonlyArray<string>) =>
  node.ip("addr", "add", address, "dev", "uplink", ...address.includes(":") ? ["nodad"] : [], ...more)

/** Filters follow the node's networks; that touches no session. */
const sessionsOf = (node: AgentNode): string => node.readConf().slice(node.readConf().indexOf("protocol bgp"))

const ends = async (node: AgentNode) => (await node.status()).bird.peers.map(({ localAddress }) => localAddress)

/** All of them lower than the node's own. */
const COMERS: ReadonlyArray<ReadonlyArray<string>> = [
  // keepalived's, with the subnet's mask.
  ["198.51.100.5/24"],
  ["2001:db8:ffff::5/64"],
  // Of a lease, and of a router's advertisement.
  ["198.51.100.6/32", "valid_lft", "900", "preferred_lft", "600"],
  ["2001:db8:ffff::6/64", "valid_lft", "900", "preferred_lft", "600"],
  ["2001:db8:ffff::7/64", "preferred_lft", "0"]
]

describe("an address of a session", () => {
  it("stays, and the router ID with it, while lower ones come: VIPs, leases, advertisements; over agent and BIRD", async () => {
    const { lan, node } = await open()
    const before = await established({ lan, node })
    assert.deepStrictEqual(before.map(({ routerId }) => routerId), [node4(0), node4(0)])
    for (const [address = "", ...more] of COMERS) await add(node, address, ...more)
    await settle()
    assert.deepStrictEqual(await seen(lan), before)
    assert.deepStrictEqual(await ends(node), FAMILIES.map(local))
    // The next agent has what the one before it kept.
    await node.stop("SIGKILL")
    await node.start()
    await settle()
    assert.deepStrictEqual(await seen(lan), before)
    // With no sessions there are to take it from.
    await node.stop()
    await node.stopBird("SIGKILL")
    await node.start()
    await node.startBird()
    await established({ lan, node })
    assert.deepStrictEqual(await ends(node), FAMILIES.map(local))
    assert.deepStrictEqual((await seen(lan)).map(({ routerId }) => routerId), [node4(0), node4(0)])
  })

  it("is on BIRD's word where nothing was kept, as after an update of the agent", async () => {
    const { lan, node } = await open()
    const before = await established({ lan, node })
    await node.stop()
    const file = join(node.directory, "state", "bgp.json")
    assert.include(readFileSync(file, "utf8"), `"local":"${node6(0)}"`)
    await node.inside("rm", file)
    for (const address of ["2001:db8:ffff::5/64", "198.51.100.5/25"]) await add(node, address)
    await node.start()
    await settle()
    assert.deepStrictEqual(await seen(lan), before)
    assert.include(readFileSync(file, "utf8"), `"routerId":"${node4(0)}"`)
  })

  it("is one that stays where several could be it", async () => {
    const { lan, node } = await open({ peers: [] })
    for (const [address = "", ...more] of COMERS.filter(([address]) => address !== "2001:db8:ffff::5/64")) {
      await add(node, address, ...more)
    }
    const peers = [ROUTER6, ROUTER4].map((address) => ({ address, asn: ROUTER_ASN, holdTimeSeconds: 9 }))
    node.writeNodeConfig({ cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24", bgp: { asn: 65001, peers } })
    const sessions = await established({ lan, node })
    assert.deepStrictEqual(sessions.map(({ times }) => times), [1, 1])
    assert.deepStrictEqual(await ends(node), FAMILIES.map(local))
  })

  it("is waited for where it goes for a moment, and given up for another one of the network", async () => {
    const { lan, node } = await open()
    await established({ lan, node })
    const text = sessionsOf(node)
    await node.ip("addr", "del", `${node6(0)}/64`, "dev", "uplink")
    await until("said", async () => {
      const { problem } = (await node.status()).bird.peers[0] ?? {}
      return problem?.includes(`${node6(0)}, which the session has, is gone from uplink; the session waits for it`)
    })
    assert.strictEqual(sessionsOf(node), text)
    await add(node, `${node6(0)}/64`)
    await established({ lan, node })
    await until("nothing is said", async () => (await node.status()).bird.peers[0]?.problem === undefined)
    assert.strictEqual(sessionsOf(node), text)
    // The node's network is numbered anew: the router knows both.
    const other = "2001:db8:ffff::77"
    await lan.configure(
      "router bgp 65000",
      `neighbor ${other} remote-as 65001`,
      `neighbor ${other} timers connect 1`,
      "address-family ipv6 unicast",
      `neighbor ${other} activate`
    )
    await add(node, `${other}/64`)
    await settle()
    assert.strictEqual(sessionsOf(node), text)
    await node.ip("addr", "del", `${node6(0)}/64`, "dev", "uplink")
    await until(
      "the session is another",
      async () => (await lan.vtysh(`show bgp neighbors ${other} json`))[other].bgpState === "Established",
      30
    )
    // The other session, and the router ID, are as they were.
    assert.deepStrictEqual((await seen(lan, [4])).map(({ times }) => times), [1])
  })

  it("of the other family's next hop stays too", async () => {
    const peers = [{ address: ROUTER6, asn: ROUTER_ASN, holdTimeSeconds: 9 }]
    const { lan, node } = await open({ peers })
    const before = await established({ lan, node }, [6])
    const hop = async () => (await lan.bgpTable(4)).get("10.42.0.0/24")
    await until("the IPv4 prefix", async () => (await hop()) !== undefined)
    assert.deepStrictEqual(await hop(), [node4(0)])
    // Another mask: not secondary.
    await add(node, "198.51.100.5/25")
    await settle()
    assert.deepStrictEqual(await hop(), [node4(0)])
    await node.stop()
    await node.start()
    await settle()
    assert.deepStrictEqual(await hop(), [node4(0)])
    assert.deepStrictEqual(await seen(lan, [6]), before)
  })

  it("is the one that the operator names, on lo, once the node has it", async () => {
    const own = "192.0.2.11"
    const peer = { address: ROUTER4, asn: ROUTER_ASN, holdTimeSeconds: 9, multihop: 2, localAddress: own }
    const { lan, node } = await open({ peers: [peer] })
    await until("said", async () => {
      const { problem } = (await node.status()).bird.peers[0] ?? {}
      return problem === `spec.bgp.peers[0].localAddress: "${own}": the node does not have it; the session waits`
    })
    await lan.configure(
      "router bgp 65000",
      `neighbor ${own} remote-as 65001`,
      `neighbor ${own} ebgp-multihop 2`,
      `neighbor ${own} timers connect 1`,
      "address-family ipv4 unicast",
      `neighbor ${own} activate`
    )
    await ip(lan.router, "route", "add", `${own}/32`, "via", node4(0))
    await node.ip("addr", "add", `${own}/32`, "dev", "lo")
    const { localAddress, problem } = await until("the session", async () => {
      const [peer] = (await node.status()).bird.peers
      if (peer?.state !== "Established") throw new Error(JSON.stringify(peer))
      return peer
    }, 30)
    assert.strictEqual(localAddress, own)
    assert.isUndefined(problem)
    assert.include((await node.tool("status")).stdout, own)
    await until("the prefix", async () => (await lan.bgpTable(4)).has("10.42.0.0/24"))
    assert.deepStrictEqual((await lan.bgpTable(4)).get("10.42.0.0/24"), [own])
    await until("the router's kernel", async () => (await lan.kernelRoutes(4)).get("10.42.0.0/24")?.[0] === node4(0))
  })
})
