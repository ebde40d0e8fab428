/** `node test/fleet/up.ts`: a cluster whose nodes follow one template, to work on, until it is interrupted. */
import { bringUpFleet } from "../../lab/fleetSite.ts"
import { keepUp } from "../../lab/keepUp.ts"

const [cluster, , close] = await bringUpFleet()
await keepUp(cluster, close)
