/** CHECK: is the container's network what ADD made it? */
import { Effect, Option } from "effect"
import { Anycast } from "../anycast/Anycast.ts"
import { attachmentKey } from "../domain/Allocation.ts"
import { formatAddress } from "../domain/Ip.ts"
import type { Request } from "../domain/Wire.ts"
import { Netlink, PROTOCOL_EXPORT } from "../netlink/Netlink.ts"
import { Allocations } from "../state/Allocations.ts"
import { planOf } from "../state/linkPlan.ts"
import { prevResultProblems } from "./result.ts"
import { CniFailure, Code, type NetworkConfig } from "./spec.ts"

export const makeCheck = Effect.gen(function*() {
  const allocations = yield* Allocations
  const anycast = yield* Anycast
  const netlink = yield* Netlink

  /** Addresses that should draw packets to this attachment now, but have no route that does. */
  const announcementProblems = Effect.fnUntraced(function*(key: string) {
    const due = (yield* anycast.held).filter(({ holders }) =>
      holders.some(({ gate, owner }) => owner === key && gate === "Ready")
    )
    if (due.length === 0) return []
    const routed = new Set(
      (yield* netlink.routes(PROTOCOL_EXPORT)).map(({ destination: { base, family } }) =>
        formatAddress({ family, value: base })
      )
    )
    return due.filter(({ address }) => !routed.has(address)).map(({ address }) =>
      `${address} is to be announced, but the node has no route of protocol ${PROTOCOL_EXPORT} to it`
    )
  })

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
      ...(yield* netlink.verify(planOf(allocation.value, call.netns || allocation.value.netns))),
      ...(yield* announcementProblems(attachmentKey(call)))
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
