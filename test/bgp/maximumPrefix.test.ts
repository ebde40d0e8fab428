/** A router that ends the session at too many prefixes never gets so many: FRR with maximum-prefix as the other side. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { startBird } from "../../lab/bird.ts"
import { run } from "../../lab/exec.ts"
import { Lan, node4, NODE_ASN, ROUTER4, ROUTER_ASN } from "../../lab/Lan.ts"
import { cidr4, Network, nodeSpec } from "../../lab/Network.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { address } from "../../src/domain/Ip.ts"
import { hostInterface } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"
import { some } from "./single.ts"

const MAXIMUM = 30

const configure = (lan: Lan) =>
  run(
    "vtysh",
    "--vty_socket",
    lan.directory,
    "-c",
    "configure terminal",
    "-c",
    `router bgp ${ROUTER_ASN}`,
    "-c",
    "address-family ipv4 unicast",
    "-c",
    `neighbor ${node4(0)} maximum-prefix ${MAXIMUM}`
  )

const session = async (lan: Lan) => {
  const { ipv4Unicast } = await lan.vtysh("show bgp summary json")
  const { connectionsDropped, pfxRcd, state } = ipv4Unicast.peers[node4(0)]
  return { connectionsDropped, pfxRcd, state }
}

describe("tenants who ask for more than a router takes", () => {
  const world = new World()
  let network: Network
  beforeAll(async () => {
    network = await Network.open(world, { nodes: 1 })
    network.node(0).writeNodeConfig({
      ...nodeSpec(0),
      anycast: { allowedCIDRs: ["192.0.2.0/24"], maxPerPod: 64, maxPerNamespace: 10, maxPerNode: 12 }
    })
    await configure(network.lan)
  })
  afterAll(() => world.close())

  it("get their limit and no more, and the session of everybody stays", async () => {
    const node = network.node(0)
    const before = await session(network.lan)
    const replies = await Promise.all(Array.from({ length: 8 }, async (_, pod) => {
      const name = `greedy${pod}`
      const anycast = Array.from({ length: 5 }, (_, i) => `192.0.2.${10 + 5 * pod + i}`).join(",")
      node.writePod(name, { uid: name, annotations: { anycast }, ready: true })
      const netns = await node.pod()
      return until("the agent has read the pod's file", async () => {
        const reply = await node.cni("ADD", netns, { pod: name, uid: name })
        const { announcements } = await node.status()
        if (reply.code !== 0 || announcements.some(({ holders }) => holders.some(({ pod }) => pod === name))) {
          return reply
        }
        await node.cni("DEL", netns, { pod: name, uid: name })
        return undefined
      })
    }))
    const refused = replies.filter(({ code }) => code !== 0)
    assert.lengthOf(refused, 6)
    for (const { json } of refused) {
      assert.strictEqual(json.code, 100)
      assert.match(json.msg, /its namespace would have 15 .* on this node; spec\.anycast\.maxPerNamespace is 10$/)
    }
    await until("all of it is in the router", async () => (await session(network.lan)).pfxRcd === 11)
    assert.deepStrictEqual(await session(network.lan), { ...before, pfxRcd: 11 })
    assert.match(node.readConf(), /export limit 29 action block;/)
    assert.match(await node.metrics(), /^flock_address_refusals_total\{reason="OverLimit"\} 6$/m)
    assert.isTrue(await network.isRouted(0))
  })
})

describe("an export set that is too large by a mistake", () => {
  const world = new World()
  afterAll(() => world.close())

  it.live(
    "does not reach the router, is said, and is mended when it is right again",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const netns = world.netns("node")
        const lan = yield* Effect.promise(() => Lan.open(world, { router: "frr", nodes: [netns] }))
        yield* Effect.promise(() => configure(lan))
        const directory = world.folder("bird")
        const config = {
          cidr4: cidr4(0),
          anycast: { allowedCIDRs: ["192.0.2.0/24"], maxPerNode: 5 },
          bgp: { asn: NODE_ASN, peers: [{ address: ROUTER4, asn: ROUTER_ASN, holdTimeSeconds: 9 }] }
        }
        const facts = yield* makeFacts(some(config), [hostInterface("uplink", [`${node4(0)}/24`])])
        const bird = yield* runBird(facts, directory)
        const set = (count: number) => Array.from({ length: count }, (_, i) => `192.0.2.${1 + i}`)
        const announce = (count: number) =>
          bird.setExportSet(set(count).map(address)).pipe(Effect.andThen(bird.requestReload))
        const routes = (verb: string, addresses: ReadonlyArray<string>) =>
          Effect.promise(async () => {
            for (const it of addresses) {
              await run("ip", "-n", netns, "route", verb, `${it}/32`, "dev", "lo", "proto", "201")
            }
          })
        const received = (count: number) =>
          Effect.promise(() => until(`${count} prefixes`, async () => (await session(lan)).pfxRcd === count))

        yield* announce(3)
        yield* Effect.promise(async () => {
          await until("bird.conf is written", () => existsSync(join(directory, "bird.conf")))
          await startBird(world, netns, directory)
        })
        yield* routes("add", set(3))
        yield* received(4)
        yield* announce(100)
        yield* routes("add", set(100).slice(3))
        // 1 + 5 + 16
        yield* received(22)
        const before = yield* Effect.promise(() => session(lan))
        assert.deepInclude(before, { state: "Established", connectionsDropped: 0 })
        const status = yield* Effect.promise(() =>
          until("it is said", async () => {
            const status = await Effect.runPromise(bird.status)
            return status.peers[0]?.problem === undefined ? undefined : status
          })
        )
        assert.match(status.peers[0]?.problem ?? "", /^more than 22 ipv4 prefixes are to be announced/)

        // The first ones go, others were held back: BIRD alone would never announce those any more.
        yield* routes("del", set(3))
        yield* announce(3)
        yield* routes("del", set(100).slice(5))
        yield* announce(5)
        yield* received(3)
        yield* routes("add", set(3))
        yield* received(6)
        assert.deepInclude(yield* Effect.promise(() => session(lan)), { state: "Established", connectionsDropped: 0 })
        assert.isUndefined((yield* bird.status).peers[0]?.problem)
      })),
    60_000
  )
})
