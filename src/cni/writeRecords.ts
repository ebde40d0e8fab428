/** Records that a full disk refused when they were rebuilt are written once there is room. */
import { Effect, Option } from "effect"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import type { KeyedLock } from "../process/KeyedLock.ts"
import { every } from "../process/tick.ts"
import { Allocations } from "../state/Allocations.ts"

export const makeWriteRecords = Effect.fnUntraced(function*(lock: KeyedLock) {
  const allocations = yield* Allocations

  const write = Effect.fnUntraced(function*(allocation: Allocation) {
    const now = yield* allocations.get(attachmentKey(allocation))
    // Its DEL may have come meanwhile.
    if (Option.isSome(now) && now.value === allocation) yield* allocations.adopt(allocation)
  }, (effect, allocation) => lock.withLock(attachmentKey(allocation))(effect))

  return every("15 seconds")(
    Effect.flatMap(allocations.unwritten, (records) => Effect.forEach(records, write, { discard: true }))
  )
})
