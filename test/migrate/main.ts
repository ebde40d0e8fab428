/**
 * `npm run migrate`: "Leaving another CNI, node by node" of docs/operations.md, played through on two nodes, and back again. The
 * old CNI is ptp with host-local and static routes; on each node one of its pods is not drained. Pods of both CNIs, on one node and on
 * two, and a client behind the router talk all along. Ends with 1 if anything was lost or is not as the document says.
 */
import { Cluster, type KubeObject } from "../../lab/Cluster.ts"
import { exec, ip } from "../../lab/exec.ts"
import { prepare, thisRelease } from "../../lab/release.ts"
import { agentPod, applySite, describe, established, execIn, nodeConfig, startRouter } from "../../lab/site.ts"
import { sleep, until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { addressesOf, fetchFrom, onNode, pod, podsOf, readyPods, workload } from "../cluster/fixture.ts"
import { lossesDuring } from "../cluster/losses.ts"
import { Flows } from "./flows.ts"
import { CONFLIST, held, installOldCni } from "./oldCni.ts"

const NUMBERS = [1, 2] as const
const OLD = /^(10\.43\.|2001:db8:200:)/
const FLOCK = /^(10\.42\.|2001:db8:100:)/

const problems: Array<string> = []
const say = (what: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${what}`)
const expect = (fine: boolean, problem: string): void => {
  if (fine) return
  problems.push(problem)
  say(`PROBLEM: ${problem}`)
}

await using world = new World()
const own = await thisRelease(world.directory)
await using cluster = await Cluster.open()
const client = cluster.netns("client")

const one = async (name: string): Promise<KubeObject> => (await readyPods(cluster, name, 1, 90))[0]

/** A pod on one node whose addresses are of one CNI, and that the client and all of `others` reach. */
const tryPod = async (name: string, i: number, range: RegExp): Promise<KubeObject> => {
  await cluster.apply(pod(name, { spec: onNode(i), labels: { tried: "yes" } }))
  const found = await one(name)
  expect(
    addressesOf(found).length === 2 && addressesOf(found).every((a) => range.test(a)),
    `${name} has ${addressesOf(found)}`
  )
  for (const address of addressesOf(found)) {
    await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false), 20)
  }
  return found
}

const condition = async (i: number): Promise<string> => {
  const { spec, status } = await cluster.get("node", `node${i}`)
  const found = status.conditions.find(({ type }: KubeObject) => type === "NetworkUnavailable")
  const taints = (spec.taints ?? []).map(({ effect, key }: KubeObject) => `${key}:${effect}`).join(" ")
  return `${found === undefined ? "none" : `${found.status} ${found.reason}`}; taints: ${taints || "none"}`
}

/** What is on a node of either CNI. */
const left = async (i: number): Promise<string> => {
  const netns = cluster.netns(`node${i}`)
  const all = await Promise.all([
    ...["bird", "200", "201", "202", "203"].flatMap((proto) =>
      ["-4", "-6"].map(async (family) => {
        const { stdout } = await exec("ip", ["-n", netns, family, "route", "show", "table", "all", "proto", proto])
        return stdout.trim() === "" ? [] : [`proto ${proto} ${family}: ${stdout.trim().split("\n").length} routes`]
      })
    ),
    cluster.node(i, "nft", "list", "tables").then((text) => [text.trim().replaceAll("\n", ", ")]),
    cluster.node(i, "ls", "/etc/cni/net.d").then((text) => [`/etc/cni/net.d: ${text.trim().replaceAll("\n", " ")}`]),
    Promise.resolve([`${held(cluster, i).length} addresses in host-local`])
  ])
  return all.flat().join("; ")
}

/** As docs/operations.md says, "Remove flock from a node". */
const CLEAN = `
rm -f /opt/cni/bin/flock
for f in -4 -6; do for p in bird 203; do ip $f route flush proto $p; done; done
ip route flush table local proto 200
nft delete table inet flock; nft delete table arp flock
rm -rf /run/flock/*`

const AVAILABLE = JSON.stringify({
  status: { conditions: [{ type: "NetworkUnavailable", status: "False", reason: "FlockRemoved" }] }
})

const DRAIN = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s"]
const drain = (i: number) => cluster.kubectl("drain", `node${i}`, ...DRAIN, "--pod-selector=!stays")

/** A step with traffic from the client and between pods all along. */
const measured = async (
  what: string,
  pods: ReadonlyArray<KubeObject>,
  task: (flows: Flows) => Promise<void>
): Promise<void> => {
  const flows = new Flows(cluster, world)
  for (const from of pods) for (const to of pods) if (from !== to) await flows.add(from, to)
  const started = performance.now()
  const { fetches, lost, pings } = await lossesDuring(world, client, pods.flatMap(addressesOf), () => task(flows))
  const between = await flows.stop()
  const all = [...lost, ...between.lost]
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  say(
    `${what}: ${seconds} s; ${pings} pings and ${fetches} requests of the client, ${between.pings} pings between pods; lost: ${
      all.join("; ") || "none"
    }`
  )
  for (const line of all) expect(false, `${what}: ${line}`)
}

try {
  await startRouter(cluster, world)
  for (const i of NUMBERS) await installOldCni(cluster, i)
  for (const i of NUMBERS) await cluster.ready(i)
  const site = await prepare(cluster, own)
  await applySite(cluster, site)

  const labels = { stays: "yes" }
  await cluster.apply(...NUMBERS.map((i) => pod(`stays${i}`, { spec: onNode(i), labels })))
  await cluster.apply(workload("Deployment", "shop", { replicas: 4 }))
  const stays = [await one("stays1"), await one("stays2")]
  const shop = await readyPods(cluster, "shop", 4)
  expect(
    [...stays, ...shop].flatMap(addressesOf).every((address) => OLD.test(address)),
    "pods of the old CNI have other addresses"
  )
  for (const address of stays.flatMap(addressesOf)) {
    await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false))
  }
  say(`the old CNI alone; NetworkUnavailable: ${await condition(1)}`)

  const standing = [...stays]
  for (const i of NUMBERS) {
    await measured(`node${i} to flock`, standing, async (flows) => {
      await cluster.apply(nodeConfig(i))
      await drain(i)
      await cluster.kubectl("label", "node", `node${i}`, "flock.fritzlab.net/agent=")
      await until(`an agent on node${i}`, () => agentPod(cluster, i).catch(() => false), 60)
      await established(cluster, i)
      await until(
        "flock's conflist",
        async () => (await cluster.node(i, "ls", "/etc/cni/net.d")).includes("01-flock.conflist"),
        30
      )
      await until("the condition", async () => (await condition(i)).startsWith("False FlockReady"), 90)
      const { code, stdout } = await execIn(cluster, i, "agent", "flock-agent", "doctor")
      say(`node${i}: doctor (exit ${code}): ${stdout.trim().replaceAll("\n", " | ")}`)
      say(`node${i}: NetworkUnavailable: ${await condition(i)}`)
      const found = await tryPod(`new${i}`, i, FLOCK)
      for (const other of standing) {
        await flows.add(found, other)
        await flows.add(other, found)
      }
      await cluster.kubectl("uncordon", `node${i}`)
      standing.push(found)
      await readyPods(cluster, "shop", 4, 90)
      await sleep(3000)
    })
    say(`node${i}: ${await left(i)}`)
  }

  await cluster.kubectl("rollout", "restart", "deployment/shop")
  await cluster.kubectl("rollout", "status", "deployment/shop", "--timeout=90s")
  const moved = await until("all of shop is flock's", async () => {
    const found = await podsOf(cluster, "shop")
    return found.length === 4 && found.flatMap(addressesOf).every((address) => FLOCK.test(address)) && found
  }, 90)
  say(`shop: ${moved.flatMap(addressesOf).join(" ")}`)

  // a pod of the old CNI that is deleted under flock: its DEL comes to flock
  const [first = stays[0], second = stays[1]] = stays
  const before = held(cluster, 1)
  await cluster.kubectl("delete", "pod", "stays1", "--wait=true", "--timeout=60s")
  const leaked = held(cluster, 1).filter((address) => addressesOf(first).includes(address))
  say(
    `deleted ${
      addressesOf(first).join(" ")
    }: ${leaked.length} of its addresses stay in host-local (${before.length} before)`
  )
  standing.splice(standing.indexOf(first), 1)

  for (const i of NUMBERS) {
    const mine = standing.filter(({ metadata }) => metadata.name !== `new${i}`)
    await measured(`node${i} back`, mine, async (flows) => {
      await drain(i)
      const withdrawn = await execIn(cluster, i, "agent", "flock-agent", "withdraw")
      expect(withdrawn.code === 0, `withdraw: ${withdrawn.stderr}`)
      const uninstall = ["--uninstall", "--only", "conflist", "--cni-conf-dir", "/host/etc/cni/net.d"]
      const gone = await execIn(cluster, i, "agent", "flock-agent", "install-cni", ...uninstall)
      expect(gone.code === 0, `uninstall: ${gone.stderr}`)
      say(`node${i}: uninstall: ${gone.stdout.trim()}`)
      await cluster.kubectl("label", "node", `node${i}`, "flock.fritzlab.net/agent-")
      await until(`no agent on node${i}`, async () => !(await agentPod(cluster, i).catch(() => false)), 60)
      say(`node${i}: after flock: ${await left(i)}; NetworkUnavailable: ${await condition(i)}`)
      await cluster.node(i, "sh", "-c", CLEAN)
      await cluster.kubectl("patch", "node", `node${i}`, "--subresource=status", "-p", AVAILABLE)
      await cluster.kubectl("delete", "nodeconfig", `node${i}`)
      const found = await tryPod(`again${i}`, i, OLD)
      for (const other of mine) {
        await flows.add(found, other)
        await flows.add(other, found)
      }
      await cluster.kubectl("uncordon", `node${i}`)
      standing.splice(0, standing.length, ...mine, found)
      await sleep(3000)
      say(`node${i}: cleaned: ${await left(i)}; NetworkUnavailable: ${await condition(i)}`)
      await until("shop is Ready", async () => (await podsOf(cluster, "shop")).length === 4, 60)
    })
  }
  const scheduled = await readyPods(cluster, "shop", 4, 60).catch(() => [])
  expect(scheduled.length === 4, `shop is not scheduled: node1 ${await condition(1)}; node2 ${await condition(2)}`)
  expect(
    (await ip(cluster.netns("tor"), "-6", "route", "show", "2001:db8:100:1::/64")) === "",
    "the router still has node1's prefix of flock"
  )
  say(`the end; ${CONFLIST} serves; ${addressesOf(second).join(" ")} stood all along`)
} catch (error) {
  console.error(await describe(cluster))
  throw error
}
console.log(problems.length === 0 ? "nothing was lost, and all is as documented" : `PROBLEMS:\n${problems.join("\n")}`)
process.exitCode = problems.length === 0 ? 0 : 1
