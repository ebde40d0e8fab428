/** Unnumbered sessions with FRR's `neighbor … interface remote-as external`: a node without an IPv4 address on two leaves. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { AgentNode, type Attached } from "../../lab/AgentNode.ts"
import { Fabric, leafAsn } from "../../lab/Fabric.ts"
import { CLIENT4, CLIENT6, kernelRoutes } from "../../lab/Lan.ts"
import { cidr4, cidr6, nodeSpec } from "../../lab/Network.ts"
import { ping } from "../../lab/ping.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const importCIDRs = ["::/0", "0.0.0.0/0"]
const peers = [
  { interface: "uplink0", asn: leafAsn(0), holdTimeSeconds: 9 },
  { interface: "uplink1", asn: "external", holdTimeSeconds: 9 }
]

describe("unnumbered", () => {
  const world = new World()
  let node: AgentNode
  let fabric: Fabric
  let pod: Attached

  const spineWays = (count: number, seconds = 30) =>
    until(`${count} ways to the node in the spine`, async () => {
      const six = (await fabric.spine.kernelRoutes(6)).get(cidr6(0))
      const four = (await fabric.spine.kernelRoutes(4)).get(cidr4(0))
      return six?.length === count && four?.length === count
    }, seconds)

  beforeAll(async () => {
    node = await AgentNode.open(world, { flags: [], spec: nodeSpec(0, { importCIDRs, peers }) })
    fabric = await Fabric.open(world, { nodes: [node.netns], numbered: false })
    await node.start()
    await node.startBird()
    await spineWays(2)
    await until(
      "default routes",
      async () =>
        (await kernelRoutes(node.netns, 6, "bird")).has("default") &&
        (await kernelRoutes(node.netns, 4, "bird")).has("default")
    )
    pod = await node.attachedPod()
  })
  afterAll(() => world.close())

  it("carries both families both ways, without an IPv4 address on any link", async () => {
    for (const target of [pod.v6, pod.v4]) {
      assert.strictEqual((await ping(fabric.client, target, 5)).received, 5, target)
    }
    for (const target of [CLIENT6, CLIENT4]) {
      assert.strictEqual((await ping(pod.netns, target, 5)).received, 5, target)
    }
  })
})
