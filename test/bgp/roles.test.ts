/** Who opens a session, and who is what to whom (RFC 9234): against FRR, by its own words. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { node6 } from "../../lab/Lan.ts"
import { sleep, until } from "../../lab/until.ts"
import { troubleOf } from "../../src/bird/birdStatus.ts"
import { type BirdNode, closeAll, established, has, open, peer6 } from "./birdNode.ts"

afterEach(closeAll)

const troubles = async ({ bird }: BirdNode) => (await Effect.runPromise(bird.status)).peers.map(troubleOf).join()

const neighbor = (node: BirdNode, ...words: ReadonlyArray<string>) =>
  node.lan.configure("router bgp 65000", ...words.map((word) => `neighbor ${node6(0)} ${word}`))

describe("passive", () => {
  it("leaves it to the router to open the session", async () => {
    const node = await open({ asn: 65001, peers: [{ ...peer6, passive: true }] })
    await neighbor(node, "passive")
    await node.lan.configure("do clear bgp *")
    // Longer than BIRD's connect delay and retry.
    await sleep(7000)
    assert.include(await troubles(node), "the router has to open the session (passive)")
    assert.notInclude(await troubles(node), "Established")
    assert.strictEqual((await Effect.runPromise(node.bird.status)).peers[0]?.state, "Passive")
    await node.lan.configure("router bgp 65000", `no neighbor ${node6(0)} passive`)
    await established(node, 1)
    await has(node, 6)
    assert.notInclude(await troubles(node), "passive")
  })
})

describe("roles", () => {
  it("are told to the router, which has the counterpart", async () => {
    const node = await open({ asn: 65001, peers: [{ ...peer6, localRole: "customer", roleStrictMode: true }] })
    // FRR says none yet.
    await until("the session is refused", async () => (await troubles(node)).includes("Role"))
    await neighbor(node, "local-role provider strict-mode")
    await established(node, 1)
    await has(node, 6)
    const said = (await node.lan.vtysh(`show bgp neighbors ${node6(0)} json`))[node6(0)]
    assert.deepStrictEqual([said.localRole, said.remoteRole], ["provider", "customer"])
  })

  it("that do not go together make no session, and that is said", async () => {
    const node = await open({ asn: 65001, peers: [{ ...peer6, localRole: "peer" }] })
    await neighbor(node, "local-role provider")
    await node.lan.configure("do clear bgp *")
    await until("the mismatch is said", async () => (await troubles(node)).includes("Role mismatch"), 20)
    const { peers } = await Effect.runPromise(node.bird.status)
    assert.notStrictEqual(peers[0]?.state, "Established")
  })
})
