/** ADD: address reservation, kernel, commit; or nothing at all. */
import { DateTime, Effect, Fiber, Option, Result, SubscriptionRef } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import type { Request } from "../domain/Wire.ts"
import { Ipam } from "../ipam/Ipam.ts"
import type { Reservation } from "../ipam/reservation.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink } from "../netlink/Netlink.ts"
import { Uplink } from "../netlink/Uplink.ts"
import { Allocations } from "../state/Allocations.ts"
import { hostIfName, NAME_ATTEMPTS } from "./hostIfName.ts"
import { planOf } from "./linkPlan.ts"
import { addResult } from "./result.ts"
import { CniFailure, type CniVersion, Code, type NetworkConfig, parseArgs } from "./spec.ts"

const tryAgain = (message: string) => new CniFailure({ code: Code.TRY_AGAIN_LATER, message })

/** A container outside Kubernetes: no name, no annotations. */
const anonymous: PodInfo = { namespace: "", name: "", uid: "", ready: false, deleting: false, annotations: {} }

export const makeAdd = Effect.fnUntraced(function*(options: { readonly bootId: string }) {
  const allocations = yield* Allocations
  const ipam = yield* Ipam
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const uplink = yield* Uplink

  const podOf = Effect.fnUntraced(function*(args: string) {
    const map = yield* Effect.fromResult(parseArgs(args))
    const name = map.get("K8S_POD_NAME") ?? ""
    if (name === "") return anonymous
    const ref = { namespace: map.get("K8S_POD_NAMESPACE") ?? "default", name, uid: map.get("K8S_POD_UID") ?? "" }
    const found = yield* kube.pod(ref)
    if (Option.isNone(found)) return yield* tryAgain(`pod ${podKey(ref)} does not exist (yet)`)
    const pod = found.value
    if (ref.uid !== "" && pod.uid !== "" && ref.uid !== pod.uid) {
      return yield* tryAgain(`pod ${podKey(ref)} with UID ${ref.uid} does not exist: there is one with UID ${pod.uid}`)
    }
    return { ...pod, uid: pod.uid || ref.uid }
  })

  /** The kernel's part, under a name that no other link has. */
  const attach = Effect.fnUntraced(function*(base: Allocation) {
    for (let attempt = 0;; attempt++) {
      const allocation = { ...base, hostIfName: hostIfName(attachmentKey(base), attempt) }
      // The intent is written while the kernel works. A link without one is undone at start as long as it has no route.
      const intent = yield* Effect.forkChild(allocations.prepare(allocation), { startImmediately: true })
      const link = yield* netlink.attach(planOf(allocation), Fiber.join(intent)).pipe(Effect.result)
      yield* Fiber.await(intent)
      if (Result.isSuccess(link)) return { allocation, link: link.success }
      const error = link.failure
      const nameTaken = error._tag === "NetlinkError" && error.errno === "EEXIST" && error.op.startsWith("create veth")
      if (!nameTaken || attempt + 1 === NAME_ATTEMPTS) return yield* error
    }
  })

  const attachAndCommit = Effect.fnUntraced(function*(base: Allocation) {
    const { allocation, link } = yield* attach(base).pipe(
      Effect.onError(() => Effect.ignore(allocations.remove(attachmentKey(base)), { log: true }))
    )
    yield* allocations.commit(allocation).pipe(Effect.onError(() =>
      Effect.ignore(
        Effect.andThen(netlink.detach(allocation.hostIfName), allocations.remove(attachmentKey(base))),
        { log: true }
      )
    ))
    return { allocation, link }
  })

  const reserve = Effect.fnUntraced(function*(call: Request, pod: PodInfo, node: NodeConfig) {
    const { containerId } = call
    const reservation = yield* ipam.reserve({ owner: attachmentKey(call), containerId, pod, spec: node.spec }).pipe(
      Effect.tapError((error) =>
        pod.name === "" ? Effect.void : kube.event({
          on: { kind: "Pod", pod },
          type: "Warning",
          reason: error.reason === "Exhausted" ? "AddressesExhausted" : "AddressRefused",
          message: error.message
        })
      )
    )
    for (const warning of reservation.warnings) {
      yield* Effect.logWarning(`pod ${podKey(pod)}: ${warning}`)
      if (pod.name !== "") {
        yield* kube.event({ on: { kind: "Pod", pod }, type: "Warning", reason: "AddressSkipped", message: warning })
      }
    }
    return reservation
  })

  const allocationOf = Effect.fnUntraced(function*(
    call: Request,
    network: string,
    pod: PodInfo,
    node: NodeConfig,
    reservation: Reservation
  ) {
    const allocation: Allocation = {
      version: 1,
      bootId: options.bootId,
      network,
      containerId: call.containerId,
      ifName: call.ifName,
      netns: call.netns,
      pod: { namespace: pod.namespace, name: pod.name, uid: pod.uid },
      hostIfName: "",
      mtu: yield* uplink.mtu(node.spec),
      addresses: reservation.addresses,
      createdAt: DateTime.formatIso(yield* DateTime.now)
    }
    return allocation
  })

  return Effect.fnUntraced(function*(call: Request, config: NetworkConfig, version: CniVersion) {
    if (call.netns === "") {
      return yield* new CniFailure({
        code: Code.INVALID_ENVIRONMENT,
        message: "CNI_NETNS is empty: it must be the path of the container's network namespace"
      })
    }
    const { containerId, ifName } = call
    const key = attachmentKey(call)
    const existing = yield* allocations.get(key)
    if (Option.isSome(existing)) {
      return yield* new CniFailure({
        code: Code.INVALID_ENVIRONMENT,
        message:
          `container ${containerId} has interface ${ifName} already, as ${existing.value.hostIfName}: DEL it first`
      })
    }
    const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
    if (Option.isNone(current)) {
      return yield* tryAgain("this node has no NodeConfig yet: write one with the node's name")
    }
    const pod = yield* podOf(call.args)
    const reservation = yield* reserve(call, pod, current.value)
    const { allocation, link } = yield* allocationOf(call, config.name, pod, current.value, reservation).pipe(
      Effect.flatMap(attachAndCommit),
      Effect.onError(() => ipam.release(key))
    )
    return addResult(version, allocation, link, config.prevResult)
  }, Effect.uninterruptible)
})
