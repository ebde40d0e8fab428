/** TCP MD5 passwords against FRR: as Secrets hold them, and changed while sessions are up. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { node4, node6 } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { closeAll, established, has, open, peer4, peer6 } from "./birdNode.ts"

afterEach(closeAll)

const ref = (key: string) => ({ passwordSecretRef: { name: "tor", key } })

describe("passwords", () => {
  it("may end in a line break, and a change resets its own session and no other", async () => {
    const peers = [{ ...peer6, ...ref("password") }, { ...peer4, ...ref("other") }]
    const node = await open({ asn: 65001, peers }, { password: "before" }, "before\n")
    const set = (key: string, value: string) =>
      Effect.runPromise(
        node.facts.kube.setSecret({ name: "tor", key }, value).pipe(Effect.andThen(node.bird.requestReload))
      )
    await set("other", "before\r\n")
    const before = await established(node, 2)
    await has(node, 6)
    const sessions = async (address: string): Promise<number> =>
      Number((await node.lan.vtysh(`show bgp neighbors ${address} json`))[address].connectionsEstablished)
    const first = await sessions(node6(0))
    await set("password", "after\n")
    await node.lan.configure("router bgp 65000", `neighbor ${node6(0)} password after`)
    // FRR counts: BIRD's time of a session is in whole seconds, and the new one can be up within the same.
    await until("the session is a new one", async () => await sessions(node6(0)) > first, 20)
    await established(node, 2)
    await has(node, 6)
    const { peers: after } = await Effect.runPromise(node.bird.status)
    assert.strictEqual(after[1]?.since, before.peers[1]?.since)
    const four = (await node.lan.vtysh(`show bgp neighbors ${node4(0)} json`))[node4(0)]
    assert.strictEqual(four.connectionsDropped, 0)
  })
})
