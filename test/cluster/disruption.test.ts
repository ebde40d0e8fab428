/** What happens to nodes and to flock itself, while pings and HTTP go on to pods that it must not concern. */
import { assert, it } from "@effect/vitest"
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll } from "vitest"
import type { Cluster, KubeObject } from "../../lab/Cluster.ts"
import { killSandbox } from "../../lab/containerd.ts"
import { ip } from "../../lab/exec.ts"
import { agentPod, established, nodeConfig, prefixes } from "../../lab/site.ts"
import { sleep, until } from "../../lab/until.ts"
import { addressesOf, fetchFrom, isReady, onCluster, onNode, pod, podsOf, readyPods, workload } from "./fixture.ts"
import { lossesDuring } from "./losses.ts"

/** A minute, as operators see it, where there is time for it. */
const API_AWAY_MS = process.env["FLOCK_LONG"] === undefined ? 15_000 : 60_000

/** On both nodes, and on the first alone. */
const BOTH = ["2001:db8:a::2", "198.18.53.2"] as const
const FIRST = ["2001:db8:a::1", "198.18.53.1"] as const
const announced = (addresses: ReadonlyArray<string>) => ({ "flock.fritzlab.net/anycast": addresses.join(",") })

/** A pod that kubelet has from a file, from its next start on. Gives back how to take it away. */
const addStaticPod = (cluster: Cluster, i: number, name: string): () => void => {
  const home = join(cluster.place.directory, `node${i}`)
  const folder = join(home, "static")
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${name}.json`)
  writeFileSync(file, JSON.stringify(pod(name)))
  appendFileSync(join(home, "kubelet.yaml"), `\nstaticPodPath: ${folder}\n`)
  return () => rmSync(file)
}

const flockIsReady = (cluster: Cluster, i: number, seconds = 60): Promise<true> =>
  until(`flock on node${i}`, async () => {
    const name = await agentPod(cluster, i)
    return isReady(await cluster.get("-n", "flock-system", "pod", name))
  }, seconds)

onCluster("what may happen to it", ({ client, cluster, world }) => {
  /** Everything that must answer all along. */
  const steady: Array<string> = []

  beforeAll(async () => {
    // a probe that a busy machine cannot fail: a withdrawal for that is right, and moves flows
    const container = { readinessProbe: { httpGet: { port: 80, path: "/" }, periodSeconds: 1, timeoutSeconds: 10 } }
    await cluster.apply(
      pod("steady1", { spec: onNode(1), annotations: announced([...FIRST, ...BOTH]), container }),
      pod("steady2", { spec: onNode(2), annotations: announced(BOTH), container })
    )
    for (const name of ["steady1", "steady2"]) {
      const [found] = await readyPods(cluster, name, 1)
      steady.push(...addressesOf(found))
    }
    steady.push(...FIRST, ...BOTH)
    for (const address of steady) await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false))
  }, 120_000)

  const assertLossless = async (
    task: () => Promise<unknown>,
    addresses: ReadonlyArray<string> = steady
  ): Promise<void> => {
    const { fetches, lost, pings } = await lossesDuring(world, client, addresses, task)
    console.log(`${pings} pings, ${fetches} requests, lost: ${lost.length === 0 ? "none" : lost.join("; ")}`)
    assert.deepStrictEqual(lost, [])
    assert.isAbove(pings, 100)
    assert.isAbove(fetches, 100)
  }

  it("60 pods at once: each has its addresses and goes, with grace or without", () =>
    assertLossless(async () => {
      const container = { command: ["sleep", "1000"], readinessProbe: undefined }
      await cluster.apply(workload("Deployment", "many", { replicas: 60 }, { container }))
      const from = performance.now()
      const found = await readyPods(cluster, "many", 60, 150)
      console.log(`60 pods in ${((performance.now() - from) / 1000).toFixed(0)} s`)
      const addresses = found.flatMap(addressesOf)
      assert.strictEqual(new Set(addresses).size, 120)
      await cluster.kubectl("scale", "deployment/many", "--replicas=0")
      const names = found.slice(0, 20).map(({ metadata }) => metadata.name)
      await cluster.kubectl("delete", "pod", "--force", "--grace-period=0", "--ignore-not-found", ...names)
      await until("the pods are gone", async () => (await podsOf(cluster, "many")).length === 0, 90)
      await cluster.kubectl("delete", "deployment", "many")
    }), 300_000)

  it("a pod whose sandbox is killed has a network again", () =>
    assertLossless(async () => {
      await cluster.apply(pod("victim", { spec: { ...onNode(2), hostname: "victim" } }))
      const [before] = await readyPods(cluster, "victim", 1)
      const [six = ""] = addressesOf(before).filter((address) => address.includes(":"))
      await killSandbox(cluster, 2, before.metadata.uid)
      await until("another sandbox", async () => {
        const [after] = await podsOf(cluster, "victim")
        return isReady(after) && !addressesOf(after).includes(six)
      }, 60)
    }))

  it("an eviction, and a drain: pods come up on the other node, and an announced address with them", async () => {
    const labels = { drained: "yes" }
    await cluster.apply(
      workload("Deployment", "moving", { replicas: 3 }, { annotations: announced(["2001:db8:a::3"]), labels })
    )
    const [first] = await readyPods(cluster, "moving", 3)
    const { name, namespace } = first.metadata
    const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace } }
    const path = `/api/v1/namespaces/${namespace}/pods/${name}/eviction`
    const { code, stderr } = await cluster.try("k", ["create", "--raw", path, "-f", "-"], JSON.stringify(eviction))
    assert.strictEqual(code, 0, stderr)
    await readyPods(cluster, "moving", 3)
    try {
      await assertLossless(async () => {
        await cluster.kubectl(
          "drain",
          "node2",
          "--ignore-daemonsets",
          "--force",
          "--pod-selector=drained",
          "--timeout=60s"
        )
        const found = await readyPods(cluster, "moving", 3)
        assert.deepStrictEqual([...new Set(found.map(({ spec }) => spec.nodeName))], ["node1"])
      })
      const route = await ip(cluster.netns("tor"), "-6", "route", "show", "2001:db8:a::3")
      assert.include(route, "dn1")
      assert.notInclude(route, "dn2")
    } finally {
      await cluster.kubectl("uncordon", "node2")
    }
  })

  it("a roll-out of the DaemonSet", () =>
    assertLossless(async () => {
      await cluster.kubectl("-n", "flock-system", "rollout", "restart", "daemonset/flock-agent")
      await cluster.kubectl("-n", "flock-system", "rollout", "status", "daemonset/flock-agent", "--timeout=120s")
      await Promise.all([1, 2].map((i) => established(cluster, i)))
    }), 180_000)

  it("an agent killed: it is back, and serves", () =>
    assertLossless(async () => {
      await cluster.kill(1, "flock-agent run")
      await cluster.apply(pod("after-agent", { spec: onNode(1) }))
      await readyPods(cluster, "after-agent", 1, 90)
    }), 180_000)

  it("a BIRD killed: it is back, and its sessions", () =>
    assertLossless(async () => {
      await cluster.kill(1, "bird -f")
      await sleep(1000)
      await established(cluster, 1)
      await flockIsReady(cluster, 1)
    }), 180_000)

  it(
    "an API server away: nothing stops, and what it was told meanwhile is done after",
    () =>
      assertLossless(async () => {
        await cluster.command("api", "kill")
        await sleep(API_AWAY_MS)
        await cluster.command("api", "start")
        await cluster.apply(pod("after-api", { spec: onNode(2) }))
        await readyPods(cluster, "after-api", 1, 90)
      }),
    240_000
  )

  it(
    "a NodeConfig edited: pods that run keep what they have, new ones are refused it",
    () =>
      assertLossless(async () => {
        try {
          await cluster.apply(nodeConfig(1, { anycast: { allowedCIDRs: [] } }))
          // after an outage of the API server watches come back one by one, within half a minute
          await until("the agent has it", async () => {
            const { metadata, status } = await cluster.get("nodeconfig", "node1")
            return status.observedGeneration === metadata.generation
          }, 60)
          await cluster.apply(pod("refused", { spec: onNode(1), annotations: announced(["2001:db8:a::9"]) }))
          await until("the refusal is said", async () => {
            const { items } = await cluster.get("events", "--field-selector", "involvedObject.name=refused")
            return items.some(({ message }: KubeObject) => /2001:db8:a::9.*allowedCIDRs/.test(message))
          }, 30)
        } finally {
          await cluster.apply(nodeConfig(1))
        }
        await readyPods(cluster, "refused", 1, 90)
      }),
    240_000
  )

  it("a NodeConfig deleted: its node is withdrawn, no other, and back with the next one", async () => {
    const [one] = await podsOf(cluster, "steady1")
    const [two] = await podsOf(cluster, "steady2")
    await assertLossless(async () => {
      try {
        await cluster.kubectl("delete", "nodeconfig", "node1")
        const [prefix] = Object.values(prefixes(1))
        const route = () => ip(cluster.netns("tor"), "-6", "route", "show", String(prefix))
        await until("node1 is withdrawn", async () => await route() === "", 30)
      } finally {
        await cluster.apply(nodeConfig(1))
      }
      await established(cluster, 1)
      for (const address of addressesOf(one)) {
        await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false), 20)
      }
    }, addressesOf(two))
  }, 240_000)

  it("the label taken away: the agent goes, pods and routes stay until it is back", () =>
    assertLossless(async () => {
      await cluster.kubectl("label", "node", "node2", "flock.fritzlab.net/agent-")
      await until("no agent on node2", async () => !(await agentPod(cluster, 2).catch(() => false)), 60)
      await sleep(3000)
      await cluster.kubectl("label", "node", "node2", "flock.fritzlab.net/agent=")
      await until("an agent on node2", () => agentPod(cluster, 2).catch(() => false), 60)
      await flockIsReady(cluster, 2)
      await established(cluster, 2)
    }), 240_000)

  it("a power cycle of a node: the other goes on, its own pods come back, static ones too", async () => {
    const [one] = await podsOf(cluster, "steady1")
    const remove = addStaticPod(cluster, 2, "fixed")
    try {
      await assertLossless(async () => {
        await cluster.command("reboot", "2")
        await until("node2's pod runs again", async () => {
          const [two] = await podsOf(cluster, "steady2")
          return two.status.containerStatuses?.[0].restartCount > 0 && isReady(two)
        }, 120)
        await cluster.ready(2)
        await established(cluster, 2)
        await flockIsReady(cluster, 2)
        const [fixed] = await readyPods(cluster, "fixed", 1, 60)
        assert.lengthOf(addressesOf(fixed), 2)
        for (const address of addressesOf(fixed)) await fetchFrom(client, address)
      }, [...addressesOf(one), ...FIRST])
    } finally {
      remove()
      await until("the static pod is gone", async () => (await podsOf(cluster, "fixed")).length === 0, 60)
    }
  }, 300_000)
})
