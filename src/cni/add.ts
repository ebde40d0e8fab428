/** ADD: the pod, its addresses, the kernel, the record, the result; or nothing at all. */
import { DateTime, Effect, Option, SubscriptionRef } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import type { Request } from "../domain/Wire.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { Uplink } from "../netlink/Uplink.ts"
import { Allocations } from "../state/Allocations.ts"
import { makeConnect } from "./connect.ts"
import { makePodOf } from "./pod.ts"
import { makeReserve } from "./reserve.ts"
import { addResult } from "./result.ts"
import { CniFailure, type CniVersion, Code, type NetworkConfig } from "./spec.ts"

/** Addresses that one ADD finds in use on the host, before it gives up; the next ADD passes over those at once. */
const MOST_PASSED_OVER = 16

export const makeAdd = Effect.fnUntraced(function*({ bootId }: { readonly bootId: string }) {
  const allocations = yield* Allocations
  const ipam = yield* Ipam
  const kube = yield* KubeApi
  const network = yield* NodeNetwork
  const uplink = yield* Uplink
  const podOf = yield* makePodOf
  const reserve = yield* makeReserve
  const connect = yield* makeConnect

  const requireNew = Effect.fnUntraced(function*({ containerId, ifName, netns }: Request) {
    if (netns === "") {
      return yield* new CniFailure({
        code: Code.INVALID_ENVIRONMENT,
        message: "CNI_NETNS is empty: it must be the path of the container's network namespace"
      })
    }
    const key = attachmentKey({ containerId, ifName })
    yield* allocations.assertWritable(key)
    const existing = yield* allocations.get(key)
    if (Option.isSome(existing)) {
      const { hostIfName } = existing.value
      return yield* new CniFailure({
        code: Code.INVALID_ENVIRONMENT,
        message: `container ${containerId} has interface ${ifName} already, as ${hostIfName}: DEL it first`
      })
    }
  })

  const nodeConfig = Effect.gen(function*() {
    const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
    if (Option.isSome(current)) return current.value
    return yield* new CniFailure({
      code: Code.TRY_AGAIN_LATER,
      message: "this node has no NodeConfig yet: write one with the node's name"
    })
  })

  return Effect.fnUntraced(function*(call: Request, config: NetworkConfig, version: CniVersion) {
    yield* requireNew(call)
    const { spec } = yield* nodeConfig
    const pod = yield* podOf(call.args)
    const { containerId, ifName, netns } = call
    const owner = attachmentKey(call)
    const attempt = Effect.gen(function*() {
      const occupied = yield* network.occupied(spec)
      const addresses = yield* reserve({ owner, containerId, pod, spec, occupied })
      const draft: Allocation = {
        version: 1,
        bootId,
        network: config.name,
        containerId,
        ifName,
        netns,
        pod: { namespace: pod.namespace, name: pod.name, uid: pod.uid },
        hostIfName: "",
        mtu: yield* uplink.mtu(spec),
        addresses,
        createdAt: DateTime.formatIso(yield* DateTime.now)
      }
      return yield* connect(draft)
    }).pipe(
      Effect.onError(() => ipam.release(owner)),
      // The node's network is looked at every now and then; what the kernel says here is news.
      Effect.tapErrorTag(
        "AddressHeld",
        ({ address, detail }) => network.found(address, `in use by the host (${detail})`)
      )
    )
    const { allocation, link } = yield* Effect.retry(attempt, {
      times: MOST_PASSED_OVER,
      while: (error) => error._tag === "AddressHeld"
    })
    return addResult(version, allocation, link, config.prevResult)
  }, Effect.uninterruptible)
})
