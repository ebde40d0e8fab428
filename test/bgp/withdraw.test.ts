/** A node that leaves: it is the routers' last choice first, then its sessions end. Two nodes, FRR, pings all along. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { node4, node6 } from "../../lab/Lan.ts"
import { ANYCAST4, ANYCAST6, cidr6, Network, nodeSpec } from "../../lab/Network.ts"
import { pinging } from "../../lab/ping.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { closeAll, established, has, open, peer6 } from "./birdNode.ts"

const world = new World()
afterEach(() => world.close())
afterEach(closeAll)

/** FRR's path to a destination by a node of the LAN. */
const pathBy = async (lab: Pick<Network, "lan">, destination: string, address: string) => {
  const family = destination.includes(":") ? 6 : 4
  const { paths = [] } = await lab.lan.vtysh(`show bgp ipv${family} unicast ${destination} json`)
  return paths.find(({ nexthops }: { readonly nexthops: ReadonlyArray<{ readonly ip: string }> }) =>
    nexthops.some(({ ip }) => ip === address)
  )
}

const stateOf = async ({ lan }: Network, address: string): Promise<string> =>
  (await lan.vtysh(`show bgp neighbors ${address} json`))[address].bgpState

describe("withdraw", () => {
  it("moves traffic to the other node first, then ends the sessions, and loses no packet", async () => {
    const lab = await Network.open(world, { nodes: 2 })
    const leaving = lab.node(0)
    leaving.writeNodeConfig(nodeSpec(0, { withdraw: { gracefulShutdownSeconds: 60, med: 4242 } }))
    for (const i of [0, 1]) (await lab.pod(i, `pod${i}`, { anycast: [ANYCAST6, ANYCAST4] })).set({ ready: true })
    for (const address of [ANYCAST6, ANYCAST4]) await lab.ways(address, 2)
    const pings = [ANYCAST6, ANYCAST4].map((address) => pinging(lab.lan.client, address, 5))
    await sleep(500)
    const withdrawn = leaving.tool("withdraw")
    const said = until("status says that it leaves", async () => {
      const { stdout } = await leaving.tool("status")
      return stdout.includes("leaving: everything is announced with GRACEFUL_SHUTDOWN")
    }, 30)
    for (const [address, node] of [[ANYCAST6, node6(0)], [ANYCAST4, node4(0)]] as const) {
      const path = await until("FRR's last choice", async () => {
        const path = await pathBy(lab, address, node)
        return path?.locPrf === 0 && path
      }, 30)
      assert.strictEqual(path.community.string, "graceful-shutdown")
      assert.strictEqual(path.metric, 4242)
      await lab.ways(address, 1)
      const now = await pathBy(lab, address, node)
      assert.deepStrictEqual([now.bestpath, now.multipath], [undefined, undefined], JSON.stringify(now))
      assert.strictEqual(await stateOf(lab, node), "Established")
    }
    // Its own prefix has no other way, so the last choice still carries it.
    assert.isTrue(await lab.isRouted(0))
    await said
    assert.include((await leaving.tool("why", ANYCAST6)).stdout, "announces with GRACEFUL_SHUTDOWN until then")
    // No need to wait for the end of the minute.
    assert.strictEqual((await leaving.tool("withdraw", "--now")).code, 0)
    const { code, stdout } = await withdrawn
    assert.strictEqual(code, 0)
    assert.match(stdout, /^peer_\w+: (already )?disabled$/m)
    await lab.routed(0, false, 10)
    await sleep(1000)
    for (const ping of pings) {
      const { received, sent, text } = await ping.stop()
      assert.isAbove(sent, 200)
      assert.strictEqual(received, sent, text)
      console.log(`withdraw: ${sent - received} of ${sent} pings lost`)
    }
    assert.strictEqual((await leaving.tool("restore")).code, 0)
    for (const address of [ANYCAST6, ANYCAST4]) await lab.ways(address, 2, 20)
    assert.notStrictEqual((await pathBy(lab, ANYCAST6, node6(0))).locPrf, 0)
    assert.isTrue((await lab.lan.kernelRoutes(6)).has(cidr6(0)))
  })

  it("is taken back by restore while it waits, and no session ends", async () => {
    const node = await open({ asn: 65001, peers: [peer6], withdraw: { gracefulShutdownSeconds: 60 } })
    const before = await established(node, 1)
    await has(node, 6)
    const withdrawn = Effect.runPromise(node.bird.withdrawAll(false))
    const path = () => pathBy(node, "2001:db8:100::/64", node6(0))
    await until("the last choice", async () => (await path())?.community?.string === "graceful-shutdown")
    await Effect.runPromise(node.bird.restoreAll)
    assert.deepStrictEqual(await withdrawn, [])
    await until("as before", async () => (await path())?.community === undefined)
    const after = await established(node, 1)
    assert.strictEqual(after.peers[0]?.since, before.peers[0]?.since)
  })

  it("asks with LOCAL_PREF within an AS", async () => {
    const peers = [{ ...peer6, asn: 65000 }]
    const node = await open({ asn: 65000, peers, withdraw: { gracefulShutdownSeconds: 60 } }, { asns: [65000] })
    await established(node, 1)
    await has(node, 6)
    const withdrawn = Effect.runPromise(node.bird.withdrawAll(false))
    const path = await until("the last choice", async () => {
      const path = await pathBy(node, "2001:db8:100::/64", node6(0))
      return path?.locPrf === 0 && path
    })
    assert.strictEqual(path.community.string, "graceful-shutdown")
    await Effect.runPromise(node.bird.withdrawAll(true))
    assert.lengthOf(await withdrawn, 1)
  })
})
