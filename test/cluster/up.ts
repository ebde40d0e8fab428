/** `node test/cluster/up.ts`: a cluster with flock to work on, until it is interrupted. Prints what its tests want to know. */
import { once } from "node:events"
import { bringUp } from "./bringUp.ts"

const [cluster, close] = await bringUp()
const { directory, prefix } = cluster.place
console.log(`export FLOCK_CLUSTER='${JSON.stringify(cluster.place)}'`)
console.log(`export PREFIX=${prefix}; k() { ../shared/kube/cluster k ${directory} "$@"; }`)
const alive = setInterval(() => undefined, 1 << 30)
await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")])
clearInterval(alive)
await close()
