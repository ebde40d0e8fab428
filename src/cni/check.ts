/** CHECK: is the container's network what ADD made it? */
import { Effect, Option } from "effect"
import { attachmentKey } from "../Allocation.ts"
import { Allocations } from "../Allocations.ts"
import { Netlink } from "../Netlink.ts"
import type { Request } from "../Wire.ts"
import { planOf } from "./plan.ts"
import { prevResultProblems } from "./result.ts"
import { CniFailure, Code, type NetworkConfig } from "./spec.ts"

export const makeCheck = Effect.gen(function*() {
  const allocations = yield* Allocations
  const netlink = yield* Netlink

  return Effect.fn("Cni.check")(function*(call: Request, config: NetworkConfig) {
    const allocation = yield* allocations.get(attachmentKey(call))
    if (Option.isNone(allocation)) {
      return yield* new CniFailure({
        code: Code.UNKNOWN_CONTAINER,
        message: `flock gave no ${call.ifName} to container ${call.containerId}`
      })
    }
    if (config.prevResult === undefined) {
      return yield* new CniFailure({
        code: Code.INVALID_NETWORK_CONFIG,
        message: "prevResult is missing: CHECK compares with the result of ADD"
      })
    }
    const problems = [
      ...prevResultProblems(allocation.value, config.prevResult),
      ...(yield* netlink.verify(planOf(allocation.value, call.netns || allocation.value.netns)))
    ]
    if (problems.length > 0) {
      return yield* new CniFailure({
        code: Code.CHECK_FAILED,
        message: `${call.ifName} of container ${call.containerId} is not as flock made it: ${problems[0]}`,
        details: problems.join("; ")
      })
    }
  })
})
