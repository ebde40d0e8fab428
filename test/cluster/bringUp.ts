/** A cluster with flock on it, made as the README says. */
import { Cluster } from "../../lab/Cluster.ts"
import { describe, install, loadImages, startRouter } from "../../lab/site.ts"
import { World } from "../../lab/World.ts"

/** Says how long it took. */
export const timed = async <A>(what: string, task: () => Promise<A>): Promise<A> => {
  const from = performance.now()
  const value = await task()
  console.error(`${what}: ${((performance.now() - from) / 1000).toFixed(0)} s`)
  return value
}

/** A cluster, a router and flock; the second value takes all of it down. */
export const bringUp = async (nodes = 2): Promise<readonly [Cluster, () => Promise<void>]> => {
  const world = new World()
  const cluster = await Cluster.open(nodes)
  const close = async () => {
    await world.close()
    await cluster.close()
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
  return [cluster, close]
}
