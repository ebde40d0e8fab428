/** Objects of a small cluster, and the cluster layer against it. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Layer, Metric, type Scope } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { parseAllDocuments } from "yaml"
import type { Timing } from "../../src/kube/client.ts"
import * as Cluster from "../../src/kube/cluster.ts"
import { KubeApi } from "../../src/kube/KubeApi.ts"
import { type ApiServer, pathOf } from "./ApiServer.ts"

export const NODE = "host001"
export const NAMESPACE = "flock-system"
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

export const eventually = async <A>(
  what: string,
  look: () => A | undefined | false | Promise<A | undefined | false>
) => {
  const until = Date.now() + 60_000
  while (true) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (Date.now() > until) throw new Error(`never happened: ${what}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}

export const wait = (what: string, look: Parameters<typeof eventually>[1]) =>
  Effect.promise(() => eventually(what, look))

export const until = (what: string, look: Effect.Effect<boolean>) =>
  Effect.repeat(Effect.delay(look, "20 millis"), { while: (seen) => !seen }).pipe(
    Effect.timeoutOrElse({ duration: "60 seconds", orElse: () => Effect.die(new Error(`never happened: ${what}`)) })
  )

export const nodeConfig = (name = NODE, spec: object = {}) => ({
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfig",
  metadata: { name },
  spec: { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24", ...spec }
})

export const NODECONFIGS = "/apis/flock.fritzlab.net/v1alpha1/nodeconfigs"

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

/** The namespace, the CRD (served) and RBAC as the manifests say; one Node. */
export const prepare = async (api: ApiServer): Promise<void> => {
  for (const file of ["namespace.yaml", "crd.yaml", "rbac.yaml"]) {
    for (const document of documents(file)) await create(api, document)
  }
  await eventually("the CRD is served", async () => (await api.call("GET", NODECONFIGS)).status === 200)
  await create(api, node())
}

/** A TCP relay in front of the API server, to cut it, or to let it fall silent. */
export interface Relay {
  readonly kubeconfig: string
  readonly connections: () => number
  /** Closes what is open; refuses new connections until {@link mend}. */
  readonly cut: () => void
  /** Takes connections and passes nothing on, and closes nothing. */
  readonly mute: () => void
  readonly mend: () => void
  readonly close: () => void
}

export const relay = async (api: ApiServer, who: "agent" | "admin" = "agent"): Promise<Relay> => {
  const target = new URL(api.url)
  const open = new Set<net.Socket>()
  let state: "open" | "cut" | "mute" = "open"
  const server = net.createServer((from) => {
    from.on("error", () => from.destroy())
    if (state === "cut") return from.destroy()
    const to = net.connect(Number(target.port), target.hostname)
    to.on("error", () => from.destroy())
    for (const [a, b] of [[from, to], [to, from]] as const) {
      open.add(a)
      a.on("data", (chunk) => state === "mute" ? undefined : b.write(chunk))
      a.on("close", () => {
        open.delete(a)
        b.destroy()
      })
    }
  })
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  const { port } = server.address() as net.AddressInfo
  const kubeconfig = join(api.dir, `relay-${port}.kubeconfig`)
  writeFileSync(kubeconfig, readFileSync(api.kubeconfig(who), "utf8").replace(api.url, `https://127.0.0.1:${port}`))
  const drop = () => open.forEach((socket) => socket.destroy())
  return {
    kubeconfig,
    connections: () => open.size / 2,
    cut: () => {
      state = "cut"
      drop()
    },
    mute: () => {
      state = "mute"
    },
    mend: () => {
      state = "open"
    },
    close: () => {
      drop()
      server.close()
    }
  }
}

export interface AgentOptions {
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
      nodeName: NODE,
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
