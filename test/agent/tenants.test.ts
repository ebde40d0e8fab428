/** What a tenant may have announced, and what it cannot take from another: real plugin, real agent, real kernel. */
import { rmSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { AgentNode, DUAL } from "../../lab/AgentNode.ts"
import { inside } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const SPEC = {
  ...DUAL,
  anycast: {
    allowedCIDRs: ["192.0.2.0/24", "2001:db8:a::/64"],
    grants: [
      { cidr: "192.0.2.64/26", namespaces: ["shop"] },
      { cidr: "2001:db8:a:0:1::/80", namespaces: ["shop"] },
      { cidr: "198.18.0.0/24", namespaces: ["team-*"] }
    ],
    maxPerPod: 3,
    maxPerNamespace: 4,
    maxPerNode: 6
  }
}

const world = new World()
let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.open(world, { spec: SPEC })
  await node.start()
})
afterEach(() => world.close())

interface Tenant {
  readonly name: string
  readonly namespace: string
  readonly netns: string
}

const write = (name: string, namespace: string, annotations: Record<string, string>) =>
  node.writePod(name, { namespace, uid: name, annotations, ready: true })

/** ADD of a pod whose file is there; an ADD before the agent has read it knows no pod or no annotation. */
const tryAdd = async (name: string, namespace: string, annotations: Record<string, string>) => {
  write(name, namespace, annotations)
  const netns = await node.pod()
  const options = { pod: name, namespace, uid: name }
  const reply = await until("the agent has read the pod's file", async () => {
    const reply = await node.cni("ADD", netns, options)
    if (reply.code !== 0) return reply.json.code === 11 ? undefined : reply
    const { announcements } = await node.status()
    if (announcements.some(({ holders }) => holders.some(({ pod }) => pod === name))) return reply
    if (Object.keys(annotations).length === 0) return reply
    await node.cni("DEL", netns, options)
    return undefined
  })
  return { reply, pod: { name, namespace, netns } satisfies Tenant }
}

const add = async (...args: Parameters<typeof tryAdd>): Promise<Tenant> => {
  const { pod, reply } = await tryAdd(...args)
  assert.strictEqual(reply.code, 0, JSON.stringify(reply.json))
  return pod
}

const refusal = async (...args: Parameters<typeof tryAdd>): Promise<string> => {
  const { reply } = await tryAdd(...args)
  assert.strictEqual(reply.json.code, 100, JSON.stringify(reply.json))
  return reply.json.msg
}

/** Who has what announced, by the agent's word. */
const holders = async (address: string): Promise<ReadonlyArray<string>> =>
  (await node.status()).announcements.filter((it) => it.address === address)
    .flatMap((it) => it.holders.map(({ gate, pod }) => `${pod} ${gate}`))

const linkOf = async (pod: string): Promise<string> =>
  (await node.status()).allocations.find((it) => it.pod === pod)?.hostIfName ?? ""

/** Links that the kernel sends packets for an address to. */
const ways = async (address: string): Promise<string> => {
  const family = address.includes(":") ? "-6" : "-4"
  return (await node.ip(family, "route", "get", address).catch(() => "")).replace(/\s+/g, " ")
}

const loseRecords = async () => {
  await node.stop("SIGKILL")
  rmSync(join(node.directory, "state"), { recursive: true })
  await node.start()
}

describe("grants and limits", () => {
  it(
    "are enforced at ADD, in words that name field, count and limit, and nothing is left of what is refused",
    async () => {
      assert.match(
        await refusal("thief", "other", { anycast: "192.0.2.70" }),
        /192\.0\.2\.70 lies in 192\.0\.2\.64\/26, which spec\.anycast\.grants gives to other namespaces than "other"$/
      )
      assert.match(
        await refusal("thief", "other", { addresses: "2001:db8:a:0:1::1" }),
        /^annotation addresses: 2001:db8:a:0:1::1 lies in/
      )
      assert.match(
        await refusal("greedy", "other", { anycast: "192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4" }),
        /maxPerPod is 3$/
      )
      assert.match(await refusal("lost", "other", { anycast: "198.51.100.1" }), /198\.51\.100\.1 is not in this node's/)
      assert.deepStrictEqual([await node.links(), await node.routes()], [[], []])
      await add("first", "other", { anycast: "192.0.2.1,192.0.2.2,192.0.2.3" })
      assert.match(
        await refusal("second", "other", { anycast: "192.0.2.4,192.0.2.5" }),
        /would have 5 anycast and chosen addresses on this node; spec\.anycast\.maxPerNamespace is 4$/
      )
      await add("replica", "other", { anycast: "192.0.2.1,192.0.2.2,192.0.2.3" })
      await add("granted", "team-a", { anycast: "198.18.0.1" })
      const shop = await add("shop", "shop", { anycast: "192.0.2.70,2001:db8:a:0:1::1" })
      assert.match(await refusal("third", "more", { anycast: "192.0.2.9" }), /maxPerNode is 6$/)
      // Adopted ones count, with records and without.
      await loseRecords()
      assert.match(await refusal("third", "more", { anycast: "192.0.2.9" }), /maxPerNode is 6$/)
      assert.strictEqual((await node.cni("DEL", shop.netns)).code, 0)
      await add("third", "more", { anycast: "192.0.2.9" })
      assert.match(await node.metrics(), /^flock_address_refusals_total\{reason="OverLimit"\} 1$/m)
    },
    60_000
  )

  it("two ADDs at once do not both get the last place", async () => {
    const names = ["a", "b", "c", "d", "e"]
    for (const [i, name] of names.entries()) write(name, "other", { anycast: `192.0.2.${1 + i}` })
    await until("the pods are known", async () => (await node.tool("why", "192.0.2.5")).stdout.includes("other/e asks"))
    const replies = await Promise.all(names.map(async (name) => {
      const netns = await node.pod()
      return node.cni("ADD", netns, { pod: name, namespace: "other", uid: name })
    }))
    assert.deepStrictEqual(replies.map(({ code }) => code).toSorted(), [0, 0, 0, 0, 1])
    assert.match(replies.find(({ code }) => code !== 0)?.json.msg, /maxPerNamespace is 4$/)
  })
})

describe("what the node itself uses", () => {
  it("is no pod's; where it comes later, the pod's is withdrawn, said once, and back when it goes", async () => {
    const ADDRESS = "192.0.2.1"
    await add("web", "other", { anycast: `${ADDRESS},2001:db8:a::1` })
    await until("announced", async () => (await node.routes(201)).length === 2)
    await node.ip("link", "add", "later", "type", "bridge")
    await node.ip("link", "set", "later", "up")
    await node.ip("addr", "add", "192.0.2.9/24", "dev", "later")
    await until("withdrawn", async () => !(await node.routes(201)).some((route) => route.includes(ADDRESS)))
    assert.lengthOf(await node.routes(201), 1)
    assert.deepStrictEqual(await holders(ADDRESS), ["web Occupied"])
    const why = await node.tool("why", ADDRESS)
    assert.strictEqual(why.code, 1)
    assert.match(why.stdout, /is not announced: it lies in 192\.0\.2\.0\/24, to which this node is connected \(later\)/)
    assert.match(await refusal("next", "other", { anycast: "192.0.2.2" }), /to which this node is connected \(later\)/)
    assert.match(await refusal("own", "other", { anycast: "192.0.2.9" }), /is this node's own address \(later\)$/)
    node.writeNodeConfig({
      ...SPEC,
      anycast: { ...SPEC.anycast, allowedCIDRs: [...SPEC.anycast.allowedCIDRs, `${ADDRESS}/32`, "192.0.2.9/32"] }
    })
    await until("listed exactly", async () => (await node.routes(201)).length === 2)
    assert.deepStrictEqual(await holders(ADDRESS), ["web Ready"])
    assert.match(await refusal("own2", "other", { anycast: "192.0.2.9" }), /is this node's own address \(later\)$/)
    node.writeNodeConfig(SPEC)
    await until("listed no more", async () => (await node.routes(201)).length === 1)
    await node.ip("link", "del", "later")
    await until("announced again", async () => (await node.routes(201)).length === 2)
    node.writeNodeConfig({ ...SPEC, bgp: { asn: 65001, peers: [{ address: ADDRESS, asn: 65000 }] } })
    await until("a peer has it", async () => (await node.routes(201)).length === 1)
    const said = node.readLog().split("\n").filter((line) => line.includes(`"anycast: ${ADDRESS} is not announced`))
    assert.deepStrictEqual(
      said.map((line) => /it (is|lies)/.exec(line)?.[1]),
      ["lies", "lies", "is"],
      said.join("\n")
    )
  }, 60_000)
})

describe("an agent that lost its records", () => {
  it("believes no annotation that was edited since: exclusive, granted to others, the victim's own", async () => {
    const victim = await add("victim", "shop", { addresses: "192.0.2.70", anycast: "2001:db8:a:0:1::53" })
    const thief = await add("thief", "other", { anycast: "192.0.2.1" })
    const own6 = (await node.status()).allocations.find(({ pod }) => pod === "victim")?.ipv6 ?? ""
    // Allowed, and nobody's: an ADD would give it, an edit does not.
    const FREE = "192.0.2.3"
    const stolen = ["192.0.2.70", "2001:db8:a:0:1::53", own6]
    await until("announced", async () => (await node.routes(201)).length === 3)
    const before = { routes: await node.routes(201), link: await linkOf("victim") }
    // Also while the victim is not Ready, when the kernel does not tell of its anycast address.
    for (const ready of [true, false]) {
      node.writePod("victim", {
        namespace: "shop",
        uid: "victim",
        annotations: { addresses: "192.0.2.70", anycast: "2001:db8:a:0:1::53" },
        ready
      })
      write("thief", "other", { anycast: ["192.0.2.1", FREE, ...stolen].join(), addresses: "192.0.2.70" })
      await until("readiness", async () => (await node.routes(201)).length === (ready ? 3 : 1))
      // Its root can have it on its lo as well; without, an annotation alone is nothing.
      for (const address of ready ? [] : stolen) {
        await inside(thief.netns, "ip", "addr", "add", address, "dev", "lo")
      }
      // Running: nothing.
      assert.deepStrictEqual(await holders("192.0.2.1"), ["thief Ready"])
      await loseRecords()
      for (const address of stolen) {
        const held = await holders(address)
        assert.notInclude(held.join(), "thief", address)
      }
      assert.deepStrictEqual(await holders("192.0.2.70"), [ready ? "victim Ready" : "victim NotReady"])
      assert.deepStrictEqual(await holders("2001:db8:a:0:1::53"), [ready ? "victim Ready" : "victim NotReady"])
      assert.deepStrictEqual(await holders("192.0.2.1"), ["thief Ready"])
      assert.deepStrictEqual(await holders(FREE), [])
      if (ready) assert.deepStrictEqual((await node.routes(201)).toSorted(), before.routes.toSorted())
      for (const address of ["192.0.2.70", own6]) assert.include(await ways(address), before.link, address)
    }
    const log = () => node.readLog().split("\n").filter((line) => /"level":"WARN"/.test(line))
    const warnings = log()
    assert.isNotEmpty(
      warnings.filter((line) => /other\/thief: annotation anycast is not believed as a whole/.test(line))
    )
    await new Promise((done) => setTimeout(done, 3000))
    assert.deepStrictEqual(log(), warnings)
    assert.strictEqual((await node.cni("DEL", victim.netns)).code, 0)
    // Free now: an ADD gets what an edit did not.
    assert.match(await refusal("thief2", "other", { anycast: "192.0.2.70" }), /gives to other namespaces/)
  }, 90_000)
})
