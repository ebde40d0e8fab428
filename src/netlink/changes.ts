/** What others change in the kernel, from an rtnetlink multicast socket in libuv's epoll set. */
import { Cause, Effect, Queue, Stream } from "effect"
import { closeSync } from "node:fs"
import { constants } from "node:os"
import { readAddress, readLink, readRoute } from "./answers.ts"
import { decode, errnoName, readU32, type Received } from "./codec.ts"
import * as C from "./constants.ts"
import { openRouteSocket, recvNow, watchReadable } from "./libc.ts"
import { errorCode, type Namespaces } from "./namespace.ts"
import { type KernelChange, LINK_NAME, NetlinkError } from "./Netlink.ts"

const { EAGAIN, EINTR, ENOBUFS } = constants.errno

const GROUPS = C.RTMGRP_LINK | C.RTMGRP_IPV4_IFADDR | C.RTMGRP_IPV6_IFADDR | C.RTMGRP_IPV4_ROUTE |
  C.RTMGRP_IPV6_ROUTE

const RECEIVE_BYTES = 8 << 20
/** Datagrams read before other events get their turn; the socket stays readable, so the rest follows. */
const DATAGRAMS_PER_TURN = 128
/** Changes that wait for the reader, at most. */
const QUEUE_LENGTH = 4096

const scratch = new Uint8Array(64 << 10)

/** `ifi_change` of a link that was registered or came from another namespace (`rtnl_configure_link`, Linux). */
const ALL_FLAGS = 0xffff_ffff

/** What a notification means to flock; most mean nothing. */
export const changeOf = (message: Received): KernelChange | undefined => {
  switch (message.type) {
    case C.RTM_NEWLINK: {
      const link = readLink(message)
      const isNew = readU32(message.body, 12) === ALL_FLAGS
      return link === undefined || !isNew || LINK_NAME.test(link.ifName)
        ? undefined
        : { _tag: "LinkAdded", ifName: link.ifName, ifIndex: link.ifIndex }
    }
    case C.RTM_DELLINK: {
      const link = readLink(message)
      return link === undefined ? undefined : { _tag: "LinkRemoved", ifName: link.ifName, ifIndex: link.ifIndex }
    }
    case C.RTM_DELROUTE: {
      const route = readRoute(message)
      return route === undefined ? undefined : { _tag: "RouteRemoved", route }
    }
    case C.RTM_NEWADDR:
    case C.RTM_DELADDR: {
      const address = readAddress(message)
      return address === undefined ? undefined : { _tag: "AddressChanged", ifIndex: address.ifIndex }
    }
    default:
      return undefined
  }
}

const open = (namespaces: Namespaces): Effect.Effect<number, NetlinkError> =>
  Effect.try({
    try: () => namespaces.visit(namespaces.host, () => openRouteSocket(GROUPS, RECEIVE_BYTES)),
    catch: (error) => new NetlinkError({ op: "subscribe to kernel changes", errno: errorCode(error) })
  })

/** Puts changes into the queue until it is long; then one `Overrun` stands for all that follow. */
const offerTo = (queue: Queue.Queue<KernelChange, NetlinkError | Cause.Done>) => {
  let overrun = false
  return (change: KernelChange): void => {
    const full = Queue.sizeUnsafe(queue) >= QUEUE_LENGTH
    if (full && overrun) return
    overrun = full
    Queue.offerUnsafe(queue, full ? { _tag: "Overrun" } : change)
  }
}

/** Reads what is there; the result is an error that ends the stream. */
const drain = (fd: number, offer: (change: KernelChange) => void): NetlinkError | undefined => {
  for (let i = 0; i < DATAGRAMS_PER_TURN; i++) {
    const length = recvNow(fd, scratch)
    if (length === -EAGAIN) return undefined
    if (length === -ENOBUFS) offer({ _tag: "Overrun" })
    else if (length >= 0) {
      for (const message of decode(scratch.subarray(0, Math.min(length, scratch.length)))) {
        const change = changeOf(message)
        if (change !== undefined) offer(change)
      }
    } else if (length !== -EINTR) {
      return new NetlinkError({ op: "read kernel changes", errno: errnoName(-length) })
    }
  }
  return undefined
}

export const changes = (namespaces: Namespaces): Stream.Stream<KernelChange, NetlinkError> =>
  Stream.callback<KernelChange, NetlinkError>((queue) =>
    Effect.acquireRelease(
      Effect.map(open(namespaces), (fd) => {
        const offer = offerTo(queue)
        const watch = watchReadable(fd, () => {
          const error = drain(fd, offer)
          if (error !== undefined) Queue.failCauseUnsafe(queue, Cause.fail(error))
        })
        return { fd, watch }
      }),
      ({ fd, watch }) =>
        Effect.sync(() => {
          watch.close()
          closeSync(fd)
        })
    )
  )
