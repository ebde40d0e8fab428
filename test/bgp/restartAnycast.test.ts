/**
 * An anycast address over a restart of BIRD. It is a kernel route that BIRD learns, not one of its configuration: BIRD must
 * have learned it before it tells a router that it has said everything (End-of-RIB, RFC 4724), or the router lets go of it.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { ANYCAST4, ANYCAST6, Network, nodeSpec, peers } from "../../lab/Network.ts"
import { pinging } from "../../lab/ping.ts"
import { RouteMonitor } from "../../lab/RouteMonitor.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const ANYCAST = [ANYCAST6, ANYCAST4] as const
/** In the node's network, and nobody's: BIRD waits for it in its graceful recovery. */
const NOBODY = { address: "198.51.100.200", asn: 65099 }

describe("an anycast address over a restart of BIRD", () => {
  const world = new World()
  let network: Network

  beforeAll(async () => {
    network = await Network.open(world, { router: "frr", nodes: 1 })
    const node = network.node(0)
    node.writeNodeConfig(nodeSpec(0, { peers: [...peers(), NOBODY] }))
    const pod = await network.pod(0, "held", { anycast: ANYCAST })
    pod.set({ ready: true })
  }, 60_000)
  afterAll(() => world.close())

  it("stays with the routers that are there, though another one is not", async () => {
    const node = network.node(0)
    const established = () =>
      until("two sessions Established", async () => {
        const { bird } = await node.status()
        return bird.peers.filter(({ state }: { readonly state: string }) => state === "Established").length === 2
      }, 20)
    await established()
    for (const address of ANYCAST) await network.ways(address, 1)
    const monitor = await RouteMonitor.open(world, network.lan.router)
    const pings = ANYCAST.map((address) => pinging(network.lan.client, address))
    await sleep(300)
    for (let i = 0; i < 2; i++) {
      await node.stopBird("SIGKILL")
      await sleep(500)
      await node.startBird()
      await established()
      // BIRD gives up waiting after 5 s.
      await sleep(7000)
    }
    const results = await Promise.all(pings.map((it) => it.stop()))
    for (const { received, sent, text } of results) assert.strictEqual(received, sent, text.slice(-600))
    const deleted = monitor.events.filter((it) => it.deleted && ANYCAST.some((address) => address === it.destination))
    assert.deepStrictEqual(deleted, [])
  }, 90_000)
})
