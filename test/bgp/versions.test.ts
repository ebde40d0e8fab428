/**
 * What flock needs of BIRD and asks of it, in short with a BIRD 2 and a BIRD 3 of other releases, each against the FRR of
 * that release. `npm run test:bgp:all` runs all suites of this folder with every version.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { join } from "node:path"
import { end, exec, run } from "../../lab/exec.ts"
import { ANYCAST4, ANYCAST6, cidr6, Network, nodeSpec, peers } from "../../lab/Network.ts"
import { ping, pinging } from "../../lab/ping.ts"
import { sidecar } from "../../lab/sidecar.ts"
import { sleep, until } from "../../lab/until.ts"
import { chooseVersions, packagesOf, VERSIONS } from "../../lab/versions.ts"
import { World } from "../../lab/World.ts"

const LEARNED = "2001:db8:c::/64"

/** Of a Debian package: `2.17.6` of `2.17.6-0+deb13u1`. */
const upstream = (line: string): string => line.split(" ")[1]?.split("-")[0] ?? ""

describe.each(VERSIONS.filter((version) => version.includes(" frr")))("%s", (version) => {
  const world = new World()
  let network: Network

  beforeAll(async () => {
    chooseVersions(version)
    network = await Network.open(world, { nodes: 1, bfd: true })
  }, 300_000)
  afterAll(async () => {
    await world.close()
    chooseVersions(process.env["LAB_DEBIAN"] ?? "")
  })

  const node = () => network.node(0)
  const hasLearned = async () => (await node().inside("ip", "-6", "route")).includes(`${LEARNED} via`)
  const settled = () =>
    until("both sessions and their BFD are up", async () => {
      const { bird } = await node().status()
      const up = bird.peers.filter(({ bfd, state }) => state === "Established" && bfd?.state === "Up")
      if (bird.stale || up.length !== 2) throw new Error(JSON.stringify(bird))
      return bird
    }, 30)

  it("is what runs", async () => {
    const packages = packagesOf(version)
    const bird = packages.find((line) => line.startsWith("bird")) ?? ""
    const frr = packages.find((line) => line.startsWith("frr "))
    assert.strictEqual((await node().status()).bird.version, upstream(bird))
    const said = await run("vtysh", "--vty_socket", network.lan.directory, "-c", "show version")
    if (frr !== undefined) assert.include(said, `FRRouting ${upstream(frr)} `)
  })

  it("is read: sessions, BFD, prefixes of each family", async () => {
    const { peers: known, up } = await settled()
    assert.isTrue(up)
    assert.deepStrictEqual(known.map(({ ipv4, ipv6 }) => [ipv6.announced, ipv4.announced]), [[1, 0], [0, 1]])
    for (const peer of known) assert.match(peer.since, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/)
  })

  it("learns what it may, and says how much", async () => {
    node().writeNodeConfig(nodeSpec(0, { peers: peers({ bfd: true }), importCIDRs: [LEARNED] }))
    await until(
      "the route is in the kernel",
      async () => (await node().inside("ip", "-6", "route")).includes(`${LEARNED} via`)
    )
    await until("it is counted", async () => (await node().status()).bird.peers[0]?.ipv6.learned === 1)
    assert.strictEqual((await node().status()).bird.configError, "")
  })

  it("announces an address while its pod is Ready, with no reload, and `why` knows it", async () => {
    const pod = await network.pod(0, "web", { anycast: [ANYCAST6, ANYCAST4] })
    await sleep(1500)
    const { reloads } = (await node().status()).bird
    pod.set({ ready: true })
    for (const address of [ANYCAST6, ANYCAST4]) await network.ways(address, 1)
    for (const address of [ANYCAST6, ANYCAST4]) {
      assert.strictEqual((await ping(network.lan.client, address)).received, 1)
    }
    const { code, stdout } = await node().tool("why", ANYCAST6)
    assert.strictEqual(code, 0, stdout)
    pod.set({ ready: false })
    for (const address of [ANYCAST6, ANYCAST4]) await network.ways(address, 0)
    assert.strictEqual((await node().status()).bird.reloads, reloads)
    await pod.del()
  })

  it("loses nothing when it is ended as kubelet ends the DaemonSet's, and started again", async () => {
    const pod = await node().attachedPod()
    const control = join(node().birdDirectory, "bird.ctl")
    const alive = async () => (await exec("birdc", ["-s", control, "show", "status"])).code === 0
    await node().stopBird("SIGKILL")
    const log = join(node().birdDirectory, "bird.log")
    const container = world.spawn(sidecar(node().birdDirectory), { netns: node().netns, log })
    await until("BIRD answers", alive)
    await settled()
    await network.routed(0, true)
    await until("what was learned is back", hasLearned)
    const loops = [pod.v6, pod.v4].map((address) => pinging(network.lan.client, address))
    await sleep(300)
    await end(container, "SIGTERM")
    assert.isFalse(await alive())
    await sleep(2000)
    assert.isTrue(await network.isRouted(0))
    assert.isTrue(await hasLearned())
    await node().startBird()
    await settled()
    const pings = await Promise.all(loops.map((loop) => loop.stop()))
    for (const { received, sent, text } of pings) assert.strictEqual(received, sent, text)
  })

  it("is withdrawn at once, and comes back", async () => {
    assert.strictEqual((await node().tool("withdraw", "--now")).code, 0)
    await network.routed(0, false, 2)
    assert.strictEqual((await node().tool("restore")).code, 0)
    await network.routed(0, true)
    assert.include([...(await network.lan.bgpTable(6)).keys()], cidr6(0))
  })
})
