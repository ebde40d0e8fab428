/** The agent dies, in every way; pods do not notice, and nothing is lost or given twice. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import { AgentNode, DUAL, HOST } from "../../lab/AgentNode.ts"
import { describeDisagreement, disagreements } from "../../lab/agreement.ts"
import { addressesOf } from "../../lab/cni.ts"
import { exec, ip } from "../../lab/exec.ts"
import { nodeFacts } from "../../lab/facts.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
let node: AgentNode
beforeEach(async () => {
  node = await AgentNode.open(world, { spec: DUAL })
})
afterEach(() => world.close())

const records = () => join(node.directory, "state/allocations")

const status = async () => JSON.parse((await node.tool("status", "--json")).stdout)

/** Agent, records, kernel and pods must say the same of every pod, and no address twice. `setAside`: unreadable records. */
const assertConsistent = async (pods: ReadonlyMap<string, ReadonlyArray<string>>, setAside = 0) => {
  const wanted = [...pods].map(([name, addresses]) => ({
    key: `${name}/eth0`,
    ifName: "eth0",
    addresses,
    anycast: [],
    follows: [],
    ready: false
  }))
  const netnsOf = new Map([...pods.keys()].map((name) => [`${name}/eth0`, name]))
  const { stray, ...facts } = await nodeFacts(node, wanted, netnsOf)
  const unreadable = stray.filter((file) => file.endsWith(".unreadable"))
  assert.strictEqual(unreadable.length, setAside, "records that were set aside")
  const rest = stray.filter((file) => !unreadable.includes(file))
  const found = disagreements({ nodes: [{ ...facts, stray: rest }], router: [], sessions: [] })
  assert.deepStrictEqual(found.map(describeDisagreement), [])
}

const assertConnected = async (pods: ReadonlyMap<string, ReadonlyArray<string>>) => {
  const pings = [...pods].flatMap(([pod]) =>
    HOST.map(async (target) => assert.isTrue(await node.ping(pod, target), `${pod} → ${target}`))
  )
  await Promise.all(pings)
}

describe("restart", () => {
  it("keeps pods connected without one lost packet, and their addresses taken", async () => {
    await node.start()
    const pod = await node.pod()
    const given = addressesOf(await node.add(pod))
    const ping = exec("nsenter", [`--net=/run/netns/${pod}`, "ping", "-i", "0.02", "-c", "150", "-q", HOST[0]])
    assert.strictEqual(await node.stop("SIGTERM"), 0)
    await node.start()
    assert.strictEqual(await node.stop("SIGKILL"), "SIGKILL")
    await node.start()
    assert.match((await ping).stdout, / 0% packet loss/)
    await assertConsistent(new Map([[pod, given]]))
    const other = await node.pod()
    const pods = new Map([[pod, given], [other, addressesOf(await node.add(other))]])
    await assertConsistent(pods)
    await assertConnected(pods)
    for (const name of pods.keys()) assert.strictEqual((await node.cni("DEL", name)).code, 0)
    await assertConsistent(new Map())
  })

  it("kill -9 at any moment of 200 ADDs and DELs: nothing twice, nothing leaked, every pod connected", async () => {
    await node.start()
    const names = await Promise.all(Array.from({ length: 40 }, () => node.pod()))
    const pods = new Map<string, ReadonlyArray<string>>()
    /** ADDs and DELs that were served: failed ones do not count, or a dead agent would end the test. */
    let served = 0
    let kills = 0
    let running = true
    const killer = (async () => {
      while (running) {
        await sleep(150 + Math.random() * 250)
        await node.stop("SIGKILL")
        kills++
        await node.start()
      }
    })()
    /** A runtime: every failed ADD is followed by a DEL, and a failed DEL is tried again (CNI spec, section 2). */
    const del = (name: string) => until(`DEL of ${name}`, async () => (await node.cni("DEL", name)).code === 0, 30)
    await Promise.all(Array.from({ length: 4 }, async (_, worker) => {
      for (let i = 0; served < 200 || kills < 4 || pods.size === 0; i++) {
        const name = names[worker + 4 * (i % 10)] as string
        if (pods.has(name)) {
          pods.delete(name)
          await del(name)
          served++
        } else {
          const { code, json } = await node.cni("ADD", name)
          if (code === 0) {
            pods.set(name, addressesOf(json))
            served++
          } else {
            await del(name)
          }
        }
      }
    }))
    running = false
    await killer
    // DELs that were queued while no agent was there were worked off before this one listened.
    await assertConsistent(pods)
    await assertConnected(pods)
    assert.deepStrictEqual(readdirSync(records()).filter((name) => !name.endsWith(".json")), [])
    assert.isAbove(pods.size, 0)
    for (const name of pods.keys()) assert.strictEqual((await node.cni("DEL", name)).code, 0)
    await assertConsistent(new Map())
  }, 180_000)

  it("a lost state directory is rebuilt from the kernel", async () => {
    await node.start()
    const pods = new Map<string, ReadonlyArray<string>>()
    for (let i = 0; i < 5; i++) {
      const pod = await node.pod()
      pods.set(pod, addressesOf(await node.add(pod, { pod: `web-${i}` })))
    }
    await node.stop("SIGKILL")
    rmSync(join(node.directory, "state"), { recursive: true })
    await node.start()
    await assertConsistent(pods)
    assert.strictEqual((await status()).allocations[0].pod, "web-0")
    const more = await node.pod()
    pods.set(more, addressesOf(await node.add(more)))
    await assertConsistent(pods)
    await assertConnected(pods)
    for (const name of pods.keys()) assert.strictEqual((await node.cni("DEL", name)).code, 0)
    await assertConsistent(new Map())
  })

  it("records and the pods' host routes lost together: pods are rebuilt from their own interfaces", async () => {
    await node.start()
    const given = new Map<string, ReadonlyArray<string>>()
    for (let i = 0; i < 3; i++) {
      const pod = await node.pod()
      given.set(pod, addressesOf(await node.add(pod)))
    }
    const [first = "", second = ""] = given.keys()
    await node.stop("SIGKILL")
    rmSync(join(node.directory, "state"), { recursive: true })
    const links = (await node.links()).filter((name) => name.startsWith("flock"))
    // Of one pod one family; of another both, and the neighbours, with a host end that is down.
    await ip(node.netns, "-4", "route", "flush", "dev", links[0] ?? "")
    await ip(node.netns, "link", "set", links[1] ?? "", "down")
    await node.start()
    await until("all stands again", () => assertConsistent(given).then(() => true, () => false), 20)
    await assertConnected(given)
    for (const pod of [first, second]) assert.strictEqual((await node.cni("DEL", pod)).code, 0)
    given.delete(first)
    given.delete(second)
    await assertConsistent(given)
  })

  it("a pod that lies while its record and its routes are lost gets nobody's address", async () => {
    await node.start()
    const [victim, liar] = [await node.pod(), await node.pod()]
    const given = addressesOf(await node.add(victim))
    await node.add(liar)
    await node.stop("SIGKILL")
    rmSync(join(node.directory, "state"), { recursive: true })
    await ip(liar, "addr", "flush", "dev", "eth0", "scope", "global")
    for (const address of [...given, "10.96.0.1"]) await ip(liar, "addr", "add", address, "dev", "eth0")
    for (const link of (await node.links()).filter((name) => name.startsWith("flock"))) {
      const pods = await ip(node.netns, "route", "show", "dev", link)
      if (!given.some((address) => pods.includes(address))) await ip(node.netns, "link", "set", link, "down")
    }
    await node.start()
    await until(
      "the victim stands",
      () => assertConsistent(new Map([[victim, given]])).then(() => true, () => false),
      20
    )
    await assertConnected(new Map([[victim, given]]))
  })

  it("records that cannot be read are set aside; their pods are rebuilt", async () => {
    await node.start()
    const pod = await node.pod()
    const given = addressesOf(await node.add(pod))
    await node.stop()
    const [name = ""] = readdirSync(records())
    writeFileSync(join(records(), name), readFileSync(join(records(), name), "utf8").slice(0, 40))
    await node.start()
    assert.include(node.readLog(), "set aside")
    assert.isTrue(existsSync(join(records(), `${name}.unreadable`)))
    await assertConsistent(new Map([[pod, given]]), 1)
  })

  it("records of another boot are dropped", async () => {
    await node.start()
    const pod = await node.pod()
    await node.add(pod)
    await node.stop()
    const [name = ""] = readdirSync(records())
    const record = JSON.parse(readFileSync(join(records(), name), "utf8"))
    await node.deletePod(pod)
    writeFileSync(join(records(), name), JSON.stringify({ ...record, bootId: "another" }))
    await node.start()
    await assertConsistent(new Map())
    assert.deepStrictEqual(readdirSync(records()), [])
  })

  it("a pod that ended while no agent ran frees its addresses", async () => {
    await node.start()
    const pod = await node.pod()
    await node.add(pod)
    await node.stop()
    await node.deletePod(pod)
    await until("the kernel removes the link", async () => (await node.links()).length === 0)
    await node.start()
    await assertConsistent(new Map())
  })

  it("a pod that ends without a DEL, while the agent runs, frees its addresses too", async () => {
    await node.start()
    const [gone, stays] = [await node.pod(), await node.pod()]
    await node.add(gone)
    const given = addressesOf(await node.add(stays))
    await node.deletePod(gone)
    await until("its allocation is freed", async () => (await status()).allocations.length === 1, 30)
    await assertConsistent(new Map([[stays, given]]))
  })

  it("a link of flock's that nothing owns is removed, a foreign one never", async () => {
    await node.ip("link", "add", "flock0badcafe", "type", "veth", "peer", "name", "peer0")
    await node.ip("link", "add", "flockother", "type", "veth", "peer", "name", "peer1")
    await node.start()
    assert.deepStrictEqual([...await node.links()].toSorted(), ["flockother", "peer1"])
  })

  it("DELs without an agent are queued, and free their addresses before the next ADD", async () => {
    node.writeNodeConfig({ cidr4: "10.77.0.0/30" })
    await node.start()
    const pod = await node.pod()
    assert.deepStrictEqual(addressesOf(await node.add(pod)), ["10.77.0.2"])
    await node.stop("SIGKILL")
    assert.deepStrictEqual(await node.cni("DEL", pod), { code: 0, json: undefined })
    assert.strictEqual((await node.cni("ADD", pod)).json.code, 11)
    await node.start()
    const next = await node.pod()
    assert.deepStrictEqual(addressesOf(await node.add(next)), ["10.77.0.2"])
  })
})

describe("the process", () => {
  it("ends with 0 on SIGTERM and removes nothing of its pods", async () => {
    await node.start()
    const pod = await node.pod()
    const given = addressesOf(await node.add(pod))
    assert.strictEqual(await node.stop("SIGTERM"), 0)
    assert.strictEqual((await node.links()).length, 1)
    assert.strictEqual((await node.routes()).length, given.length)
  })

  it("ends with 0 on SIGTERM in the middle of ADDs too, and leaves none of them half made", async () => {
    const pods = await Promise.all(Array.from({ length: 8 }, () => node.pod()))
    for (let i = 0; i < 4; i++) {
      await node.start()
      const calls = pods.map((pod) => node.cni("ADD", pod))
      await sleep(15 + 10 * i)
      assert.strictEqual(await node.stop("SIGTERM"), 0)
      await Promise.all(calls)
      await node.start()
      for (const pod of pods) assert.strictEqual((await node.cni("DEL", pod)).code, 0)
      await assertConsistent(new Map())
      await node.stop("SIGTERM")
    }
  })

  it("logs one JSON object a line", async () => {
    await node.start()
    await node.stop()
    for (const line of node.readLog().trim().split("\n")) assert.isString(JSON.parse(line).message)
  })

  it("a second agent on the same socket refuses in one line and harms nothing", async () => {
    await node.start()
    const pod = await node.pod()
    await node.add(pod)
    const first = node.agent
    const second = node.spawnAgent()
    const code = await new Promise((done) => second.on("exit", done))
    node.agent = first
    assert.strictEqual(code, 1)
    assert.match(node.readLog(), /flock-agent: cannot listen on .*another flock-agent serves there already\n/)
    assert.strictEqual((await status()).allocations.length, 1)
  })

  it("bad usage ends with 2, a fatal error with 1 and one line", async () => {
    const agent = join(import.meta.dirname, "../../dist/flock-agent.mjs")
    for (const args of [["run", "--no-such-flag"], ["frobnicate"], ["why"], ["why", "foo"]]) {
      assert.strictEqual((await exec(process.execPath, [agent, ...args])).code, 2, args.join(" "))
    }
    const away = await exec(process.execPath, [agent, "status", "--socket", "/nonexistent/agent.sock"])
    assert.strictEqual(away.code, 1)
    assert.match(away.stderr, /^flock-agent: no agent answers on \/nonexistent\/agent\.sock.*\n$/)
    assert.strictEqual((await exec(process.execPath, [agent, "version"])).stdout, "0.1.0\n")
  })

  it("answers /healthz, /readyz and /metrics", async () => {
    await node.start()
    assert.strictEqual(await node.metrics("/healthz"), "ok\n")
    assert.strictEqual(await node.metrics("/readyz"), "ok\n")
    await node.add(await node.pod())
    const metrics = await node.metrics()
    assert.match(metrics, /^flock_allocations 1$/m)
    assert.match(metrics, /^flock_cni_calls_total\{verb="ADD",code="0"\} 1$/m)
    assert.match(metrics, /^flock_addresses\{family="ipv4",state="used"\} 1$/m)
  })

  it("without a NodeConfig: not ready, STATUS 50, ADD 11; writing one heals it", async () => {
    rmSync(join(node.config, "nodeconfig.yaml"))
    await node.start()
    assert.match(await node.metrics("/readyz"), /no NodeConfig/)
    assert.strictEqual((await node.cni("STATUS")).json.code, 50)
    const pod = await node.pod()
    assert.strictEqual((await node.cni("ADD", pod)).json.code, 11)
    node.writeNodeConfig(DUAL)
    await until("ready", async () => await node.metrics("/readyz") === "ok\n")
    assert.deepStrictEqual(await node.cni("STATUS"), { code: 0, json: undefined })
    await node.add(pod)
  })

  it("a NodeConfig that is not valid leaves the old one in force, and says why", async () => {
    await node.start()
    node.writeNodeConfig({ ...DUAL, cidr4: "10.77.0.1/24" })
    await until(
      "the refusal is shown",
      async () => (await node.tool("status")).stdout.includes("did you mean 10.77.0.0/24")
    )
    await node.add(await node.pod())
    writeFileSync(join(node.config, "nodeconfig.yaml"), "{ half: [written")
    await until(
      "the slip is shown with its place",
      async () => /NOT in force: \S+\/nodeconfig\.yaml:1:\d+: /.test((await node.tool("status")).stdout)
    )
    await node.add(await node.pod())
    node.writeNodeConfig(DUAL)
    await until("healed", async () => !(await node.tool("status")).stdout.includes("NOT in force"))
  })

  it("100 pods at once, of which every one works, then 100 DELs at once", async () => {
    await node.start()
    const names = await Promise.all(Array.from({ length: 100 }, () => node.pod()))
    const pods = new Map(
      await Promise.all(names.map(async (name) => [name, addressesOf(await node.add(name))] as const))
    )
    await assertConsistent(pods)
    await assertConnected(pods)
    const dels = await Promise.all(names.map((name) => node.cni("DEL", name)))
    assert.deepStrictEqual(dels.filter((reply) => reply.code !== 0), [])
    await assertConsistent(new Map())
  })
})
