/**
 * One cluster with flock for all files of this suite, which run one after another: brought up before the first of them,
 * or the one that `node test/cluster/up.ts` has up and that FLOCK_CLUSTER names.
 */
import type { TestProject } from "vitest/node"
import { clusterAvailable, type ClusterPlace } from "../../lab/Cluster.ts"
import { bringUp } from "./bringUp.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** Undefined: there is no `../shared/kube`. */
    readonly cluster: ClusterPlace | undefined
  }
}

export default async ({ provide }: TestProject): Promise<() => Promise<void>> => {
  const up = process.env["FLOCK_CLUSTER"]
  if (up !== undefined || !clusterAvailable) {
    if (up === undefined) console.warn("SKIPPED: no ../shared/kube/cluster: set FLOCK_KUBE_DIR to its folder")
    provide("cluster", up === undefined ? undefined : JSON.parse(up))
    return async () => undefined
  }
  const [cluster, close] = await bringUp()
  provide("cluster", cluster.place)
  return close
}
