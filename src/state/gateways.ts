/** The host answers for pods' IPv4 gateways: of the pods that are there, and of those that the NodeConfig lets come. */
import { Effect, Option, SubscriptionRef } from "effect"
import { formatAddress } from "../domain/Ip.ts"
import { gatewayOf as gatewayOfPod } from "../domain/PodAddresses.ts"
import { gatewayOf } from "../domain/reserved.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink } from "../netlink/Netlink.ts"
import { Allocations } from "./Allocations.ts"

/** The result has those for which it did not answer. */
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
  return yield* netlink.answerFor([...new Map(all.map((gateway) => [formatAddress(gateway), gateway])).values()])
})
