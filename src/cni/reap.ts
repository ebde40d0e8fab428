/**
 * Frees what a runtime forgot. A pod's namespace that ends takes the link with it; where no DEL follows (containerd
 * before 2 never calls GC), its addresses would stay taken until the node has none left.
 */
import { Effect, Option, Schedule, Stream } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { podKey } from "../domain/Pod.ts"
import { Netlink } from "../netlink/Netlink.ts"
import type { KeyedLock } from "../process/KeyedLock.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"
import type { ServiceError } from "./failure.ts"
import type { Attachment } from "./spec.ts"

/** A runtime's own DEL comes within this time of the link's end, as a rule. */
const GRACE = "10 seconds"

/** For links whose end was missed. */
const SWEEP = "60 seconds"

export const makeReap = Effect.fnUntraced(function*(
  lock: KeyedLock,
  del: (attachment: Attachment) => Effect.Effect<void, ServiceError>
) {
  const allocations = yield* Allocations
  const netlink = yield* Netlink

  const orphans = Effect.gen(function*() {
    const present = new Set((yield* netlink.links).map((link) => link.ifName))
    return (yield* allocations.list).filter((a) => !present.has(a.hostIfName))
  })

  const free = Effect.fnUntraced(function*(allocation: Allocation) {
    const key = attachmentKey(allocation)
    const now = yield* allocations.get(key)
    // Another attachment of the same name may have come meanwhile.
    if (Option.isNone(now) || now.value !== allocation) return
    yield* del(allocation)
    yield* Effect.logWarning(
      `the link of ${
        podKey(allocation.pod)
      }, container ${allocation.containerId}, is gone and no DEL came: addresses freed`
    )
  }, (effect, allocation) => lock.withLock(attachmentKey(allocation))(effect))

  /** Twice seen, with the time of grace between: what is being deleted right now is no orphan. */
  const sweep = Effect.gen(function*() {
    const first = yield* orphans
    if (first.length === 0) return
    yield* Effect.sleep(GRACE)
    const still = new Set(yield* orphans)
    yield* Effect.forEach(first.filter((a) => still.has(a)), free, { discard: true })
  }).pipe(Effect.catch((error) => Effect.logWarning(`could not look for forgotten pods: ${error.message}`)))

  const onRemoval = netlink.changes.pipe(
    Stream.filter((change) => change._tag === "LinkRemoved" || change._tag === "Overrun"),
    // A burst of ends is one look.
    Stream.buffer({ capacity: 1, strategy: "sliding" }),
    Stream.runForEach(() => sweep),
    Effect.catch((error) => Effect.logWarning(`the watch of links failed and is opened again: ${error.message}`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )

  return Effect.all([onRemoval, every(SWEEP)(sweep)], { concurrency: "unbounded", discard: true }).pipe(
    Effect.andThen(Effect.never)
  )
})
