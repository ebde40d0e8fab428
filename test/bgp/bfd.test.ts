/** BFD against FRR: what FRR says of the node's timers, over one hop and several, and how soon a cut is noticed. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { run } from "../../lab/exec.ts"
import { node6, ROUTER6, ROUTER_LOOPBACK } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { nodeConfig } from "../unit/bird/inputs.ts"
import { type BirdNode, closeAll, established, has, open, peer6 } from "./birdNode.ts"

afterEach(closeAll)

const timers = (receive: number, transmit: number, multiplier: number) => ({
  bfdTimers: {
    receiveIntervalMilliseconds: receive,
    transmitIntervalMilliseconds: transmit,
    detectMultiplier: multiplier
  }
})

/** FRR's words about the session with the node. */
const bfdPeer = async ({ lan }: BirdNode) => {
  const peers: ReadonlyArray<Record<string, unknown>> = await lan.vtysh("show bfd peers json")
  return peers.find(({ peer }) => peer === node6(0))
}

const upWith = (node: BirdNode, wanted: Record<string, unknown>) =>
  until(`BFD with ${JSON.stringify(wanted)}`, async () => {
    const peer = await bfdPeer(node)
    if (peer === undefined || Object.entries({ status: "up", ...wanted }).some(([key, value]) => peer[key] !== value)) {
      throw new Error(JSON.stringify(peer))
    }
    return peer
  }, 20)

describe("BFD", () => {
  it("has the timers that are asked for, and keeps the session when they are edited", async () => {
    const peer = { ...peer6, bfd: true }
    const node = await open({ asn: 65001, peers: [{ ...peer, ...timers(100, 150, 4) }] }, { bfd: true })
    const before = await established(node, 1)
    const { bfd } = await until("BFD is said to be up", async () => {
      const [first] = (await Effect.runPromise(node.bird.status)).peers
      return first?.bfd?.state === "Up" && first
    })
    // FRR's 300 ms and 3
    assert.strictEqual(bfd?.timeoutMilliseconds, 900)
    await upWith(node, {
      multihop: false,
      "remote-receive-interval": 100,
      "remote-transmit-interval": 150,
      "remote-detect-multiplier": 4
    })
    const spec = { cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24", bgp: { asn: 65001, peers: [peer] } }
    await Effect.runPromise(
      node.facts.kube.setNodeConfig({ current: Option.some(nodeConfig(spec, "node1")), rejected: Option.none() })
    )
    await upWith(node, {
      "remote-receive-interval": 300,
      "remote-transmit-interval": 300,
      "remote-detect-multiplier": 3
    })
    const after = await established(node, 1)
    assert.strictEqual(after.peers[0]?.since, before.peers[0]?.since)
  })

  it("works over several hops, and notices a cut there too", async () => {
    const peer = { ...peer6, address: ROUTER_LOOPBACK, multihop: 3, bfd: true, holdTimeSeconds: 90 }
    const node = await open({ asn: 65001, peers: [{ ...peer, ...timers(100, 100, 3) }] }, { bfd: true, multihop: true })
    await run("ip", "-n", node.netns, "-6", "route", "replace", `${ROUTER_LOOPBACK}/128`, "via", ROUTER6)
    await established(node, 1)
    await has(node, 6)
    // BIRD's packets start with the kernel's hop limit, and FRR takes none below 256 less its ebgp-multihop.
    const [{ bfd } = {}] = await until("BFD is said not to be up", async () => {
      const { peers } = await Effect.runPromise(node.bird.status)
      return peers[0]?.bfd?.state === "Init" && peers
    })
    assert.deepInclude(bfd, { state: "Init" })
    await node.lan.configure("router bgp 65000", `neighbor ${node6(0)} ebgp-multihop 255`)
    await upWith(node, { multihop: true, "remote-receive-interval": 100, "remote-detect-multiplier": 3 })
    // The bridge forgets the node; neither end's own interface goes down.
    await run("ip", "-n", node.lan.router, "link", "set", "n0", "nomaster")
    await until("the router withdraws", async () => !(await node.lan.bgpTable(6)).has("2001:db8:100::/64"), 3)
  })
})
