/** What the host sends elsewhere is passed over, and a prefix that the node's network uses is given to no pod. */
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { addressesOf } from "../../lab/cni.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.open(world, { spec: DUAL })
  await node.start()
})
afterEach(() => world.close())

const added = async (): Promise<string> =>
  addressesOf(await node.add(await node.pod())).find((it) => it.includes(".")) ?? ""

const free = async (): Promise<number> => (await node.status()).usage.ipv4?.free ?? -1

describe("an address that the host sends elsewhere", () => {
  it.each([
    ["a route", "ip route add 10.77.0.2/32 dev lo"],
    ["an unreachable route", "ip route add unreachable 10.77.0.2/32"],
    ["an address of the node", "ip address add 10.77.0.2/32 dev lo"]
  ])("is passed over by the first ADD after it has come: %s", async (_, command) => {
    const before = await free()
    await node.inside("sh", "-c", command)
    assert.strictEqual(await added(), "10.77.0.3")
    assert.strictEqual(await added(), "10.77.0.4")
    assert.strictEqual(await free(), before - 3)
    assert.deepInclude((await node.status()).usage.ipv4, { used: 2, held: 1 })
    assert.match(await node.metrics(), /flock_addresses\{family="ipv4",state="held"\} 1/)
    const log = node.readLog()
    assert.isAtMost(log.split("no pod gets it").length - 1, 1)
    // A pod that names it is told so.
    node.writePod("fixed", { uid: "u", annotations: { cidr4: "10.77.0.2/32" } })
    await until("the pod is known", async () => {
      const { code, json } = await node.cni("ADD", await node.pod(), { pod: "fixed", uid: "u" })
      assert.notStrictEqual(code, 0)
      return /10\.77\.0\.2 is in use by the host/.test(json.msg)
    })
  })

  it("are many, and every ADD still finds one that is free", async () => {
    await node.inside("sh", "-c", "for i in $(seq 2 60); do ip route add 10.77.0.$i/32 dev lo; done")
    const first = await node.cni("ADD", await node.pod())
    // The node's network is looked at once a second at most: until then each ADD passes over some.
    await until("ADD passes over all", async () => (await node.cni("ADD", await node.pod())).code === 0)
    assert.isTrue(first.code === 0 || /is in use on the host/.test(first.json.msg), JSON.stringify(first.json))
    const given = (await node.status()).allocations.map(({ ipv4 }) => Number(ipv4?.split(".")[3]))
    for (const last of given) assert.isAbove(last, 60)
  })

  it("is free again when the host lets go of it", async () => {
    await node.inside("sh", "-c", "ip address add 10.77.0.2/32 dev lo")
    await until("it is held", async () => (await node.status()).usage.ipv4?.held === 1)
    await node.inside("sh", "-c", "ip address del 10.77.0.2/32 dev lo")
    await until("it is free", async () => (await node.status()).usage.ipv4?.held === undefined)
    assert.strictEqual(await added(), "10.77.0.2")
  })
})

describe("a prefix that the node's network uses", () => {
  const conflict = async () => (await node.status()).nodeConfig.conflicts?.[0]

  it("is given to no new pod, wherever it comes from and whenever, and pods that run stay", async () => {
    const pod = await node.attachedPod()
    await node.inside(
      "sh",
      "-c",
      "ip link add br7 type bridge; ip address add 10.77.0.200/25 dev br7; ip link set br7 up"
    )
    await until("the conflict is seen", async () => (await conflict()) !== undefined)
    const words = "spec.cidr4 10.77.0.0/24 overlaps 10.77.0.128/25, to which this node is connected (br7)"
    assert.strictEqual(await conflict(), words)
    const { code, json } = await node.cni("ADD", await node.pod())
    assert.strictEqual(code, 1)
    assert.include(json.msg, words)
    assert.isTrue(await node.ping(pod.netns, "198.51.100.1"))
    assert.strictEqual((await node.cni("STATUS")).code, 0)
    assert.include(await node.metrics("/readyz"), words)
    assert.include((await node.tool("doctor", "--json")).stdout, "prefix-conflict")
    assert.include(node.readLog(), words)
    await node.inside("ip", "link", "del", "br7")
    await until("it is over", async () => (await conflict()) === undefined)
    assert.notStrictEqual(await added(), "")
  })

  it("is refused as it arrives, with the names of both", async () => {
    await node.inside(
      "sh",
      "-c",
      "ip link add br7 type bridge; ip address add 10.78.0.1/24 dev br7; ip link set br7 up"
    )
    node.writeNodeConfig({ ...DUAL, cidr4: "10.78.0.0/16" })
    await until("the conflict is seen", async () => (await conflict())?.includes("10.78.0.0/24") === true)
    // A pod that does without IPv4 starts.
    node.writePod("six", { uid: "u", annotations: { ipv4: "false" } })
    await until(
      "a pod without IPv4",
      async () => (await node.cni("ADD", await node.pod(), { pod: "six", uid: "u" })).code === 0
    )
  })

  it("is not one that holds a pod's route to somewhere", async () => {
    const pod = await node.attachedPod()
    const [link = ""] = (await node.links()).filter((name) => name.startsWith("flock"))
    await node.inside("ip", "route", "add", "203.0.113.64/26", "via", pod.v4, "dev", link, "onlink")
    await node.inside("ip", "link", "add", "br7", "type", "bridge")
    await node.inside("ip", "address", "add", "192.0.2.1/24", "dev", "br7")
    assert.notStrictEqual(await added(), "")
    assert.isUndefined(await conflict())
  })
})
