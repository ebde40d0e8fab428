/** One roll-out, forwards or back, under pings and HTTP: what it lost, and whether every pod kept what it had. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Cluster, KubeObject } from "../../lab/Cluster.ts"
import { settled } from "../../lab/clusterAudit.ts"
import { agentPod, established, execIn } from "../../lab/site.ts"
import { sleep, until } from "../../lab/until.ts"
import { addressesOf, fetchFrom, type Ground, onNode, pod, podsOf, readyPods, workload } from "../cluster/fixture.ts"
import { lossesDuring } from "../cluster/losses.ts"

/** Announced by one node, and by both. */
const FIRST = ["2001:db8:a::a1", "198.18.53.161"] as const
const BOTH = ["2001:db8:a::a2", "198.18.53.162"] as const
const announced = (addresses: ReadonlyArray<string>) => ({ "flock.fritzlab.net/anycast": addresses.join(",") })

/** Pods that stand all along; everything at which they must answer. */
export const standing = async ({ client, cluster }: Ground): Promise<ReadonlyArray<string>> => {
  // a probe that a busy machine cannot fail: a withdrawal for that is right, and moves flows
  const container = { readinessProbe: { httpGet: { port: 80, path: "/" }, periodSeconds: 1, timeoutSeconds: 10 } }
  await cluster.apply(
    pod("kept1", { spec: onNode(1), annotations: announced([...FIRST, ...BOTH]), container }),
    pod("kept2", { spec: onNode(2), annotations: announced(BOTH), container })
  )
  const found = [...await readyPods(cluster, "kept1", 1), ...await readyPods(cluster, "kept2", 1)]
  const addresses = [...found.flatMap(addressesOf), ...FIRST, ...BOTH]
  for (const address of addresses) {
    await until(`${address} answers`, () => fetchFrom(client, address).catch(() => false), 30)
  }
  return addresses
}

const numbers = [1, 2]

/** By node and container: the addresses that the agents say they gave. */
const given = async (cluster: Cluster): Promise<ReadonlyMap<string, string>> => {
  const all = await Promise.all(numbers.map(async (i) => {
    const { code, stderr, stdout } = await execIn(cluster, i, "agent", "flock-agent", "status", "--json")
    if (code !== 0) throw new Error(`status on node${i}: ${stderr}`)
    const { allocations } = JSON.parse(stdout)
    return allocations.map(({ containerId, ipv4, ipv6 }: KubeObject) => [`node${i} ${containerId}`, `${ipv6} ${ipv4}`])
  }))
  return new Map(all.flat())
}

/** What BIRD has on each node, without remarks. */
const configurations = (cluster: Cluster): ReadonlyArray<string> =>
  numbers.map((i) =>
    readFileSync(join(cluster.stateOf(i), "bird/bird.conf"), "utf8").split("\n").filter((line) =>
      !/^\s*#|^$/.test(line)
    )
      .filter((line) => !line.includes("revision")).join("\n")
  )

export interface Stage {
  readonly seconds: number
  readonly pings: number
  readonly fetches: number
  /** Pods with a network of their own: those of before, and those that were made while it went on and after. */
  readonly kept: number
  readonly made: number
  /**
   * What was lost. BIRD starts on the file of the agent before: where the new one's is another, it is reconfigured at once, and
   * an option of a session or of the kernel's protocol that differs restarts that.
   */
  readonly lost: ReadonlyArray<string>
  /** Both have the same `bird.conf`: nothing may be lost. */
  readonly sameConfiguration: boolean
  /** Empty: nothing is wrong. */
  readonly problems: ReadonlyArray<string>
}

/** `site`: what `kubectl apply -k` takes. `name` is of the pods that are made. */
export const rollTo = async (
  { client, cluster, router, world }: Ground,
  site: string,
  name: string,
  addresses: ReadonlyArray<string>
): Promise<Stage> => {
  const before = await given(cluster)
  const configured = configurations(cluster)
  const agents = await Promise.all(numbers.map((i) => agentPod(cluster, i)))
  const from = performance.now()
  const made = { replicas: 4 }
  const { fetches, lost, pings } = await lossesDuring(world, client, addresses, async () => {
    await cluster.kubectl("apply", "-k", site)
    await cluster.apply(workload("Deployment", `during-${name}`, made))
    await cluster.kubectl("-n", "flock-system", "rollout", "status", "daemonset/flock-agent", "--timeout=300s")
    await Promise.all(numbers.map((i) => established(cluster, i, 120)))
    await cluster.apply(workload("Deployment", `after-${name}`, made))
    for (const when of ["during", "after"]) await readyPods(cluster, `${when}-${name}`, made.replicas, 120)
    await sleep(2000)
  })
  const seconds = (performance.now() - from) / 1000
  const now = await given(cluster)
  const same = (await Promise.all(numbers.map((i) => agentPod(cluster, i)))).filter((agent) => agents.includes(agent))
  const other = [...before].filter(([container, addresses]) => now.get(container) !== addresses)
  const twice = [...now.values()].flatMap((text) => text.split(" ")).filter((one, i, all) => all.indexOf(one) !== i)
  const unreachable: Array<string> = []
  for (const when of ["during", "after"]) {
    for (const found of await podsOf(cluster, `${when}-${name}`)) {
      for (const address of addressesOf(found)) {
        await fetchFrom(client, address).catch((error: unknown) => unreachable.push(`${address}: ${String(error)}`))
      }
    }
  }
  return {
    seconds,
    pings,
    fetches,
    kept: before.size,
    made: now.size - before.size,
    lost,
    sameConfiguration: configurations(cluster).every((text, i) => text === configured[i]),
    problems: [
      ...same.map((agent) => `${agent} was not replaced`),
      ...other.map(([container, addresses]) => `${container} had ${addresses}, has ${now.get(container) ?? "nothing"}`),
      ...twice.map((address) => `${address} was given twice`),
      ...unreachable,
      ...await settled(cluster, router, 60)
    ]
  }
}
