/** Reads the {@link Facts} that everything said of the node comes from. */
import { Effect, Option, SubscriptionRef } from "effect"
import { Attachments } from "../attachments/Attachments.ts"
import { Bird } from "../bird/Bird.ts"
import { NOTHING_OCCUPIED } from "../domain/occupied.ts"
import { AntiSpoofing } from "../firewall/AntiSpoofing.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { Allocations } from "../state/Allocations.ts"
import type { Facts } from "./health.ts"

export const makeFacts = Effect.gen(function*() {
  const allocations = yield* Allocations
  const antiSpoofing = yield* AntiSpoofing
  const attachments = yield* Attachments
  const bird = yield* Bird
  const ipam = yield* Ipam
  const kube = yield* KubeApi
  const network = yield* NodeNetwork

  return Effect.gen(function*() {
    const nodeConfig = yield* SubscriptionRef.get(kube.nodeConfig)
    const spec = Option.getOrUndefined(nodeConfig.current)?.spec
    const api = yield* kube.api
    const template = kube.fleet === undefined ? undefined : yield* SubscriptionRef.get(kube.fleet.trouble)
    const occupied = spec === undefined ? NOTHING_OCCUPIED : yield* network.occupied(spec)
    return {
      nodeConfig,
      usage: spec === undefined ? {} : yield* ipam.usage(spec, occupied),
      bird: yield* bird.lastStatus,
      antiSpoofing: yield* antiSpoofing.status,
      conflicts: Object.values(occupied.conflicts),
      host: yield* attachments.problems,
      newer: allocations.newer,
      ...(api === undefined ? {} : { api }),
      ...(template === undefined ? {} : { template })
    } satisfies Facts
  })
})
