/** A node on two leaves, a spine and a client behind them: traffic, and what is lost of it when a leaf or a link goes. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { AgentNode, type Attached } from "../../lab/AgentNode.ts"
import { Fabric, fabricPeers } from "../../lab/Fabric.ts"
import { CLIENT4, CLIENT6, kernelRoutes } from "../../lab/Lan.ts"
import { cidr4, cidr6, nodeSpec } from "../../lab/Network.ts"
import { ping } from "../../lab/ping.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const importCIDRs = ["::/0", "0.0.0.0/0"]

describe("two leaves", () => {
  const world = new World()
  let node: AgentNode
  let fabric: Fabric
  let pod: Attached

  beforeAll(async () => {
    node = await AgentNode.open(world, { flags: [], spec: nodeSpec(0, { importCIDRs, peers: fabricPeers(0) }) })
    fabric = await Fabric.open(world, { nodes: [node.netns] })
    await node.start()
    await node.startBird()
    await spineWays(2)
    await until("default routes", () => nodeDefaults())
    pod = await node.attachedPod()
  })
  afterAll(() => world.close())

  const spineWays = (count: number) =>
    until(`${count} ways to the node in the spine`, async () => {
      const six = (await fabric.spine.kernelRoutes(6)).get(cidr6(0))
      const four = (await fabric.spine.kernelRoutes(4)).get(cidr4(0))
      return six?.length === count && four?.length === count
    }, 30)

  const nodeDefaults = async () => {
    const [six, four] = await Promise.all(([6, 4] as const).map((family) => kernelRoutes(node.netns, family, "bird")))
    return six?.has("default") && four?.has("default")
  }

  it("carry traffic between client and pod, both families, both ways", async () => {
    for (const target of [pod.v6, pod.v4]) {
      assert.strictEqual((await ping(fabric.client, target, 5)).received, 5, target)
    }
    for (const target of [CLIENT6, CLIENT4]) {
      assert.strictEqual((await ping(pod.netns, target, 5)).received, 5, target)
    }
  })

  it("lose one of them and have it again", async () => {
    await fabric.leaf(0).kill()
    assert.isTrue(await spineWays(1))
    await fabric.leaf(0).revive()
    assert.isTrue(await spineWays(2))
  })
})
