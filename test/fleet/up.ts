/** `node test/fleet/up.ts`: a cluster whose nodes follow one template, to work on, until it is interrupted. */
import { once } from "node:events"
import { bringUpFleet } from "../../lab/fleetSite.ts"

const [cluster, , close] = await bringUpFleet()
const { directory, prefix } = cluster.place
console.log(`export FLOCK_CLUSTER='${JSON.stringify(cluster.place)}'`)
console.log(`export PREFIX=${prefix}; k() { ../shared/kube/cluster k ${directory} "$@"; }`)
const alive = setInterval(() => undefined, 1 << 30)
await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")])
clearInterval(alive)
await close()
