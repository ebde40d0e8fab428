/**
 * A node whose default routes come from two leaves, and what it loses on its way out when one of them goes. What is lost on
 * the way in is the fabric's. All events, with BFD and without: `npm run bench -- --only leaves`.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { AGENT } from "../../lab/cni.ts"
import { enter, exec, ip } from "../../lab/exec.ts"
import { leafAsn, linkAddresses } from "../../lab/Fabric.ts"
import { CLIENT4, CLIENT6 } from "../../lab/Lan.ts"
import { LeafNode } from "../../lab/LeafNode.ts"
import { ping, pinging } from "../../lab/ping.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const outwards = async (lab: LeafNode, event: () => Promise<unknown>) => {
  const { out } = await lab.during(event)
  return [out.ipv6, out.ipv4]
}

const world = new World()
afterAll(() => world.close())

/** What holds with sessions of either kind. */
const common = (lab: () => LeafNode): void => {
  it("are one multipath route per family in the node's kernel, and nothing is lost at rest", async () => {
    assert.isTrue(await lab().nodeWays([0, 1]))
    for (const { lost, sent } of await outwards(lab(), () => sleep(500))) {
      assert.strictEqual(lost, 0)
      assert.isAbove(sent, 500)
    }
  })

  it("of which one loses its power: the node goes on by the other within 0.2 s", async () => {
    const gone = async () => {
      await lab().fabric.leaf(0).kill()
      await lab().nodeWays([1])
    }
    for (const { silence } of await outwards(lab(), gone)) assert.isBelow(silence, 200)
    const back = async () => {
      await lab().fabric.leaf(0).revive()
      await lab().nodeWays([0, 1])
    }
    for (const { silence } of await outwards(lab(), back)) assert.isBelow(silence, 200)
  })

  it("go on when BIRD is killed and started, though FRR says End-of-RIB before its routes", async () => {
    const { node } = lab()
    const kept = async () =>
      (await ip(node.netns, "route", "show", "default", "proto", "203")) +
      (await ip(node.netns, "-6", "route", "show", "default", "proto", "203"))
    const again = async () => {
      await node.stopBird("SIGKILL")
      await until("copies of both families", async () => (await kept()).match(/nexthop/g)?.length === 4)
      await node.startBird()
      await until(
        "new sessions",
        async () => (await node.status()).bird.peers.every(({ state }) => state === "Established"),
        30
      )
      await lab().nodeWays([0, 1])
    }
    for (const { lost } of await outwards(lab(), again)) assert.strictEqual(lost, 0)
  })
}

describe("two leaves, unnumbered", () => {
  let lab: LeafNode
  beforeAll(async () => {
    lab = await LeafNode.open(world, { unnumbered: true })
  })
  common(() => lab)
})

describe("two leaves", () => {
  let lab: LeafNode
  beforeAll(async () => {
    lab = await LeafNode.open(world)
  })
  common(() => lab)

  it("go on over a roll-out, which ends agent and BIRD together", async () => {
    const { node } = lab
    const rollOut = async () => {
      await Promise.all([node.stop(), node.stopBird("SIGKILL")])
      await node.startBird()
      await node.start()
      await until(
        "new sessions",
        async () => (await node.status()).bird.peers.every(({ state }) => state === "Established"),
        30
      )
      await lab.nodeWays([0, 1])
    }
    for (const { lost } of await outwards(lab, rollOut)) assert.strictEqual(lost, 0)
  })

  it("of which one's daemons end and leave it without routes: nothing stale stays on the node", async () => {
    const gone = async () => {
      await lab.fabric.leaf(1).stop()
      await lab.nodeWays([0])
    }
    for (const { silence } of await outwards(lab, gone)) assert.isBelow(silence, 500)
    await lab.fabric.leaf(1).run()
    assert.isTrue(await lab.whole())
  })

  it("of which one is about to be worked on (RFC 8326): its sessions stay, and nothing goes out by it", async () => {
    const shutdown = (no: string) =>
      lab.fabric.leaf(0).configure(`router bgp ${leafAsn(0)}`, `${no} bgp graceful-shutdown`)
    const drained = async () => {
      await shutdown("")
      await lab.nodeWays([1])
    }
    for (const { lost } of await outwards(lab, drained)) assert.strictEqual(lost, 0)
    const { bird } = await lab.node.status()
    assert.deepStrictEqual(bird.peers.map(({ state }) => state), Array.from({ length: 4 }, () => "Established"))
    await shutdown("no")
    assert.isTrue(await lab.nodeWays([0, 1]))
  })

  it("of which one loses the spine: it takes its default routes back, and the node sends nothing there", async () => {
    await lab.fabric.leaf(1).uplink("down")
    await lab.nodeWays([0])
    await lab.fabric.leaf(1).uplink("up")
    assert.isTrue(await lab.nodeWays([0, 1]))
  })

  it("let the node's own connections live on, with an address of its own on lo that is advertised", async () => {
    const { fabric, node: { netns } } = lab
    const [own6, own4] = ["2001:db8:fd::1", "192.0.2.250"]
    for (const own of [own6, own4]) await ip(netns, "addr", "add", own, "dev", "lo")
    lab.writeSpec({ advertise: [`${own6}/128`, `${own4}/32`] })
    for (const [target, own] of [[CLIENT6, own6], [CLIENT4, own4]] as const) {
      await until(
        `packets to ${target} are from ${own}`,
        async () => (await ip(netns, "route", "get", target)).includes(`src ${own}`),
        30
      )
      await until(`answers to ${own}`, async () => (await ping(netns, target)).received === 1, 30)
    }
    const pings = [pinging(netns, CLIENT6), pinging(netns, CLIENT4)]
    await sleep(200)
    await fabric.leaf(0).kill()
    await lab.nodeWays([1])
    await sleep(500)
    for (const each of pings) {
      const { received, sent } = await each.stop()
      assert.isBelow(sent - received, 30)
    }
    await fabric.leaf(0).revive()
    for (const own of [own6, own4]) await ip(netns, "addr", "del", own, "dev", "lo")
    lab.writeSpec({})
    assert.isTrue(await lab.whole())
  })

  it("go before the node's own default route where preferLearned says so, and no edit of that loses anything", async () => {
    const { node, node: { netns } } = lab
    // Nobody announces a narrower prefix.
    const targets = [["-6", "2001:db8:dddd::1"], ["-4", "192.0.2.200"]] as const
    const used = () =>
      Promise.all(targets.map(([family, target]) => ip(netns, family, "route", "get", "fibmatch", target)))
    const ofBird = async () =>
      (await Promise.all(targets.map(([family]) => ip(netns, family, "route", "show", "proto", "bird")))).join("")
    const { leaf4, leaf6 } = linkAddresses(1, 0)
    for (const via of [leaf6, leaf4]) await ip(netns, "route", "add", "default", "via", via, "metric", "300")
    assert.notInclude((await used()).join(), "bird")

    const edits = async () => {
      lab.writeSpec({ preferLearned: true })
      await until(
        "learned ones are first, and alone",
        async () =>
          (await used()).every((line) => line.includes("proto bird metric 16")) && !(await ofBird()).includes("65535"),
        30
      )
      assert.include(await ofBird(), "unreachable")
      lab.writeSpec({})
      await until(
        "the node's own are first, and nothing of the other metric is left",
        async () =>
          (await used()).every((line) => line.includes("metric 300")) && !(await ofBird()).includes("metric 16"),
        30
      )
    }
    for (const { lost } of await outwards(lab, edits)) assert.strictEqual(lost, 0)

    lab.writeSpec({ preferLearned: true })
    await ip(netns, "route", "add", "default", "via", leaf4)
    await until("doctor says which", async () => {
      const [program = "", ...args] = [...enter(netns), process.execPath, AGENT, "doctor", "--socket", node.socket]
      return (await exec(program, args)).stdout.includes("the node's own by uplink1 has metric 0")
    })
  })
})
