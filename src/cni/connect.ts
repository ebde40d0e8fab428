/** The kernel's part of ADD and the allocation's record: both, or neither. */
import { Effect, Fiber } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { type LinkNameTaken, Netlink, type PodLink } from "../netlink/Netlink.ts"
import { Allocations } from "../state/Allocations.ts"
import { planOf } from "../state/linkPlan.ts"
import type { ServiceError } from "./failure.ts"
import { hostIfName, NAME_ATTEMPTS } from "./hostIfName.ts"

export interface Connected {
  readonly allocation: Allocation
  readonly link: PodLink
}

export const makeConnect = Effect.gen(function*() {
  const allocations = yield* Allocations
  const netlink = yield* Netlink

  /** Under the name of one attempt. */
  const attach = Effect.fnUntraced(function*(draft: Allocation, attempt: number) {
    const allocation = { ...draft, hostIfName: hostIfName(attachmentKey(draft), attempt) }
    // The intent is written while the kernel works. A link without one is undone at start as long as it has no route.
    const intent = yield* Effect.forkChild(allocations.prepare(allocation), { startImmediately: true })
    const link = yield* netlink.attach(planOf(allocation), Fiber.join(intent)).pipe(
      Effect.ensuring(Fiber.await(intent))
    )
    return { allocation, link }
  })

  /** Under a name that no other link has. */
  const attachFreelyNamed = (draft: Allocation, attempt = 0): Effect.Effect<Connected, ServiceError> => {
    const nextName = (error: LinkNameTaken) =>
      attempt + 1 < NAME_ATTEMPTS ? attachFreelyNamed(draft, attempt + 1) : Effect.fail(error)
    return Effect.catchTag(attach(draft, attempt), "LinkNameTaken", nextName)
  }

  /** `draft`: an allocation whose host link has no name yet. */
  return Effect.fnUntraced(function*(draft: Allocation) {
    const forget = allocations.remove(attachmentKey(draft))
    const connected = yield* attachFreelyNamed(draft).pipe(
      Effect.onError(() => Effect.ignore(forget, { log: true }))
    )
    const undo = Effect.andThen(netlink.detach(connected.allocation.hostIfName), forget)
    yield* allocations.commit(connected.allocation).pipe(
      Effect.onError(() => Effect.ignore(undo, { log: true }))
    )
    return connected
  })
})
