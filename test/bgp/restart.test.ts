import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { existsSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Attached } from "../../lab/AgentNode.ts"
import { end, exec, run } from "../../lab/exec.ts"
import { node4, node6, ROUTER4 } from "../../lab/Lan.ts"
import { Network, nodeSpec, peers } from "../../lab/Network.ts"
import { pinging, type Pings } from "../../lab/ping.ts"
import { sidecar } from "../../lab/sidecar.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

/** Long-lived graceful restart is off always. */
const OFF = /^ *graceful restart off;/m

/** What was lost of both families' pings while `happens`. */
interface Loss {
  readonly v6: Pings
  readonly v4: Pings
}

const lostOf = ({ v4, v6 }: Loss): number => v6.sent - v6.received + v4.sent - v4.received

describe("restarts, with pings from the client all along", () => {
  const world = new World()
  let network: Network
  let pod: Attached

  beforeAll(async () => {
    network = await Network.open(world, { router: "frr", nodes: 1 })
    pod = await node().attachedPod()
  }, 60_000)
  afterAll(() => world.close())

  const node = () => network.node(0)

  const there = () => network.isRouted(0)
  const routed = (wanted: boolean, seconds?: number) => network.routed(0, wanted, seconds)

  const settled = () =>
    until("both sessions Established", async () => {
      const { bird } = await node().status()
      if (bird.stale || bird.peers.some((peer: { readonly state: string }) => peer.state !== "Established")) {
        throw new Error(JSON.stringify(bird))
      }
      return bird.peers.length === 2
    }, 20)

  const during = async (happens: () => Promise<void>): Promise<Loss> => {
    const [six, four] = [pinging(network.lan.client, pod.v6), pinging(network.lan.client, pod.v4)]
    await sleep(300)
    await happens()
    await sleep(300)
    return { v6: await six.stop(), v4: await four.stop() }
  }

  it("loses nothing when the agent is killed and started again", async () => {
    const revision = /flock_revision = "(\w+)"/.exec(node().readConf())?.[1]
    const loss = await during(async () => {
      await node().stop("SIGKILL")
      await sleep(300)
      await node().start()
      await sleep(2000)
      await settled()
    })
    assert.isAbove(loss.v6.sent, 200)
    assert.strictEqual(lostOf(loss), 0, loss.v6.text + loss.v4.text)
    assert.isTrue(await there())
    assert.strictEqual(/flock_revision = "(\w+)"/.exec(node().readConf())?.[1], revision)
    const { bird } = await node().status()
    assert.strictEqual(bird.reloads, 0)
  })

  it("keeps routes over a BIRD that is killed and restarted, by graceful restart", async () => {
    await settled()
    const loss = await during(async () => {
      await node().stopBird("SIGKILL")
      await sleep(1000)
      assert.isTrue(await there())
      await node().startBird()
      await settled()
    })
    console.log(`BIRD restart with graceful restart: ${lostOf(loss)} of ${loss.v6.sent + loss.v4.sent} pings lost`)
    assert.strictEqual(lostOf(loss), 0, loss.v6.text + loss.v4.text)
    assert.isTrue(await there())
  })

  it("keeps routes over a planned stop, as kubelet ends the BIRD of the DaemonSet", async () => {
    await node().stopBird("SIGKILL")
    const log = join(node().birdDirectory, "bird.log")
    const container = world.spawn(sidecar(node().birdDirectory), { netns: node().netns, log })
    const alive = async () =>
      (await exec("birdc", ["-s", join(node().birdDirectory, "bird.ctl"), "show", "status"])).code === 0
    await until("BIRD answers", alive)
    await settled()
    await routed(true)
    const loss = await during(async () => {
      await end(container, "SIGTERM")
      assert.strictEqual(container.exitCode, 0)
      assert.isFalse(await alive())
      await sleep(1000)
      assert.isTrue(await there())
      await node().startBird()
      await settled()
    })
    assert.strictEqual(lostOf(loss), 0, loss.v6.text + loss.v4.text)
  })

  it("loses nothing in a roll-out to an agent that writes the sessions otherwise: BIRD starts on the new file", async () => {
    await node().stopBird("SIGKILL")
    const directory = node().birdDirectory
    const log = join(directory, "roll-out.log")
    const container = () => world.spawn(sidecar(directory), { netns: node().netns, log })
    const mark = join(directory, "agent-ended")
    const before = container()
    let after = before
    await settled()
    await routed(true)
    assert.isFalse(existsSync(mark))
    const loss = await during(async () => {
      await Promise.all([node().stop(), end(before, "SIGTERM")])
      assert.isTrue(existsSync(mark))
      node().writeNodeConfig(nodeSpec(0, { peers: peers({ holdTimeSeconds: 45 }) }))
      after = container()
      await sleep(500)
      await node().start()
      await until("both sessions Established with the new option", async () => {
        assert.isNull(after.exitCode)
        return /hold time 45;/.test(node().readConf()) && await settled()
      })
    })
    assert.strictEqual(lostOf(loss), 0, loss.v6.text + loss.v4.text)
    assert.isFalse(existsSync(mark))
    assert.notMatch(readFileSync(log, "utf8"), /Restarting protocol peer/)
    await node().stop("SIGKILL")
    assert.isFalse(existsSync(mark), "a killed agent has not ended in order: BIRD is not kept waiting for the next")
    await node().start()
    await end(after, "SIGTERM")
    await node().startBird()
    node().writeNodeConfig(nodeSpec(0))
    await until("the edit is in force", async () => !/hold time 45;/.test(node().readConf()))
    await sleep(1000)
    await settled()
    await routed(true)
  })

  it("loses routes with graceful restart off (negative control)", async () => {
    node().writeNodeConfig(nodeSpec(0, { peers: peers({ gracefulRestart: false }) }))
    await until("the edit is in force", async () => OFF.test(node().readConf()))
    await sleep(1000)
    await settled()
    await routed(true)
    const loss = await during(async () => {
      await node().stopBird("SIGKILL")
      await routed(false, 2)
      await node().startBird()
      await routed(true)
    })
    console.log(`BIRD restart without graceful restart: ${lostOf(loss)} of ${loss.v6.sent + loss.v4.sent} pings lost`)
    assert.isAbove(lostOf(loss), 0)
    node().writeNodeConfig(nodeSpec(0))
    await until("the edit is in force", async () => !OFF.test(node().readConf()))
    await sleep(1000)
    await settled()
    await routed(true)
  })

  it("withdraws at once on `flock-agent withdraw --now`, stays withdrawn, and comes back on `restore`", async () => {
    const withdrawn = await node().tool("withdraw", "--now")
    assert.strictEqual(withdrawn.code, 0, withdrawn.stderr)
    await routed(false, 1)
    await sleep(2500)
    assert.isFalse(await there())
    assert.strictEqual((await node().tool("restore")).code, 0)
    await routed(true)
    await settled()
  })
})

describe("edits and accidents", () => {
  const world = new World()
  let network: Network

  beforeAll(async () => {
    network = await Network.open(world, { router: "bird", nodes: 1 })
  }, 60_000)
  afterAll(() => world.close())

  const node = () => network.node(0)
  const there = () => network.isRouted(0)
  const stale = async () => /^flock_bird_config_stale (\d)/m.exec(await node().metrics())?.[1]

  it("shows peers, states, times and prefixes per family in status and metrics", async () => {
    const { bird } = await until("counted", async () => {
      const status = await node().status()
      return status.bird.peers[0]?.ipv6.announced === 1 && status.bird.peers[1]?.ipv4.announced === 1 && status
    })
    for (const peer of bird.peers) {
      assert.strictEqual(peer.state, "Established")
      assert.match(peer.since, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/)
    }
    const metrics = await node().metrics()
    assert.match(metrics, /^flock_bird_up 1$/m)
    assert.match(metrics, /^flock_bird_config_stale 0$/m)
    assert.match(metrics, /^flock_bgp_session_established\{[^}]*peer="198\.51\.100\.1"[^}]*\} 1$/m)
    assert.match(metrics, /^flock_bgp_prefixes\{(?=[^}]*ipv6)(?=[^}]*announced)(?=[^}]*2001:db8:ffff::1)[^}]*\} 1$/m)
  })

  const good = nodeSpec(0)
  const peer = { address: "2001:db8:ffff::1", asn: 65000 }
  it.each<[string, object, string]>([
    ["an unknown peer field", { bgp: { asn: 65001, peers: [{ ...peer, hold: 9 }] } }, "hold"],
    ["an address that is none", { bgp: { asn: 65001, peers: [{ ...peer, address: "2001:db8::g" }] } }, "2001:db8::g"],
    ["a CIDR with host bits", { cidr6: "2001:db8:100::1/64" }, "2001:db8:100::1/64"],
    ["a cidr4 of the other family", { cidr4: "2001:db8:100::/64" }, "cidr4"]
  ])("keeps what runs after %s, and says so in log, metric and status", async (_, edit, words) => {
    const conf = node().readConf()
    node().writeNodeConfig({ ...good, ...edit })
    const status = await until("stale", async () => {
      const { bird } = await node().status()
      return bird.stale && bird
    })
    assert.include(status.configError, words)
    await until("stale in the metric", async () => await stale() === "1")
    assert.include(node().readLog(), words)
    assert.strictEqual(node().readConf(), conf)
    assert.isTrue(await there())
    node().writeNodeConfig(good)
    await until("good again", async () => !(await node().status()).bird.stale && await stale() === "0")
    assert.strictEqual(node().readConf(), conf)
  })

  it("leaves the other sessions alone when a peer is the node itself, and says so in log, metric and status", async () => {
    const conf = node().readConf()
    const sessions = conf.split("protocol bgp ").slice(1)
    node().writeNodeConfig(nodeSpec(0, { peers: [...peers(), { ...peer, address: node6(0) }] }))
    const status = await until("stale", async () => {
      const { bird } = await node().status()
      return bird.stale && bird
    })
    assert.include(status.configError, "own address")
    await until("stale in the metric", async () => await stale() === "1")
    assert.include(node().readLog(), "own address")
    assert.deepStrictEqual(node().readConf().split("protocol bgp ").slice(1), sessions)
    assert.isTrue(await there())
    node().writeNodeConfig(good)
    await until("good again", async () => !(await node().status()).bird.stale && await stale() === "0")
    assert.strictEqual(node().readConf(), conf)
  })

  it("follows a change of the node's address at once", async () => {
    const { netns } = node()
    const becomes = async (from: string, to: string) => {
      // To delete the first address of a subnet deletes the others, so the new one comes after.
      await run("ip", "-n", netns, "addr", "del", `${from}/24`, "dev", "uplink")
      await run("ip", "-n", netns, "addr", "add", `${to}/24`, "dev", "uplink")
      await until(`a session from ${to}`, async () => node().readConf().includes(`local ${to} as`), 5)
    }
    await becomes(node4(0), "198.51.100.50")
    await becomes("198.51.100.50", node4(0))
    await run("ip", "-n", netns, "route", "replace", "default", "via", ROUTER4, "metric", "100")
    await until("the prefix is back", there, 20)
  }, 30_000)

  it("heals an edited, then a deleted file within the 15 s tick", async () => {
    const conf = node().readConf()
    const healed = () => until("healed", async () => node().readConf() === conf, 20)
    const edited = join(node().birdDirectory, "edited")
    writeFileSync(edited, conf.replaceAll("hold time 9", "hold time 99"))
    renameSync(edited, node().conf)
    await healed()
    unlinkSync(node().conf)
    await healed()
    assert.isTrue(await there())
  }, 60_000)
})
