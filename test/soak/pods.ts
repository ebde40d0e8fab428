/** The pods and the NodeConfig of a node, written as a user and a kubelet write them: into a folder, or by an API server. */
import type { AgentNode } from "../../lab/AgentNode.ts"
import type { ApiServer } from "../../lab/ApiServer.ts"

const PREFIX = "flock.fritzlab.net/"

export interface Pods {
  /** A new pod of this name, not Ready; its UID. */
  readonly create: (name: string, annotations: Record<string, string>) => Promise<string>
  readonly annotate: (name: string, annotations: Record<string, string>) => Promise<void>
  readonly setReady: (name: string, ready: boolean) => Promise<void>
  /** Idempotent. */
  readonly remove: (name: string) => Promise<void>
  /** `spec` of the node's NodeConfig; undefined: it is removed. */
  readonly configure: (spec: object | undefined) => Promise<void>
}

interface FolderPod {
  readonly uid: string
  readonly annotations: Record<string, string>
  readonly ready: boolean
}

export const folderPods = (node: AgentNode): Pods => {
  const pods = new Map<string, FolderPod>()
  const counter = { value: 0 }
  const put = (name: string, pod: FolderPod) => {
    pods.set(name, pod)
    node.writePod(name, pod)
  }
  const change = async (name: string, more: Partial<FolderPod>) => {
    const pod = pods.get(name)
    if (pod !== undefined) put(name, { ...pod, ...more })
  }
  return {
    create: async (name, annotations) => {
      const uid = `uid-${++counter.value}`
      put(name, { uid, annotations, ready: false })
      return uid
    },
    annotate: (name, annotations) => change(name, { annotations }),
    setReady: (name, ready) => change(name, { ready }),
    remove: async (name) => {
      pods.delete(name)
      node.removePod(name)
    },
    configure: async (spec) => {
      if (spec === undefined) node.removeNodeConfig()
      else node.writeNodeConfig(spec)
    }
  }
}

const PODS = "/api/v1/namespaces/default/pods"
const CONFIGS = "/apis/flock.fritzlab.net/v1alpha1/nodeconfigs"

const prefixed = (annotations: Record<string, string>) =>
  Object.fromEntries(Object.entries(annotations).map(([key, value]) => [PREFIX + key, value]))

export const clusterPods = (node: AgentNode, api: ApiServer): Pods => {
  const call = async (
    method: string,
    path: string,
    body?: unknown,
    type?: string,
    allowed: ReadonlyArray<number> = []
  ) => {
    const answer = await api.call(method, path, body, type)
    if (answer.status >= 300 && !allowed.includes(answer.status)) {
      throw new Error(`${method} ${path}: ${answer.status}: ${JSON.stringify(answer.body)}`)
    }
    return answer
  }
  const remove = async (name: string) => {
    await call("DELETE", `${PODS}/${name}?gracePeriodSeconds=0`, undefined, undefined, [404])
  }
  const object = (spec: object) => ({
    apiVersion: "flock.fritzlab.net/v1alpha1",
    kind: "NodeConfig",
    metadata: { name: node.name },
    spec
  })
  return {
    create: async (name, annotations) => {
      await remove(name)
      const { body } = await call("POST", PODS, {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: `${name}`, namespace: "default", annotations: prefixed(annotations) },
        spec: {
          nodeName: node.name,
          terminationGracePeriodSeconds: 0,
          containers: [{ name: "c", image: "example.org/i:1" }]
        }
      })
      return body.metadata.uid
    },
    annotate: async (name, annotations) => {
      const patch = [{ op: "add", path: "/metadata/annotations", value: prefixed(annotations) }]
      await call("PATCH", `${PODS}/${name}`, patch, "application/json-patch+json", [404])
    },
    setReady: async (name, ready) => {
      const status = { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] }
      const type = "application/strategic-merge-patch+json"
      await call("PATCH", `${PODS}/${name}/status`, { status }, type, [404])
    },
    remove,
    configure: async (spec) => {
      const path = `${CONFIGS}/${node.name}`
      if (spec === undefined) return void await call("DELETE", path, undefined, undefined, [404])
      const { status } = await call("POST", CONFIGS, object(spec), undefined, [409, 422])
      // What the API server itself refuses is refused for the same reason as in a file. 404: removed in between, by a fault
      // that puts back what is in force then.
      if (status === 409) {
        await call("PATCH", path, [{ op: "replace", path: "/spec", value: spec }], "application/json-patch+json", [
          404,
          422
        ])
      }
    }
  }
}
