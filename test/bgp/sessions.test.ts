/** Session options against FRR, an independent implementation: what the router itself says of them is asserted. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Option, Redacted, Ref, Scope, SubscriptionRef } from "effect"
import type { ChildProcess } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Bird } from "../../src/Bird.ts"
import { eventually, exec, run } from "../agent/node.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import { makeFacts, runBird } from "./bird.ts"
import { end, Lab, type LabOptions, node4, node6, ROUTER4, ROUTER6, startBird } from "./lab.ts"

const cleanups: Array<() => Promise<unknown>> = []
afterEach(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup()
  cleanups.length = 0
})

interface World {
  readonly lab: Lab
  readonly netns: string
  readonly bird: Bird["Service"]
  readonly facts: Effect.Success<ReturnType<typeof makeFacts>>
}

/** A node with `bgp`, a router with `options`. */
const open = async (
  bgp: object,
  options: Partial<LabOptions> = {},
  secrets: ReadonlyMap<string, string> = new Map(),
  addresses: ReadonlyArray<string> = [`${node6(0)}/64`, `${node4(0)}/24`]
): Promise<World> => {
  const netns = `fls-${process.pid}-${Math.random().toString(16).slice(2, 8)}`
  await run("ip", "netns", "add", netns)
  cleanups.push(() => exec("ip", ["netns", "del", netns]))
  const lab = await Lab.open({ router: "frr", nodes: [netns], ...options })
  cleanups.push(() => lab.close())
  const directory = mkdtempSync(join(tmpdir(), "flock-sessions-"))
  cleanups.push(async () => rmSync(directory, { recursive: true }))
  const scope = Scope.makeUnsafe()
  cleanups.push(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  const spec = nodeConfig({ cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24", bgp }, "node1")
  const [bird, facts] = await Effect.runPromise(
    Effect.gen(function*() {
      const facts = yield* makeFacts({ current: Option.some(spec) }, [hostInterface("uplink", addresses)])
      yield* Ref.set(facts.secrets, new Map([...secrets].map(([key, value]) => [key, Redacted.make(value)])))
      const bird = yield* runBird(facts, directory)
      yield* bird.setExports([])
      return [bird, facts] as const
    }).pipe(Effect.provideService(Scope.Scope, scope))
  )
  await eventually("bird.conf", async () => existsSync(join(directory, "bird.conf")))
  const process_: ChildProcess = await startBird(netns, directory, "-R")
  cleanups.push(() => end(process_, "SIGKILL"))
  return { lab, netns, bird, facts }
}

const established = ({ bird }: World, count: number) =>
  eventually("sessions Established", async () => {
    const status = await Effect.runPromise(bird.status)
    if (status.peers.filter(({ state }) => state === "Established").length !== count) {
      throw new Error(JSON.stringify(status))
    }
    return status
  }, 20)

const has = ({ lab }: World, family: 4 | 6) =>
  eventually(`the IPv${family} prefix`, async () => {
    const prefix = family === 6 ? "2001:db8:100::/64" : "10.42.0.0/24"
    return (await lab.bgpTable(family)).get(prefix)
  })

const peer6 = { address: ROUTER6, asn: 65000, holdTimeSeconds: 9 }
const peer4 = { address: ROUTER4, asn: 65000, holdTimeSeconds: 9 }

describe("sessions with FRR", () => {
  it("takes a password, TTL security and communities, all at once", async () => {
    const more = {
      passwordSecretRef: { name: "tor", key: "password" },
      ttlSecurity: true,
      communities: ["65001:100", "65001:1:2"]
    }
    const bgp = { asn: 65001, peers: [{ ...peer6, ...more }, { ...peer4, ...more }] }
    const options = { password: "it's}a;secret#1", ttlSecurity: true }
    const world = await open(bgp, options, new Map([["tor/password", options.password]]))
    await established(world, 2)
    await has(world, 6)
    const { paths } = await world.lab.vtysh("show bgp ipv6 unicast 2001:db8:100::/64 json")
    assert.strictEqual(paths[0].community.string, "65001:100")
    assert.strictEqual(paths[0].largeCommunity.string, "65001:1:2")
    const neighbor = (await world.lab.vtysh(`show bgp neighbors ${node6(0)} json`))[node6(0)]
    assert.strictEqual(neighbor.bgpTimerHoldTimeMsecs, 9000)
    assert.strictEqual(neighbor.externalBgpNbrMaxHopsAway, 1)
  })

  it("notices a cut link by BFD, long before the hold time", async () => {
    const bgp = { asn: 65001, peers: [{ ...peer6, bfd: true }, { ...peer4, bfd: true }] }
    const world = await open(bgp, { bfd: true })
    await established(world, 2)
    await has(world, 6)
    await eventually(
      "BFD is up",
      async () => (await world.lab.vtysh(`show bgp neighbors ${node6(0)} json`))[node6(0)].peerBfdInfo.status === "Up"
    )
    // The bridge forgets the node; neither end's own interface goes down.
    await run("ip", "-n", world.lab.router, "link", "set", "n0", "nomaster")
    await eventually("the router withdraws", async () => !(await world.lab.bgpTable(6)).has("2001:db8:100::/64"), 3)
  })

  it("does not come up with another password, until the Secret is right", async () => {
    const secret = { passwordSecretRef: { name: "tor", key: "password" } }
    const bgp = { asn: 65001, peers: [{ ...peer6, ...secret }, { ...peer4, ...secret }] }
    const world = await open(bgp, { password: "right" }, new Map([["tor/password", "wrong"]]))
    await new Promise((resolve) => setTimeout(resolve, 3000))
    const { peers } = await Effect.runPromise(world.bird.status)
    assert.isTrue(peers.every(({ state }) => state !== "Established"))
    await Effect.runPromise(Ref.set(world.facts.secrets, new Map([["tor/password", Redacted.make("right")]])))
    await Effect.runPromise(world.bird.requestReload)
    await established(world, 2)
  })

  it("carries both families over one IPv6 session, with an IPv4 next hop", async () => {
    const world = await open({ asn: 65001, peers: [peer6] })
    await established(world, 1)
    assert.include(await has(world, 6) ?? [], node6(0))
    assert.deepStrictEqual(await has(world, 4), [node4(0)])
  })

  it("is an iBGP peer where the AS numbers are the same", async () => {
    const world = await open({ asn: 65000, peers: [peer6, peer4] }, { asns: [65000] })
    await established(world, 2)
    await has(world, 6)
    await has(world, 4)
    const { paths } = await world.lab.vtysh("show bgp ipv4 unicast 10.42.0.0/24 json")
    assert.strictEqual(paths[0].aspath.string, "Local")
    assert.isTrue(paths[0].peer.type === "internal")
  })

  it("announces nothing more than it should, and follows a NodeConfig edit", async () => {
    const world = await open({ asn: 65001, peers: [peer6, peer4] })
    await established(world, 2)
    await has(world, 6)
    const received = async () =>
      Object.keys((await world.lab.vtysh(`show bgp ipv6 unicast neighbors ${node6(0)} routes json`)).routes ?? {})
    assert.deepStrictEqual(await received(), ["2001:db8:100::/64"])
    // Neither the node's other routes nor those of other protocol numbers.
    await run("ip", "-n", world.netns, "-6", "route", "add", "2001:db8:bad::/48", "via", ROUTER6)
    await run("ip", "-n", world.netns, "-6", "route", "add", "2001:db8:100::5/128", "via", ROUTER6, "proto", "200")
    await run("ip", "-n", world.netns, "-6", "route", "add", "2001:db8:a::5/128", "via", ROUTER6, "proto", "201")
    const spec = { cidr6: "2001:db8:102::/64", cidr4: "10.42.0.0/24", bgp: { asn: 65001, peers: [peer6, peer4] } }
    await Effect.runPromise(
      SubscriptionRef.set(world.facts.nodeConfig, {
        current: Option.some(nodeConfig(spec, "node1")),
        rejected: Option.none()
      })
    )
    await eventually("the new prefix alone", async () => {
      const prefixes = await received()
      return prefixes.length === 1 && prefixes[0] === "2001:db8:102::/64"
    })
  })
})
