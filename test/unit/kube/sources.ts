/** What Kubernetes says, from a stand-in of the API server and from a folder: one set of controls for both. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, type Scope } from "effect"
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Cluster from "../../../src/kube/cluster.ts"
import type { KubeApi, KubeUnavailable } from "../../../src/kube/KubeApi.ts"
import * as Standalone from "../../../src/kube/standalone.ts"

export const NODE = "n1"

export const nodeConfig = (cidr4: string) => ({
  apiVersion: "flock.fritzlab.net/v1alpha1",
  kind: "NodeConfig",
  metadata: { name: NODE },
  spec: { cidr4 }
})

export const pod = (name: string, uid: string, ready: boolean) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "default", uid },
  spec: { nodeName: NODE },
  status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] }
})

type Pod = ReturnType<typeof pod>

export interface Source {
  readonly putNodeConfig: (object: ReturnType<typeof nodeConfig>) => void
  readonly removeNodeConfig: () => void
  readonly putPod: (object: Pod) => void
  readonly removePod: (name: string) => void
  /** From now on nobody says what there is, until `mend`. */
  readonly silence: () => void
  readonly mend: () => void
  /** As an agent has it; the same state folder each time. */
  readonly layer: Layer.Layer<KubeApi, KubeUnavailable>
}

const temporary = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), `flock-kube-${process.pid}-`))),
  (dir) => Effect.sync(() => rmSync(dir, { recursive: true, force: true }))
)

export interface Folder extends Source {
  readonly directory: string
}

export const folder: Effect.Effect<Folder, never, Scope.Scope> = Effect.map(temporary, (base) => {
  const directory = join(base, "config")
  mkdirSync(join(directory, "pods"), { recursive: true })
  const put = (file: string, object: unknown) => {
    writeFileSync(join(base, "new"), JSON.stringify(object))
    renameSync(join(base, "new"), join(directory, file))
  }
  return {
    directory,
    putNodeConfig: (object) => put("nodeconfig.yaml", object),
    removeNodeConfig: () => rmSync(join(directory, "nodeconfig.yaml")),
    putPod: (object) => put(`pods/${object.metadata.name}.yaml`, object),
    removePod: (name) => rmSync(join(directory, `pods/${name}.yaml`)),
    silence: () => renameSync(directory, `${directory}.away`),
    mend: () => renameSync(`${directory}.away`, directory),
    layer: Standalone.layer({ directory, nodeName: NODE, stateDir: join(base, "state") }).pipe(
      Layer.provide(NodeServices.layer)
    )
  }
})

interface Stored {
  readonly metadata: { readonly name: string; readonly uid?: string; readonly resourceVersion: string }
}

/** Lists and watches of NodeConfigs and pods; anything else is taken and forgotten. */
class ApiStandIn {
  #version = 1
  #silent = false
  readonly #objects = { nodeconfigs: new Map<string, Stored>(), pods: new Map<string, Stored>() }
  readonly #history: Array<
    { readonly kind: "nodeconfigs" | "pods"; readonly version: number; readonly line: string }
  > = []
  readonly #watches = new Map<http.ServerResponse, "nodeconfigs" | "pods">()
  readonly server = http.createServer((request, response) => this.#answer(request, response))

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://api")
    const kind = url.pathname.endsWith("/nodeconfigs")
      ? "nodeconfigs"
      : url.pathname.endsWith("/pods")
      ? "pods"
      : undefined
    if (this.#silent) {
      response.writeHead(503).end("{}")
    } else if (kind === undefined) {
      response.end("{}")
    } else if (url.searchParams.has("watch")) {
      response.flushHeaders()
      const from = Number(url.searchParams.get("resourceVersion"))
      for (const e of this.#history) if (e.kind === kind && e.version > from) response.write(e.line)
      this.#watches.set(response, kind)
      response.on("close", () => this.#watches.delete(response))
    } else {
      const items = [...this.#objects[kind].values()]
      response.end(JSON.stringify({ metadata: { resourceVersion: String(this.#version) }, items }))
    }
  }

  #event(kind: "nodeconfigs" | "pods", type: string, object: Stored): void {
    const line = `${JSON.stringify({ type, object })}\n`
    this.#history.push({ kind, version: this.#version, line })
    for (const [response, of] of this.#watches) if (of === kind) response.write(line)
  }

  put(kind: "nodeconfigs" | "pods", object: { readonly metadata: { readonly name: string; readonly uid?: string } }) {
    const { name, uid } = object.metadata
    const before = this.#objects[kind].get(name)
    // An object of one name and another UID is a new one: the API server has deleted the former.
    if (before !== undefined && before.metadata.uid !== uid) this.remove(kind, name)
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } }
    this.#event(kind, this.#objects[kind].has(name) ? "MODIFIED" : "ADDED", stored)
    this.#objects[kind].set(name, stored)
  }

  remove(kind: "nodeconfigs" | "pods", name: string): void {
    const before = this.#objects[kind].get(name)
    if (before === undefined) throw new Error(`there is no ${name}`)
    this.#objects[kind].delete(name)
    const metadata = { ...before.metadata, resourceVersion: String(++this.#version) }
    this.#event(kind, "DELETED", { ...before, metadata })
  }

  silence(silent: boolean): void {
    this.#silent = silent
    if (silent) this.server.closeAllConnections()
  }
}

export const apiServer: Effect.Effect<Source, never, Scope.Scope> = Effect.gen(function*() {
  const base = yield* temporary
  const api = new ApiStandIn()
  yield* Effect.acquireRelease(
    Effect.promise(() => new Promise<void>((done) => api.server.listen(0, "127.0.0.1", done))),
    () =>
      Effect.sync(() => {
        api.server.closeAllConnections()
        api.server.close()
      })
  )
  const kubeconfig = join(base, "kubeconfig")
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      clusters: [{
        name: "t",
        cluster: {
          server: `http://127.0.0.1:${(api.server.address() as AddressInfo).port}`,
          "insecure-skip-tls-verify": true
        }
      }],
      users: [{ name: "t", user: { token: "t" } }],
      contexts: [{ name: "t", context: { cluster: "t", user: "t" } }],
      "current-context": "t"
    })
  )
  return {
    putNodeConfig: (object) => api.put("nodeconfigs", object),
    removeNodeConfig: () => api.remove("nodeconfigs", NODE),
    putPod: (object) => api.put("pods", object),
    removePod: (name) => api.remove("pods", name),
    silence: () => api.silence(true),
    mend: () => api.silence(false),
    layer: Cluster.layer({
      nodeName: NODE,
      kubeconfig,
      stateDir: join(base, "state"),
      namespace: "flock-system",
      backOff: { first: 20, most: 100 }
    }).pipe(Layer.provide(NodeServices.layer))
  }
})
