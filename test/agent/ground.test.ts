/** What a real agent holds against a hostile pod, and keeps holding: nftables, the links' settings, the gateway. */
import { Effect } from "effect"
import { afterAll, assert, beforeAll, describe, it } from "vitest"
import { AgentNode, type Attached, DUAL } from "../../lab/AgentNode.ts"
import { AGENT } from "../../lab/cni.ts"
import { exec, inside } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { Firewall } from "../../src/firewall/Firewall.ts"
import { openRaw, routerAdvertisement, udp } from "../kernel/packets.ts"

const world = new World()
const SPEC = { ...DUAL, antiSpoofingExemptNamespaces: ["default"] }
let node: AgentNode
let attacker: Attached
let victim: Attached
beforeAll(async () => {
  node = await AgentNode.open(world, { spec: SPEC })
  await node.start()
  attacker = await node.attachedPod()
  victim = await node.attachedPod()
})
afterAll(() => world.close())

/** Whether a packet of a pod's with this source reaches the victim. */
const passes = async (from: string, source: string): Promise<boolean> => {
  const [out, into] = [openRaw(from, "eth0"), openRaw(victim.netns, "eth0")]
  const text = `try ${Math.random()}`
  out.send(udp(source, source.includes(":") ? victim.v6 : victim.v4, 53, text))
  await new Promise((done) => setTimeout(done, 100))
  const heard = into.heardText(text)
  out.close()
  into.close()
  return heard
}

const linkOf = async (pod: string) =>
  (await node.status()).allocations.find(({ containerId }) => containerId === pod)?.hostIfName

describe("a real agent", () => {
  it("drops what is not a pod's own, and says so in status and metrics", async () => {
    assert.isTrue(await passes(attacker.netns, attacker.v4))
    assert.isTrue(await passes(attacker.netns, attacker.v6))
    assert.isFalse(await passes(attacker.netns, "203.0.113.1"))
    assert.isFalse(await passes(attacker.netns, "2001:db8:66::1"))
    const { antiSpoofing, drops } = await node.status()
    assert.deepStrictEqual(antiSpoofing, { state: "on", exempt: [] })
    assert.deepInclude(drops.find(({ reason }) => reason === "spoofed"), {
      hostIfName: (await linkOf(attacker.netns)) ?? "",
      packets: 2
    })
    assert.match((await node.tool("status")).stdout, /DROPPED FROM .*\n.*spoofed +2/)
    assert.match(await node.metrics(), /^flock_dropped_packets_total\{.*reason="spoofed"\} 2$/m)
  })

  it("believes no router advertisement", async () => {
    const link = openRaw(attacker.netns, "eth0")
    link.send(routerAdvertisement("fe80::66", victim.v6, 128), { everybody: true })
    link.close()
    await new Promise((done) => setTimeout(done, 200))
    assert.notMatch(await node.ip("-6", "route"), /proto ra/)
    assert.match(await node.ip("-6", "route"), new RegExp(`${victim.v6} dev ${await linkOf(victim.netns)} proto 200`))
  })

  it("puts its tables back when they are flushed, within a second", async () => {
    await Effect.runPromise(
      Effect.flatMap(Effect.service(Firewall), (firewall) => firewall.remove).pipe(
        Effect.provide(Firewall.layer({ netns: `/run/netns/${node.netns}` })),
        Effect.scoped
      )
    )
    await until("spoofed packets are dropped again", async () => !(await passes(attacker.netns, "203.0.113.1")), 1)
    await until("it is said", () => node.readLog().includes("somebody changed flock's nftables tables: restored"), 1)
  })

  it("answers for the gateway, also to a pod that has no neighbours left, and after somebody deleted its route", async () => {
    assert.match(await node.ip("route", "show", "table", "local", "proto", "200"), /local 10\.77\.0\.1 dev lo/)
    await inside(attacker.netns, "ip", "neigh", "flush", "dev", "eth0", "nud", "all")
    assert.isTrue(await node.ping(attacker.netns, "10.77.0.1"))
    assert.isTrue(await node.ping(attacker.netns, victim.v6))
    await node.ip("route", "del", "local", "10.77.0.1", "table", "local")
    await until(
      "it is back",
      async () => (await node.ip("route", "show", "table", "local", "proto", "200")).includes("10.77.0.1"),
      20
    )
  })

  it("exempts a pod that asks for it where the operator lists its namespace, while both say so", async () => {
    node.writePod("router", { uid: "u1", annotations: { "allow-spoofing": "true" } })
    const pod = await node.pod()
    await node.add(pod, { args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=router;K8S_POD_UID=u1" })
    await until("it may", () => passes(pod, "203.0.113.1"), 5)
    assert.isFalse(await passes(attacker.netns, "203.0.113.1"))
    assert.deepStrictEqual((await node.status()).antiSpoofing.exempt, ["default/router"])
    node.writeNodeConfig({ ...SPEC, antiSpoofingExemptNamespaces: ["other"] })
    await until("it may not", async () => !(await passes(pod, "203.0.113.1")), 5)
    node.writeNodeConfig(SPEC)
    await until("it may again", () => passes(pod, "203.0.113.1"), 5)
    node.writePod("router", { uid: "u1" })
    await until("it may no longer", async () => !(await passes(pod, "203.0.113.1")), 5)
  })

  it("switches it off and on by NodeConfig; a pod stays checked while the agent is away", async () => {
    node.writeNodeConfig({ ...SPEC, antiSpoofing: false })
    await until("off", () => passes(attacker.netns, "203.0.113.1"), 5)
    assert.strictEqual((await node.status()).antiSpoofing.state, "off")
    node.writeNodeConfig(SPEC)
    await until("on", async () => !(await passes(attacker.netns, "203.0.113.1")), 5)
    await node.stop("SIGKILL")
    assert.isFalse(await passes(attacker.netns, "203.0.113.1"))
    await node.start()
    assert.isFalse(await passes(attacker.netns, "203.0.113.1"))
    assert.isTrue(await passes(attacker.netns, attacker.v4))
  })

  it("`install-cni --uninstall` removes the tables, but not from under pods", async () => {
    await node.stop()
    // `ip netns exec` shows the namespace's own links in /sys.
    const folders = ["--cni-bin-dir", node.directory, "--cni-conf-dir", node.directory]
    const uninstall = (...flags: ReadonlyArray<string>) =>
      exec("ip", [
        "netns",
        "exec",
        node.netns,
        process.execPath,
        AGENT,
        "install-cni",
        "--uninstall",
        ...folders,
        ...flags
      ])
    assert.match((await uninstall()).stderr, /pods still use it/)
    assert.isFalse(await passes(attacker.netns, "203.0.113.1"))
    assert.strictEqual((await uninstall("--force")).code, 0)
    assert.isTrue(await passes(attacker.netns, "203.0.113.1"))
    assert.strictEqual((await uninstall("--force")).code, 0)
  })
})
