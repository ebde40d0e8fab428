/** Objects of a small cluster, and the cluster layer against it. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Layer, Metric, type Scope } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { parseAllDocuments } from "yaml"
import { type ApiServer, pathOf } from "../../lab/ApiServer.ts"
import { until } from "../../lab/until.ts"
import type { Timing } from "../../src/kube/client.ts"
import * as Cluster from "../../src/kube/cluster.ts"
import { KubeApi } from "../../src/kube/KubeApi.ts"

export const NODE = "host001"
export const NAMESPACE = "flock-system"
export const AGENT_POD = `flock-agent-${NODE}`
export const manifests = resolve(import.meta.dirname, "../../manifests")

// oxlint-disable-next-line typescript/no-explicit-any -- YAML of any kind
export const documents = (file: string): Array<any> =>
  parseAllDocuments(readFileSync(resolve(manifests, file), "utf8")).map((d) => d.toJS())

/** Creates, and waits where a CRD must become served. */
export const create = async (api: ApiServer, object: unknown): Promise<void> => {
  const { status, body } = await api.call(
    "POST",
    pathOf(object as Parameters<typeof pathOf>[0]).replace(/\/[^/]*$/, ""),
    object
  )
  if (status !== 201) throw new Error(`create: ${status}: ${JSON.stringify(body)}`)
}

/** Waits until an Effect or a function gives something. */
export const wait = <A>(
  what: string,
  look: Effect.Effect<A | undefined | false> | (() => A | undefined | false | Promise<A | undefined | false>)
): Effect.Effect<A> =>
  Effect.promise(() => until(what, typeof look === "function" ? look : () => Effect.runPromise(look), 60))

export const nodeConfig = (name = NODE, spec: object = {}) => ({
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfig",
  metadata: { name },
  spec: { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24", ...spec }
})

export const NODECONFIGS = "/apis/flock.fritzlab.net/v1alpha1/nodeconfigs"

export const TEMPLATES = "/apis/flock.fritzlab.net/v1alpha1/nodeconfigtemplates"

export const node = (name = NODE) => ({ apiVersion: "v1", kind: "Node", metadata: { name } })

export const pod = (name: string, annotations: Record<string, string> = {}, nodeName = NODE) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "default", annotations },
  spec: { nodeName, terminationGracePeriodSeconds: 0, containers: [{ name: "c", image: "example.org/i:1" }] }
})

export const setReady = (api: ApiServer, name: string, ready: boolean) =>
  api.call(
    "PATCH",
    `/api/v1/namespaces/default/pods/${name}/status`,
    { status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] } },
    "application/strategic-merge-patch+json"
  )

export const remove = (api: ApiServer, name: string) =>
  api.call("DELETE", `/api/v1/namespaces/default/pods/${name}?gracePeriodSeconds=0`)

/** A pod of the DaemonSet as far as the API server needs one: tokens are bound to it. */
export const agentPod = (name: string, nodeName = NODE) => ({
  ...pod(name, {}, nodeName),
  metadata: { name, namespace: NAMESPACE },
  spec: { ...pod(name, {}, nodeName).spec, serviceAccountName: "flock-agent" }
})

/** The token that kubelet has made for a pod (TokenRequest, authentication.k8s.io/v1); with no pod, one bound to nothing. */
export const tokenOf = async (api: ApiServer, podName?: string): Promise<string> => {
  const bound = podName === undefined ? {} : {
    boundObjectRef: {
      apiVersion: "v1",
      kind: "Pod",
      name: podName,
      uid: (await api.call("GET", `/api/v1/namespaces/${NAMESPACE}/pods/${podName}`)).body.metadata.uid
    }
  }
  const { body, status } = await api.call(
    "POST",
    `/api/v1/namespaces/${NAMESPACE}/serviceaccounts/flock-agent/token`,
    { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { audiences: [], ...bound } }
  )
  if (status !== 201) throw new Error(`TokenRequest: ${status}: ${JSON.stringify(body)}`)
  return body.status.token
}

/**
 * Namespace, CRD (served), RBAC and admission as the manifests say; one Node, and the agent's pod on it, whose token is then
 * the one of `agent.kubeconfig`: all that the agent does in these tests, it does under both.
 */
export const prepare = async (api: ApiServer, nodeName = NODE): Promise<void> => {
  for (const file of ["namespace.yaml", "crd.yaml", "crd-template.yaml", "rbac.yaml", "admission.yaml"]) {
    for (const document of documents(file)) await create(api, document)
  }
  for (const path of [NODECONFIGS, TEMPLATES]) {
    await until("the CRD is served", async () => (await api.call("GET", path)).status === 200)
  }
  const agentOf = `flock-agent-${nodeName}`
  await create(api, node(nodeName))
  await create(api, agentPod(agentOf, nodeName))
  const kubeconfig = api.kubeconfig("agent")
  writeFileSync(kubeconfig, readFileSync(kubeconfig, "utf8").replace("agent-token", await tokenOf(api, agentOf)))
}

export interface AgentOptions {
  /** Default: {@link NODE}. */
  readonly nodeName?: string
  readonly stateDir?: string
  readonly timing?: Timing
  /** Where not, nothing is watched. */
  readonly run?: boolean
}

/** The layer as the agent has it, running until the scope ends. */
export const agent = (
  kubeconfig: string,
  options: AgentOptions = {}
): Effect.Effect<KubeApi["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const stateDir = options.stateDir ?? (yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), `flock-kube-state-${process.pid}-`))),
      (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
    ))
    const layer = Cluster.layer({
      nodeName: options.nodeName ?? NODE,
      kubeconfig,
      stateDir,
      namespace: NAMESPACE,
      backOff: { first: 20, most: 500 },
      ...(options.timing === undefined ? {} : { timing: options.timing })
    })
    const context = yield* Effect.orDie(Layer.build(Layer.provide(layer, NodeServices.layer)))
    const kube = Context.get(context, KubeApi)
    if (options.run !== false) yield* Effect.forkScoped(kube.run)
    return kube
  })

/** Answers counted so far, summed over what is not named. */
export const requestsSeen = (which: { verb?: string; resource?: string; code?: string } = {}): number => {
  const services = Effect.runSync(Effect.context<never>())
  return Metric.snapshotUnsafe(services).filter((m) => m.id === "flock_kube_requests_total").filter((m) =>
    Object.entries(which).every(([key, value]) => m.attributes?.[key] === value)
  ).reduce((sum, m) => sum + Number((m.state as { readonly count: number | bigint }).count), 0)
}

/** The columns of priority 0 that have a value, as `kubectl get` prints them; without the age. */
export const table = async (api: ApiServer, path: string): Promise<Record<string, unknown>> => {
  const { body } = await api.call(
    "GET",
    path,
    undefined,
    "application/json",
    "admin",
    "application/json;as=Table;g=meta.k8s.io;v=v1"
  )
  const columns: ReadonlyArray<{ readonly name: string; readonly priority: number }> = body.columnDefinitions
  const entries = columns.map(({ name, priority }, i) => [name, body.rows[0].cells[i], priority] as const)
  return Object.fromEntries(
    entries.filter(([name, value, priority]) => priority === 0 && value !== null && name !== "Age")
      .map(([name, value]) => [name, value])
  )
}
