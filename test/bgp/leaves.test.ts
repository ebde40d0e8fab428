/**
 * A node whose default routes come from two leaves, and what it loses on its way out when one of them goes. What is lost on
 * the way in is the fabric's. All events, with BFD and without: `npm run bench -- --only leaves`.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { AgentNode, type Attached } from "../../lab/AgentNode.ts"
import { AGENT } from "../../lab/cni.ts"
import { enter, exec, ip } from "../../lab/exec.ts"
import { Fabric, fabricPeers, leafAsn, LEAVES, linkAddresses } from "../../lab/Fabric.ts"
import { type Direction, openFlows } from "../../lab/flows.ts"
import { kernelRoutes } from "../../lab/Lan.ts"
import { cidr4, cidr6, nodeSpec } from "../../lab/Network.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const importCIDRs = ["::/0", "0.0.0.0/0"]
const gateways = LEAVES.map((leaf) => linkAddresses(leaf, 0))

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
    await nodeWays([0, 1])
    pod = await node.attachedPod()
  })
  afterAll(() => world.close())

  const spineWays = (count: number) =>
    until(`${count} ways to the node in the spine`, async () => {
      const six = (await fabric.spine.kernelRoutes(6)).get(cidr6(0))
      const four = (await fabric.spine.kernelRoutes(4)).get(cidr4(0))
      return six?.length === count && four?.length === count
    }, 30)

  /** Waits until the node's default routes lead to exactly these leaves. */
  const nodeWays = (leaves: ReadonlyArray<number>) =>
    until(`default routes to leaves ${leaves.join()}`, async () => {
      const six = (await kernelRoutes(node.netns, 6, "bird")).get("default")?.toSorted().join()
      const four = (await kernelRoutes(node.netns, 4, "bird")).get("default")?.toSorted().join()
      return six === leaves.map((leaf) => gateways[leaf]?.leaf6).join() &&
        four === leaves.map((leaf) => gateways[leaf]?.leaf4).join()
    }, 30)

  /** What the node's answers suffered while `event` ran. */
  const during = async (event: () => Promise<unknown>): Promise<ReadonlyArray<Direction["back"]>> => {
    const flows = await openFlows(world, { from: fabric.client, to: pod.netns, addresses: [pod.v6, pod.v4] })
    await sleep(300)
    await event()
    await sleep(500)
    const { ipv4, ipv6 } = await flows.stop()
    return [ipv6.back, ipv4.back]
  }

  it("are one multipath route per family in the node's kernel, and nothing is lost at rest", async () => {
    assert.isTrue(await nodeWays([0, 1]))
    for (const { lost, sent } of await during(() => sleep(500))) {
      assert.strictEqual(lost, 0)
      assert.isAbove(sent, 500)
    }
  })

  it("of which one loses its power: the node goes on by the other within 0.2 s", async () => {
    for (
      const { silence } of await during(async () => {
        await fabric.leaf(0).kill()
        await nodeWays([1])
      })
    ) assert.isBelow(silence, 200)
    for (
      const { silence } of await during(async () => {
        await fabric.leaf(0).revive()
        await nodeWays([0, 1])
      })
    ) assert.isBelow(silence, 200)
    await spineWays(2)
  })

  it("of which one's daemons end and leave it without routes: nothing stale stays on the node", async () => {
    for (
      const { silence } of await during(async () => {
        await fabric.leaf(1).stop()
        await nodeWays([0])
      })
    ) assert.isBelow(silence, 500)
    await fabric.leaf(1).run()
    await nodeWays([0, 1])
    assert.isTrue(await spineWays(2))
  })

  it("of which one is about to be worked on (RFC 8326): its sessions stay, and nothing goes out by it", async () => {
    const shutdown = (no: string) => fabric.leaf(0).configure(`router bgp ${leafAsn(0)}`, `${no} bgp graceful-shutdown`)
    for (
      const { lost } of await during(async () => {
        await shutdown("")
        await nodeWays([1])
      })
    ) assert.strictEqual(lost, 0)
    const { bird } = await node.status()
    assert.deepStrictEqual(bird.peers.map(({ state }) => state), Array.from({ length: 4 }, () => "Established"))
    await shutdown("no")
    assert.isTrue(await nodeWays([0, 1]))
  })

  it("of which one loses the spine: it takes its default routes back, and the node sends nothing there", async () => {
    await fabric.leaf(1).uplink("down")
    await nodeWays([0])
    await fabric.leaf(1).uplink("up")
    assert.isTrue(await nodeWays([0, 1]))
  })

  it("go before the node's own default route where preferLearned says so, and nothing is lost when that is edited", async () => {
    const { netns } = node
    const edit = (preferLearned: boolean) =>
      node.writeNodeConfig(nodeSpec(0, { importCIDRs, preferLearned, peers: fabricPeers(0) }))
    // Nobody announces a narrower prefix.
    const used = async () => (await Promise.all(
      [["-6", "2001:db8:dddd::1"], ["-4", "192.0.2.200"]].map((words) =>
        ip(netns, words[0] ?? "", "route", "get", "fibmatch", words[1] ?? "")
      )
    ))
    const ofBird = async () =>
      (await Promise.all(["-6", "-4"].map((family) => ip(netns, family, "route", "show", "proto", "bird")))).join("")
    const { leaf4, leaf6 } = linkAddresses(1, 0)
    for (const via of [leaf6, leaf4]) await ip(netns, "route", "add", "default", "via", via, "metric", "300")
    assert.notInclude((await used()).join(), "bird")

    const edits = async () => {
      edit(true)
      await until(
        "learned ones are first, and alone",
        async () =>
          (await used()).every((line) => line.includes("proto bird metric 16")) && !(await ofBird()).includes("65535")
      )
      assert.include(await ofBird(), "unreachable")
      edit(false)
      await until(
        "the node's own are first, and nothing of the other metric is left",
        async () =>
          (await used()).every((line) => line.includes("metric 300")) && !(await ofBird()).includes("metric 16")
      )
    }
    for (const { lost } of await during(edits)) assert.strictEqual(lost, 0)

    edit(true)
    await ip(netns, "route", "add", "default", "via", leaf4)
    await until(
      "doctor says which",
      async () => {
        const [program = "", ...args] = [...enter(netns), process.execPath, AGENT, "doctor", "--socket", node.socket]
        return (await exec(program, args)).stdout.includes("the node's own by uplink1 has metric 0")
      }
    )
    await ip(netns, "route", "del", "default", "via", leaf4, "metric", "0")
    for (const via of [leaf6, leaf4]) await ip(netns, "route", "del", "default", "via", via, "metric", "300")
    edit(false)
    assert.isTrue(await nodeWays([0, 1]))
  })
})
