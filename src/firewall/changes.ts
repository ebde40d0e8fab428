/** Notifications of nf_tables, from a multicast socket in libuv's epoll set. */
import { Cause, Effect, Queue, Stream } from "effect"
import { closeSync } from "node:fs"
import { constants } from "node:os"
import { decode, errnoName } from "../netlink/codec.ts"
import { openSocket, recvNow, setMembership, watchReadable } from "../netlink/libc.ts"
import type { Namespaces } from "../netlink/namespace.ts"
import { failed, FirewallError } from "./errors.ts"
import { isOurs } from "./kernel.ts"
import { NETLINK_NETFILTER, NFNLGRP_NFTABLES } from "./nft.ts"

const { EAGAIN, EINTR, ENOBUFS } = constants.errno
const RECEIVE_BYTES = 1 << 20

/** Never held across a tick. */
const scratch = new Uint8Array(64 << 10)

const open = (namespaces: Namespaces): Effect.Effect<number, FirewallError> =>
  Effect.try({
    try: () =>
      namespaces.visit(namespaces.host, () => {
        const fd = openSocket(NETLINK_NETFILTER, 0, RECEIVE_BYTES)
        setMembership(fd, NFNLGRP_NFTABLES, true)
        return fd
      }),
    catch: failed("watch nf_tables")
  })

/** Reads what is there; the result says whether any of it was about our tables, or an error that ends the watch. */
const drain = (fd: number): boolean | FirewallError => {
  let ours = false
  for (;;) {
    const length = recvNow(fd, scratch)
    if (length === -EAGAIN) return ours
    if (length === -ENOBUFS) ours = true
    else if (length >= 0) ours = decode(scratch.subarray(0, Math.min(length, scratch.length))).some(isOurs) || ours
    else if (length !== -EINTR) return new FirewallError({ op: "watch nf_tables", errno: errnoName(-length) })
  }
}

/** One for every burst of changes of our tables. */
export const changes = (namespaces: Namespaces): Stream.Stream<void, FirewallError> =>
  Stream.callback<void, FirewallError>((queue) =>
    Effect.acquireRelease(
      Effect.map(open(namespaces), (fd) => ({
        fd,
        watch: watchReadable(fd, () => {
          const seen = drain(fd)
          if (seen instanceof FirewallError) Queue.failCauseUnsafe(queue, Cause.fail(seen))
          else if (seen) Queue.offerUnsafe(queue, undefined)
        })
      })),
      ({ fd, watch }) =>
        Effect.sync(() => {
          watch.close()
          closeSync(fd)
        })
    ), { bufferSize: 1, strategy: "sliding" })
