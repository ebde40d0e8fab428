/** Reads everything that the walk judges. */
import { Effect, Option, SubscriptionRef } from "effect"
import { Anycast } from "../anycast/Anycast.ts"
import { Attachments } from "../attachments/Attachments.ts"
import { Bird } from "../bird/Bird.ts"
import type { IpAddress } from "../domain/Ip.ts"
import { NOTHING_OCCUPIED } from "../domain/occupied.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink, PROTOCOL_EXPORT, PROTOCOL_POD } from "../netlink/Netlink.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { Allocations } from "../state/Allocations.ts"
import { destinationOf, type Snapshot } from "./snapshot.ts"
import { walk, type WhyReport } from "./walk.ts"

/** The question, with its services taken once: `node` is this node's name. Never fails. */
export const make = (node: string) =>
  Effect.gen(function*() {
    const allocations = yield* Allocations
    const anycast = yield* Anycast
    const attachments = yield* Attachments
    const bird = yield* Bird
    const kube = yield* KubeApi
    const netlink = yield* Netlink
    const network = yield* NodeNetwork

    const kernel = Effect.all({
      podRoutes: netlink.routes(PROTOCOL_POD),
      exportRoutes: netlink.routes(PROTOCOL_EXPORT),
      links: netlink.links
    }).pipe(Effect.catch((error) => Effect.succeed({ error: error.message })))

    return Effect.fn("why")(function*(address: IpAddress) {
      const birdStatus = yield* bird.status
      const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
      const spec = Option.getOrUndefined(current)?.spec
      const facts = {
        node,
        spec,
        occupied: spec === undefined ? NOTHING_OCCUPIED : yield* network.occupied(spec),
        allocations: yield* allocations.list,
        pods: yield* kube.pods,
        podsListed: yield* kube.podsListed,
        unreachable: yield* attachments.unreachable,
        kernel: yield* kernel,
        bird: birdStatus,
        exportSet: yield* anycast.exportSet
      }
      const destination = destinationOf(address, facts)
      const established = birdStatus.peers.filter(({ state }) => state === "Established")
      const snapshot: Snapshot = {
        ...facts,
        mayExport: yield* bird.mayExport(destination),
        exportedTo: yield* Effect.filter(
          established.map(({ protocol }) => protocol),
          (protocol) => bird.exportedTo(destination, protocol)
        )
      }
      return walk(address, snapshot) satisfies WhyReport
    })
  })
