/** Learned routes that BIRD cannot use, from an FRR that names a third router as next hop; and a port that is taken. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { AgentNode } from "../../lab/AgentNode.ts"
import { run } from "../../lab/exec.ts"
import { kernelRoutes, node6, ROUTER6, ROUTER_LOOPBACK } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { type BirdNode, closeAll, established, open, peer6 } from "./birdNode.ts"

afterEach(closeAll)

const announce = ["2001:db8:e:1::/64", "2001:db8:e:2::/64", "2001:db8:f:1::/64"]
const importCIDRs = ["2001:db8:e::/48"]

/** The router says that its routes lead to another, or no longer. */
const thirdParty = ({ lan }: BirdNode, no = "") =>
  lan.configure(
    "route-map elsewhere permit 10",
    "set ipv6 next-hop global 2001:db8:dead::1",
    "exit",
    "router bgp 65000",
    "address-family ipv6 unicast",
    `${no} neighbor ${node6(0)} route-map elsewhere out`
  )

const unusable = async ({ bird }: BirdNode, count: number | undefined) =>
  until(`${count} unusable`, async () => {
    const [peer] = (await Effect.runPromise(bird.status)).peers
    if (peer?.unusable?.count !== count) throw new Error(JSON.stringify(peer))
    return peer
  }, 30)

describe("learned routes whose next hop is not reachable", () => {
  it("are named where BIRD drops them, and no longer when the router mends it", async () => {
    const node = await open({ asn: 65001, importCIDRs, peers: [peer6] }, { announce })
    await established(node, 1)
    await until("learned", async () => (await kernelRoutes(node.netns, 6, "bird")).has("2001:db8:e:1::/64"))
    await thirdParty(node)
    const { unusable: said } = await unusable(node, 2)
    assert.sameMembers([...said?.examples ?? []], ["2001:db8:e:1::/64", "2001:db8:e:2::/64"])
    assert.include(said?.reason, "address 2001:db8:dead::1 not directly reachable")
    assert.isFalse((await kernelRoutes(node.netns, 6, "bird")).has("2001:db8:e:1::/64"))
    await thirdParty(node, "no")
    await unusable(node, undefined)
  })

  it("are named where BIRD keeps them as unreachable, behind a multihop session", async () => {
    const peer = { ...peer6, address: ROUTER_LOOPBACK, multihop: 3 }
    const node = await open({ asn: 65001, importCIDRs, peers: [peer] }, { announce, multihop: true })
    await run("ip", "-n", node.netns, "-6", "route", "replace", `${ROUTER_LOOPBACK}/128`, "via", ROUTER6)
    await established(node, 1)
    await thirdParty(node)
    // A default route would resolve anything.
    await run("ip", "-n", node.netns, "-6", "route", "del", "default")
    const { unusable: said } = await unusable(node, 2)
    assert.include(said?.reason, "not reachable")
    // In the kernel it would drop what the node's own default route carries.
    const learned = await kernelRoutes(node.netns, 6, "bird")
    assert.isFalse(learned.has("2001:db8:e:1::/64") || learned.has("2001:db8:e:2::/64"), [...learned].join())
    await thirdParty(node, "no")
    await run("ip", "-n", node.netns, "-6", "route", "add", "default", "via", ROUTER6)
    await until("learned", async () => (await kernelRoutes(node.netns, 6, "bird")).has("2001:db8:e:1::/64"), 30)
  })
})

describe("port 179", () => {
  const world = new World()
  afterEach(() => world.close())

  it("taken by another process is said with its name, by the peer and by doctor", async () => {
    const peers = [{ address: "2001:db8:ffff::2", asn: 65000 }]
    const node = await AgentNode.open(world, {
      flags: [],
      spec: { cidr6: "2001:db8:77::/64", bgp: { asn: 65001, peers } }
    })
    await node.ip("link", "add", "uplink", "type", "veth", "peer", "name", "router")
    for (const link of ["uplink", "router"]) await node.ip("link", "set", link, "up")
    await node.ip("addr", "add", "2001:db8:ffff::3/64", "dev", "uplink", "nodad")
    const listening =
      "import socket, time; s = socket.create_server(('::', 179), family=socket.AF_INET6); time.sleep(600)"
    const other = world.spawn(["python3", "-c", listening], { netns: node.netns, log: `${node.directory}/other.log` })
    await until("it listens", async () => (await node.inside("ss", "-ltn")).includes(":179"))
    await node.start()
    await node.startBird()
    const [peer] = await until("the peer's problem", async () => {
      const { bird: { peers } } = await node.status()
      if (peers[0]?.problem === undefined) throw new Error(JSON.stringify(peers))
      return peers
    })
    assert.strictEqual(
      peer?.problem,
      `BIRD cannot listen on port 179, which is taken by python3 (process ${other.pid}); ` +
        "the session is tried again until it is free"
    )
    assert.include((await node.tool("doctor")).stdout, `python3 (process ${other.pid})`)
  })
})
