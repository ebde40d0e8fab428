/** Sessions that BIRD gives up for good: another speaker has port 179 when it starts, as in a live migration from Calico. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import type { ChildProcess } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { AgentNode } from "../../lab/AgentNode.ts"
import { startBird } from "../../lab/bird.ts"
import { end, run } from "../../lab/exec.ts"
import { Lan, node4, node6, ROUTER4, ROUTER6, ROUTER_ASN } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
afterEach(() => world.close())

const PREFIX = "2001:db8:100::/64"

const open = async () => {
  const peers = [ROUTER6, ROUTER4].map((address) => ({ address, asn: ROUTER_ASN, holdTimeSeconds: 9 }))
  const node = await AgentNode.open(world, {
    flags: [],
    spec: { cidr6: PREFIX, cidr4: "10.42.0.0/24", bgp: { asn: 65001, peers } }
  })
  const lan = await Lan.open(world, { router: "frr", nodes: [node.netns] })
  return { node, lan }
}

/** As calico-node's confd writes it: one BIRD for both families, graceful restart, sessions with the same router. */
const startCalico = async (node: AgentNode, families: ReadonlyArray<4 | 6>): Promise<ChildProcess> => {
  const directory = world.folder("calico")
  const session = (family: 4 | 6) => {
    const [local, router] = family === 6 ? [node6(0), ROUTER6] : [node4(0), ROUTER4]
    return `protocol bgp Global_${family} { local ${local} as 65001; neighbor ${router} as ${ROUTER_ASN}; direct;
  connect delay time 1; connect retry time 5; error wait time 1, 5; graceful restart; hold time 9;
  ipv${family} { import all; export where source = RTS_STATIC; next hop self; }; }
protocol static { ipv${family}; route ${family === 6 ? PREFIX : "10.42.0.0/24"} unreachable; }`
  }
  writeFileSync(
    join(directory, "bird.conf"),
    ["log stderr all;", `router id ${node4(0)};`, "protocol device {}", ...families.map(session)].join("\n")
  )
  return startBird(world, node.netns, directory)
}

const states = async (node: AgentNode): Promise<Record<string, string>> =>
  Object.fromEntries((await node.status()).bird.peers.map(({ address, state }) => [address, state]))

const have = (node: AgentNode, expected: Record<string, string>, seconds = 30) =>
  until(`sessions ${JSON.stringify(expected)}`, async () => {
    const seen = await states(node)
    if (Object.entries(expected).some(([address, state]) => seen[address] !== state)) {
      throw new Error(JSON.stringify((await node.status()).bird.peers))
    }
    return true
  }, seconds)

const ESTABLISHED = { [ROUTER6]: "Established", [ROUTER4]: "Established" }
const DOWN = { [ROUTER6]: "Down", [ROUTER4]: "Down" }

const said = (node: AgentNode, words: string): number => node.readLog().split(words).length - 1

const birdc = (node: AgentNode, ...command: ReadonlyArray<string>) =>
  run("birdc", "-s", join(node.birdDirectory, "bird.ctl"), ...command)

describe("port 179 is taken when BIRD starts", () => {
  it("is Calico's: the sessions come up once its BIRD has gone, whatever was restarted meanwhile", async () => {
    const { lan, node } = await open()
    const calico = await startCalico(node, [6, 4])
    await until("Calico's prefix", async () => (await lan.bgpTable(6)).has(PREFIX))
    await node.start()
    await node.startBird()
    await have(node, DOWN)
    const [peer] = await until("who has the port", async () => {
      const { peers } = (await node.status()).bird
      return peers.every(({ problem }) => problem !== undefined) && peers
    })
    assert.match(peer?.problem ?? "", /^BIRD cannot listen on port 179, which is taken by bird \(process \d+\); /)
    assert.include((await node.tool("status")).stdout, "taken by bird (process")
    await until("it was tried", () => said(node, "BIRD gave it up for good") === 2)
    // The next agent finds the file as it should be, and the sessions as they should not.
    await node.stop()
    await node.start()
    await have(node, DOWN)
    const at = performance.now()
    await end(calico, "SIGKILL")
    await have(node, ESTABLISHED)
    const seconds = (performance.now() - at) / 1000
    console.log(`sessions Established ${seconds.toFixed(1)} s after Calico's BIRD has gone`)
    assert.isBelow(seconds, 15)
    await until("the router has the prefix", async () => (await lan.bgpTable(6)).has(PREFIX))
    assert.isTrue((await node.status()).bird.peers.every(({ problem }) => problem === undefined))
    assert.match(await node.metrics(), /^flock_bgp_sessions_enabled_again_total [1-9]/m)
    // Two sessions, two agents; each said once, however often it was tried.
    assert.strictEqual(said(node, "BIRD gave it up for good"), 4, node.readLog())
  })

  it("is taken for one family: the other one's session is well, and no command is needed for this one", async () => {
    const { node } = await open()
    const calico = await startCalico(node, [4])
    await node.start()
    await node.startBird()
    await have(node, { [ROUTER6]: "Established", [ROUTER4]: "Down" })
    const since = (await node.status()).bird.peers[0]?.since
    await end(calico, "SIGTERM")
    await have(node, ESTABLISHED)
    assert.strictEqual((await node.status()).bird.peers[0]?.since, since)
  })

  it("leaves down what people took down: by withdraw while BIRD could not listen, and by birdc", async () => {
    const { node } = await open()
    const calico = await startCalico(node, [6, 4])
    await node.start()
    await node.startBird()
    await have(node, DOWN)
    assert.strictEqual((await node.tool("withdraw")).code, 0)
    await end(calico, "SIGTERM")
    await new Promise((resolve) => setTimeout(resolve, 2500))
    assert.deepStrictEqual(await states(node), DOWN)
    assert.strictEqual((await node.tool("restore")).code, 0)
    await have(node, ESTABLISHED)
    await birdc(node, "disable", "peer_198_51_100_1")
    await new Promise((resolve) => setTimeout(resolve, 2500))
    assert.deepStrictEqual(await states(node), { [ROUTER6]: "Established", [ROUTER4]: "Down" })
    await birdc(node, "enable", "peer_198_51_100_1")
    await have(node, ESTABLISHED)
  })
})
