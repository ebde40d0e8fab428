/**
 * What the API server says of pods, against what the agents, their records, the kernels, the pods' namespaces and the
 * router say: `agreement.ts` on a whole {@link Cluster}. The container runtime tells which container is which pod's.
 */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { describeDisagreement, disagreements, type NodeFacts, type Wanted } from "./agreement.ts"
import type { Cluster, KubeObject } from "./Cluster.ts"
import { sandboxesOf } from "./containerd.ts"
import { nodeFacts, type Place, routerFacts, routerSessions } from "./facts.ts"
import type { Frr } from "./frr.ts"
import { kernelRoutes } from "./Lan.ts"
import { link, prefixes } from "./site.ts"
import { sleep } from "./until.ts"

const list = (text: string | undefined): ReadonlyArray<string> =>
  (text ?? "").split(",").map((one) => one.trim()).filter((one) => one !== "")

/** What must be of a pod with a network of its own, by the API server alone but for the container's ID. */
const wantedOf = (pod: KubeObject, sandbox: string): Wanted => {
  const annotations: Record<string, string> = pod.metadata.annotations ?? {}
  const anycast = list(annotations["flock.fritzlab.net/anycast"])
  const ready = (pod.status.conditions ?? []).some((c: KubeObject) => c.type === "Ready" && c.status === "True")
  return {
    key: `${sandbox}/eth0`,
    ifName: "eth0",
    addresses: (pod.status.podIPs ?? []).map((one: { readonly ip: string }) => one.ip),
    anycast,
    follows: [...anycast, ...list(annotations["flock.fritzlab.net/addresses"])],
    ready: ready && pod.metadata.deletionTimestamp === undefined
  }
}

const ENDED = new Set(["Succeeded", "Failed"])

const factsOf = async (cluster: Cluster, i: number, pods: ReadonlyArray<KubeObject>): Promise<NodeFacts> => {
  const { directory } = cluster.place
  const sandboxes = await sandboxesOf(cluster, i)
  const mine = pods.filter(({ spec, status }) =>
    spec.nodeName === `node${i}` && spec.hostNetwork !== true && !ENDED.has(status.phase)
  )
  const placed = mine.map((pod) => ({ pod, sandbox: sandboxes.findLast(({ uid }) => uid === pod.metadata.uid) }))
  const wanted = placed.map(({ pod, sandbox }) =>
    wantedOf(pod, sandbox?.id ?? `${pod.metadata.namespace}-${pod.metadata.name}-has-no-sandbox`)
  )
  const inNode = ["nsenter", `--mount=${join(directory, `mntns/${i}`)}`]
  const netnsOf = new Map(
    placed.flatMap(({ sandbox }): ReadonlyArray<readonly [string, Place]> =>
      sandbox === undefined ? [] : [[`${sandbox.id}/eth0`, [...inNode, "ip", "-n", sandbox.netns]]]
    )
  )
  const stateDirectory = cluster.stateOf(i)
  const netns = cluster.netns(`node${i}`)
  const sources = { name: `node${i}`, netns, stateDirectory, socket: join(stateDirectory, "agent.sock") }
  const facts = await nodeFacts(sources, wanted, netnsOf)
  const linkLocal = facts.kernel.addresses.filter(({ address, dev }) => dev === "up0" && address.startsWith("fe80:"))
  const queued = readdirSync(join(stateDirectory, "del-queue")).filter((file) => file !== "lock")
  return {
    ...facts,
    stray: [...facts.stray, ...queued.map((file) => `del-queue/${file}`)],
    prefixes: Object.values(prefixes(i)),
    nextHops: [...link(i).node, ...linkLocal.map(({ address }) => address)]
  }
}

/** One look at everything; nothing: all agree. */
export const audit = async (cluster: Cluster, router: Frr): Promise<ReadonlyArray<string>> => {
  const { items } = await cluster.get("pods", "-A")
  const numbers = Array.from({ length: cluster.place.nodes }, (_, i) => i + 1)
  const tor = {
    bgpTable: (family: 4 | 6) => router.bgpTable(family),
    kernelRoutes: (family: 4 | 6) => kernelRoutes(router.netns, family, "bgp")
  }
  const [tables, sessions, ...nodes] = await Promise.all([
    routerFacts(tor, new Set()),
    routerSessions(router),
    ...numbers.map((i) => factsOf(cluster, i, items))
  ])
  return disagreements({ nodes, router: tables, sessions }).map(describeDisagreement)
}

/** Looks until all agree; after `seconds` what the last look found. */
export const settled = async (cluster: Cluster, router: Frr, seconds = 30): Promise<ReadonlyArray<string>> => {
  const end = performance.now() + seconds * 1000
  for (;;) {
    const found = await audit(cluster, router).catch((error: unknown) => [String(error)])
    if (found.length === 0 || performance.now() > end) return found
    await sleep(500)
  }
}
