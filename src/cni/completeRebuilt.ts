/**
 * An agent that lost its records and starts before it can reach the API server knows neither the NodeConfig nor its pods:
 * what it rebuilt from the kernel lacks the addresses that were not announced. They are filled in once both are known.
 */
import { Effect, Option, Schedule, SubscriptionRef } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { podKey } from "../domain/Pod.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { Netlink } from "../netlink/Netlink.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import type { KeyedLock } from "../process/KeyedLock.ts"
import { Allocations } from "../state/Allocations.ts"
import { completeLate } from "../state/complete.ts"
import { evidenceOf } from "../state/takeOver.ts"

export const makeCompleteRebuilt = Effect.fnUntraced(function*(lock: KeyedLock) {
  const allocations = yield* Allocations
  const ipam = yield* Ipam
  const kube = yield* KubeApi
  const netlink = yield* Netlink
  const network = yield* NodeNetwork
  const services = yield* Effect.context<KubeApi | Netlink>()

  const known = Effect.gen(function*() {
    const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
    return (yield* kube.podsListed) ? Option.map(current, ({ spec }) => spec) : Option.none()
  }).pipe(
    Effect.repeat({ until: Option.isSome, schedule: Schedule.spaced("500 millis") }),
    Effect.map(Option.getOrThrow)
  )

  const complete = Effect.fnUntraced(function*(rebuilt: Allocation) {
    const key = attachmentKey(rebuilt)
    const now = yield* allocations.get(key)
    // Its DEL may have come meanwhile.
    if (Option.isNone(now) || now.value !== rebuilt) return
    const link = (yield* netlink.links).find(({ ifName }) => ifName === rebuilt.hostIfName)
    const evidence = yield* evidenceOf(rebuilt, link ?? {}).pipe(Effect.provideContext(services))
    if (Option.isNone(evidence)) return
    const spec = yield* known
    const ground = { spec, occupied: yield* network.occupied(spec) }
    const { allocation, left } = completeLate(rebuilt, evidence.value, ground, yield* allocations.list)
    for (const words of left) {
      yield* Effect.logWarning(`pod ${podKey(rebuilt.pod)}: of annotation anycast, ${words} is left out`)
    }
    yield* ipam.adopt(allocation)
    yield* allocations.adopt(allocation)
  }, (effect, rebuilt) => lock.withLock(attachmentKey(rebuilt))(effect))

  /** Ends when all is done; one after another, so that what one got counts for the next. */
  return (rebuilt: ReadonlyArray<Allocation>) =>
    rebuilt.length === 0 ? Effect.void : Effect.gen(function*() {
      yield* known
      yield* Effect.forEach(rebuilt, complete, { discard: true })
      yield* Effect.logInfo(`${rebuilt.length} rebuilt allocations were completed from NodeConfig and pods`)
    })
})
