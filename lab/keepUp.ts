/** A cluster to work on by hand. */
import { once } from "node:events"
import type { Cluster } from "./Cluster.ts"

/** Prints what tests and a shell want to know of it, and closes it when this process is interrupted. */
export const keepUp = async (cluster: Cluster, close: () => Promise<void>): Promise<void> => {
  const { directory, prefix } = cluster.place
  console.log(`export FLOCK_CLUSTER='${JSON.stringify(cluster.place)}'`)
  console.log(`export PREFIX=${prefix}; k() { ../shared/kube/cluster k ${directory} "$@"; }`)
  const alive = setInterval(() => undefined, 1 << 30)
  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")])
  clearInterval(alive)
  await close()
}
