/** The host answers for pods' IPv4 gateways: of the pods that are there, and of those that the NodeConfig lets come. */
import { Effect, Option, Stream, SubscriptionRef } from "effect"
import { formatAddress } from "../domain/Ip.ts"
import { gatewayOf as gatewayOfPod } from "../domain/PodAddresses.ts"
import { gatewayOf } from "../domain/reserved.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink } from "../netlink/Netlink.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "./Allocations.ts"

/** For a route that somebody deleted. */
const TICK = "15 seconds"

export const answerForGateways = Effect.gen(function*() {
  const allocations = yield* Allocations
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
  const cidr4 = Option.getOrUndefined(current)?.spec.cidr4
  const held = (yield* allocations.list).flatMap(({ addresses }) =>
    addresses.ipv4 === undefined ? [] : gatewayOfPod(addresses, 4) ?? []
  )
  const all = [...cidr4 === undefined ? [] : [gatewayOf(cidr4)], ...held]
  yield* netlink.answerFor([...new Map(all.map((gateway) => [formatAddress(gateway), gateway])).values()])
}).pipe(Effect.catch((error) => Effect.logWarning(`pods' gateways may not answer: ${error.message}`)))

/** At each NodeConfig, and by a tick. */
export const keepGateways = Effect.gen(function*() {
  const kube = yield* KubeApi
  return yield* Effect.all([
    Stream.runForEach(SubscriptionRef.changes(kube.nodeConfig), () => answerForGateways),
    every(TICK)(answerForGateways)
  ], { concurrency: "unbounded", discard: true }).pipe(Effect.andThen(Effect.never))
})
