/** `node test/cluster/up.ts`: a cluster with flock to work on, until it is interrupted. */
import { keepUp } from "../../lab/keepUp.ts"
import { bringUp } from "./bringUp.ts"

await keepUp(...await bringUp())
