/** One cluster with flock for all files of this suite, which run one after another: brought up before the first of them. */
import type { TestProject } from "vitest/node"
import { Cluster, clusterAvailable, type ClusterPlace } from "../../lab/Cluster.ts"
import { describe, install, loadImages, startRouter } from "../../lab/site.ts"
import { World } from "../../lab/World.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** Undefined: there is no `../shared/kube`. */
    readonly cluster: ClusterPlace | undefined
  }
}

export default async ({ provide }: TestProject): Promise<() => Promise<void>> => {
  if (!clusterAvailable) {
    console.warn("SKIPPED: no ../shared/kube/cluster: set FLOCK_KUBE_DIR to its folder")
    provide("cluster", undefined)
    return async () => undefined
  }
  const world = new World()
  const cluster = await Cluster.open()
  const close = async () => {
    await world.close()
    await cluster.close()
  }
  const timed = async (what: string, task: () => Promise<unknown>) => {
    const from = performance.now()
    await task()
    console.log(`${what}: ${((performance.now() - from) / 1000).toFixed(0)} s`)
  }
  try {
    await timed("images", () => loadImages(cluster))
    await timed("flock and router", async () => {
      await startRouter(cluster, world)
      await install(cluster)
    })
  } catch (error) {
    console.error(await describe(cluster))
    await close()
    throw error
  }
  provide("cluster", cluster.place)
  return close
}
