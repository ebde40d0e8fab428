/**
 * When an IPv6 address can be used. Linux acknowledges a new address at once, but even without duplicate address
 * detection it is a kernel worker that makes the address's local route, later; until then packets to it are dropped.
 * That route is announced to RTMGRP_IPV6_ROUTE, so it is waited for rather than asked for.
 */
import { Effect } from "effect"
import { formatAddress, type IpAddress } from "../domain/Ip.ts"
import { readLocal } from "./answers.ts"
import type { Received } from "./codec.ts"
import { NetlinkError } from "./Netlink.ts"
import type { RequestSocket } from "./socket.ts"

/** The worker waits for RTNL like everybody; this long only if something is badly wrong. */
const PATIENCE = "10 seconds"

/** Waits for the local routes of `addresses`. `socket` must have been bound to the group before they were added. */
export const untilLocal = (
  socket: RequestSocket,
  addresses: ReadonlyArray<IpAddress>
): Effect.Effect<void, NetlinkError> => {
  const missing = new Set(addresses.map(formatAddress))
  /** True when none is missing any more. */
  const heard = (message: Received): boolean => {
    const local = readLocal(message)
    return local !== undefined && missing.delete(formatAddress(local)) && missing.size === 0
  }
  // As a rule the worker was done before the last of the other requests.
  if (missing.size === 0 || socket.notices().some(heard)) return Effect.void
  return Effect.callback<void>((resume) => {
    socket.listen((message) => {
      if (heard(message)) resume(Effect.void)
    })
  }).pipe(
    Effect.ensuring(Effect.sync(() => socket.unlisten())),
    Effect.interruptible,
    Effect.timeoutOrElse({
      duration: PATIENCE,
      orElse: () =>
        Effect.fail(
          new NetlinkError({
            op: `make ${[...missing].join(", ")} usable in the pod`,
            errno: "ETIMEDOUT",
            detail: `the kernel has made no local route for ${PATIENCE}`
          })
        )
    })
  )
}
