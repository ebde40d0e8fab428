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
    await set("password", "after\n")
    await node.lan.configure("router bgp 65000", `neighbor ${node6(0)} password after`)
    await until("the session is a new one", async () => {
      const { peers } = await established(node, 2)
      return peers[0]?.since !== before.peers[0]?.since
    }, 20)
    await has(node, 6)
    const { peers: after } = await Effect.runPromise(node.bird.status)
    assert.strictEqual(after[1]?.since, before.peers[1]?.since)
    const four = (await node.lan.vtysh(`show bgp neighbors ${node4(0)} json`))[node4(0)]
    assert.strictEqual(four.connectionsDropped, 0)
  })
})
