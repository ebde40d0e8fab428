/** What a node's containerd has, asked by its `ctr`. */
import { join, resolve } from "node:path"
import type { Cluster, KubeObject } from "./Cluster.ts"
import { exec, type Outcome, run } from "./exec.ts"

const binaries = resolve(import.meta.dirname, "../../shared/kube/kube-bin")

export interface Sandbox {
  readonly id: string
  /** Of its pod. */
  readonly uid: string
  /** Name of its network namespace in the node's `/run/netns`. */
  readonly netns: string
}

/** `ctr` on Kubernetes' containers of node i. */
const ctr = async (cluster: Cluster, i: number, ...args: ReadonlyArray<string>): Promise<Outcome> => {
  const socket = join(cluster.place.directory, `node${i}/cd.sock`)
  return exec(join((await run(binaries)).trim(), "ctr"), ["-a", socket, "-n", "k8s.io", ...args])
}

/** Pods' sandboxes on a node that have a network namespace of their own which still stands. */
export const sandboxesOf = async (cluster: Cluster, i: number): Promise<ReadonlyArray<Sandbox>> => {
  const { stdout } = await ctr(cluster, i, "containers", "ls", "-q", "labels.\"io.cri-containerd.kind\"==sandbox")
  const standing = new Set((await cluster.node(i, "ls", "/run/netns")).split("\n"))
  const described = await Promise.all(
    stdout.split("\n").filter((id) => id !== "").map(async (id) => {
      // One that went meanwhile is none.
      const { code, stdout } = await ctr(cluster, i, "containers", "info", id)
      if (code !== 0) return []
      const { Labels, Spec } = JSON.parse(stdout)
      const path: string = Spec.linux.namespaces.find((n: KubeObject) => n.type === "network")?.path ?? ""
      const netns = path.split("/").at(-1) ?? ""
      return standing.has(netns) ? [{ id, uid: String(Labels["io.kubernetes.pod.uid"]), netns }] : []
    })
  )
  return described.flat()
}

/** Ends a pod's sandbox behind kubelet's back. */
export const killSandbox = async (cluster: Cluster, i: number, uid: string): Promise<void> => {
  const sandbox = (await sandboxesOf(cluster, i)).find((one) => one.uid === uid)
  if (sandbox === undefined) throw new Error(`no sandbox of ${uid} on node${i}`)
  const { code, stderr } = await ctr(cluster, i, "tasks", "kill", "-s", "SIGKILL", sandbox.id)
  if (code !== 0) throw new Error(`ctr tasks kill ${sandbox.id}: ${stderr}`)
}
