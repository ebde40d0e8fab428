/** What each file of this suite begins with: the cluster that setUp.ts brought up, and the audit at its end. */
import { assert } from "@effect/vitest"
import { afterAll, describe, inject } from "vitest"
import { Cluster, type KubeObject } from "../../lab/Cluster.ts"
import { settled } from "../../lab/clusterAudit.ts"
import { run } from "../../lab/exec.ts"
import type { Frr } from "../../lab/frr.ts"
import * as site from "../../lab/site.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

export interface Ground {
  readonly cluster: Cluster
  readonly router: Frr
  readonly world: World
  /** Network namespace of the client behind the router. */
  readonly client: string
}

/** A suite on the cluster; after its tests all sources must agree, with the pods that it left and without them. */
export const onCluster = (title: string, tests: (ground: Ground) => void): void => {
  const place = inject("cluster")
  describe.skipIf(place === undefined)(`on a whole cluster: ${title}`, () => {
    if (place === undefined) return
    const cluster = new Cluster(place)
    const world = new World()
    const router = site.routerOf(cluster, world)
    const agrees = async () => {
      const found = await settled(cluster, router, 60)
      if (found.length > 0) console.error(await site.describe(cluster))
      assert.deepStrictEqual(found, [])
    }
    afterAll(async () => {
      try {
        await agrees()
        await removeAll(cluster)
        await agrees()
      } finally {
        await world.close()
      }
    })
    tests({ cluster, router, world, client: cluster.netns("client") })
  })
}

/** Busybox, as every node has it. */
const IMAGE = "local/app:1"

export interface PodOptions {
  readonly annotations?: Record<string, string>
  readonly labels?: Record<string, string>
  /** Of the pod's `spec`. */
  readonly spec?: object
  /** Of its only container. */
  readonly container?: object
}

/** Serves its own name by HTTP on port 80. */
const SERVE = "echo $HOSTNAME > /www/index.html; exec httpd -f -p 80 -h /www"

/** On everything that a test makes, for {@link removeAll}. */
const LABELS = { "flock-test": "cluster" }

export const podTemplate = (
  name: string,
  { annotations = {}, container = {}, labels = {}, spec = {} }: PodOptions
) => ({
  metadata: { labels: { ...LABELS, app: name, ...labels }, annotations },
  spec: {
    terminationGracePeriodSeconds: 1,
    containers: [{
      name: "main",
      image: IMAGE,
      imagePullPolicy: "Never",
      command: ["sh", "-c", SERVE],
      readinessProbe: { httpGet: { port: 80, path: "/" }, periodSeconds: 1, failureThreshold: 1 },
      ...container
    }],
    ...spec
  }
})

export const pod = (name: string, options: PodOptions = {}) => {
  const { metadata, spec } = podTemplate(name, options)
  return { apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "default", ...metadata }, spec }
}

/** A Deployment, or what else `kind` says, of `apps/v1`. */
export const workload = (kind: string, name: string, spec: object, options: PodOptions = {}) => ({
  apiVersion: "apps/v1",
  kind,
  metadata: { name, namespace: "default", labels: LABELS },
  spec: { selector: { matchLabels: { app: name } }, template: podTemplate(name, options), ...spec }
})

export const service = (name: string, spec: object = {}) => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default", labels: LABELS },
  spec: { selector: { app: name }, ports: [{ port: 80 }], ipFamilyPolicy: "RequireDualStack", ...spec }
})

/** On node i, whatever the scheduler thinks. */
export const onNode = (i: number) => ({ nodeName: `node${i}` })

export const podsOf = async (cluster: Cluster, name: string): Promise<ReadonlyArray<KubeObject>> =>
  (await cluster.get("pods", "-l", `app=${name}`)).items

export const addressesOf = (found: KubeObject): ReadonlyArray<string> =>
  (found.status.podIPs ?? []).map(({ ip }: { readonly ip: string }) => ip)

export const isReady = (found: KubeObject): boolean =>
  found.metadata.deletionTimestamp === undefined &&
  (found.status.conditions ?? []).some((c: KubeObject) => c.type === "Ready" && c.status === "True")

/** Waits until exactly `count` pods of an app are there, and Ready. */
export const readyPods = (
  cluster: Cluster,
  name: string,
  count: number,
  seconds = 60
): Promise<ReadonlyArray<KubeObject>> =>
  until(`${count} Ready pods of ${name}`, async () => {
    const found = await podsOf(cluster, name)
    return found.length === count && found.every(isReady) && found
  }, seconds)

/** Removes what tests made, and waits until the pods are gone. */
export const removeAll = async (cluster: Cluster): Promise<void> => {
  const kinds = "deployment,statefulset,daemonset,job,service,poddisruptionbudget"
  await cluster.kubectl("delete", kinds, "-l", "flock-test", "--ignore-not-found", "--wait=false")
  await cluster.kubectl("delete", "pods", "-l", "flock-test", "--ignore-not-found", "--wait=true", "--timeout=60s")
}

const bracketed = (address: string): string => address.includes(":") ? `[${address}]` : address

/** HTTP from a network namespace of this machine, once. */
export const fetchFrom = async (netns: string, address: string, port = 80): Promise<string> =>
  (await run(
    "nsenter",
    `--net=/run/netns/${netns}`,
    "curl",
    "-sS",
    "--noproxy",
    "*",
    "--max-time",
    "3",
    `http://${bracketed(address)}:${port}/`
  )).trim()

/** HTTP inside a pod: busybox's wget looks up "http", which crashes a static glibc. */
export const fetchCommand = (address: string, port = 80): string =>
  `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 ${address} ${port} | tail -n 1 | grep .`

/** A shell's command in a pod's container. */
export const shellIn = async (cluster: Cluster, name: string, command: string): Promise<string> =>
  (await cluster.kubectl("exec", name, "--", "sh", "-c", command)).trim()

/** HTTP from a pod, once. */
export const fetchIn = (cluster: Cluster, name: string, address: string, port = 80): Promise<string> =>
  shellIn(cluster, name, fetchCommand(address, port))
