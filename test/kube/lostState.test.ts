/** An agent that has lost its records and its copy of the NodeConfig rebuilds pods from the kernel before it knows either. */
import { assert, describe, it } from "@effect/vitest"
import { rmSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { AgentNode } from "../../lab/AgentNode.ts"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { ip } from "../../lab/exec.ts"
import type { Relay } from "../../lab/Relay.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import * as lab from "./lab.ts"

const ANYCAST = ["192.0.2.1", "2001:db8:a::1"]
const CHOSEN = "2001:db8:a::c"

describe.runIf(available)("a lost state folder on a node of a cluster", () => {
  const world = new World()
  let api: ApiServer
  let relay: Relay
  let node: AgentNode

  const add = async (name: string, annotations: Record<string, string>) => {
    await lab.create(
      api,
      lab.pod(name, Object.fromEntries(Object.entries(annotations).map(([k, v]) => [`flock.fritzlab.net/${k}`, v])))
    )
    const { body } = await api.call("GET", `/api/v1/namespaces/default/pods/${name}`)
    await node.add(await node.pod(), { pod: name, uid: body.metadata.uid })
  }

  const addressesOf = async (name: string) => {
    const { allocations } = await node.status()
    const found = allocations.find(({ pod }) => pod === name)
    return { uid: found?.uid !== "", anycast: found?.anycast.toSorted(), chosen: found?.chosen }
  }

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
    await lab.create(api, lab.nodeConfig(lab.NODE, { anycast: { allowedCIDRs: ["192.0.2.0/24", "2001:db8:a::/64"] } }))
    node = await AgentNode.open(world, { name: lab.NODE })
    const relayed = await api.relay("agent", node.netns)
    relay = relayed.relay
    node.kubeconfig = relayed.kubeconfig
    await node.start()
    await until("the NodeConfig is known", async () => (await node.status()).nodeConfig.present)
    await add("waiting", { anycast: ANYCAST.join(",") })
    await add("chosen", { addresses: CHOSEN })
  })
  afterAll(() => world.close())

  it.each([["reached", false, 1], ["away at first", true, 1], ["away until the second start", true, 2]])(
    "has every pod's addresses again, announced or not, with the API server %s",
    async (_, away, starts) => {
      await node.stop("SIGKILL")
      rmSync(join(node.directory, "state"), { recursive: true })
      if (away) relay.cut()
      await node.start()
      for (let i = 1; i < starts; i++) {
        await node.stop("SIGKILL")
        await node.start()
      }
      if (away) {
        assert.deepStrictEqual((await addressesOf("waiting")).anycast, [])
        relay.mend()
      }
      await until("the pods' own addresses", async () => (await addressesOf("waiting")).anycast?.length === 2, 30)
      assert.deepStrictEqual(await addressesOf("waiting"), { uid: true, anycast: ANYCAST, chosen: [] })
      assert.deepStrictEqual(await addressesOf("chosen"), { uid: true, anycast: [], chosen: [CHOSEN] })
      await lab.setReady(api, "waiting", true)
      await until("its routes", async () => (await node.routes(201)).length === 2)
      await lab.setReady(api, "waiting", false)
      await until("no routes", async () => (await node.routes(201)).length === 0)
    }
  )

  it("and where the pods' host routes are lost too, from the pods themselves", async () => {
    const before = await node.status()
    await node.stop("SIGKILL")
    rmSync(join(node.directory, "state"), { recursive: true })
    for (const link of (await node.links()).filter((name) => name.startsWith("flock"))) {
      await ip(node.netns, "link", "set", link, "down")
    }
    await node.start()
    const primaries = ({ allocations }: typeof before) =>
      allocations.map(({ ipv4, ipv6, pod }) => [pod, ipv6, ipv4].join(" ")).toSorted()
    assert.deepStrictEqual(primaries(await node.status()), primaries(before))
    assert.deepStrictEqual(await addressesOf("waiting"), { uid: true, anycast: ANYCAST, chosen: [] })
    assert.deepStrictEqual(await addressesOf("chosen"), { uid: true, anycast: [], chosen: [CHOSEN] })
  })
})
