/** What others change in the kernel, from an rtnetlink multicast socket in libuv's epoll set. */
import { Cause, Effect, Queue, Stream } from "effect"
import { closeSync } from "node:fs"
import { constants } from "node:os"
import { equalAddress } from "../domain/Ip.ts"
import { GATEWAY6 } from "../domain/PodAddresses.ts"
import { readAddress, readHostEnd, readLink, readRoute, readRouter } from "./answers.ts"
import { linksWithout, onlyTypes, QUIET_NEIGHBOURS, routersOn } from "./bpf.ts"
import { decode, errnoName, type Received } from "./codec.ts"
import * as C from "./constants.ts"
import { HOST_GROUPS, hostChangeOf } from "./hostChanges.ts"
import { attachFilter, openRouteSocket, recvNow, watchReadable } from "./libc.ts"
import { errorCode, type Namespaces } from "./namespace.ts"
import {
  type HostChange,
  IF_PREFIX,
  type KernelChange,
  type LinkChange,
  NetlinkError,
  type RouterNeighbour
} from "./Netlink.ts"

const { EAGAIN, EINTR, ENOBUFS } = constants.errno

const GROUPS = C.RTMGRP_LINK | C.RTMGRP_IPV4_IFADDR | C.RTMGRP_IPV6_IFADDR | C.RTMGRP_IPV4_ROUTE |
  C.RTMGRP_IPV6_ROUTE

const RECEIVE_BYTES = 8 << 20
/** Datagrams read before other events get their turn; the socket stays readable, so the rest follows. */
const DATAGRAMS_PER_TURN = 128
/** The first of a burst is read at once; one ADD makes some 15 in 3 ms. */
const GATHER_MILLIS = 5
/** Changes that wait for the reader, at most. */
const QUEUE_LENGTH = 4096

const scratch = new Uint8Array(64 << 10)

/** Every host end has the pods' gateway: of an ADD or DEL nobody looks at the node's addresses anew. */
const addressChange = (message: Received): KernelChange | undefined => {
  const found = readAddress(message)
  return found === undefined || equalAddress(found.address, GATEWAY6)
    ? undefined
    : { _tag: "AddressChanged", ifIndex: found.ifIndex }
}

/** What the notifications that mean something to flock say, by type; of the others none is received. */
const READERS: ReadonlyMap<number, (message: Received) => KernelChange | undefined> = new Map([
  [C.RTM_DELLINK, (message: Received) => {
    const link = readLink(message)
    return link && { _tag: "LinkRemoved" as const, ifName: link.ifName, ifIndex: link.ifIndex }
  }],
  [C.RTM_DELROUTE, (message: Received) => {
    const route = readRoute(message)
    return route && { _tag: "RouteRemoved" as const, route }
  }],
  [C.RTM_NEWADDR, addressChange],
  [C.RTM_DELADDR, addressChange]
])

const ONLY_READ = onlyTypes([...READERS.keys()])

export const changeOf = (message: Received): KernelChange | undefined => READERS.get(message.type)?.(message)

export const linkChangeOf = (message: Received): LinkChange | undefined => {
  const link = readHostEnd(message)
  if (link === undefined) return undefined
  const { carrier, ifIndex, ifName, up } = link
  return message.type === C.RTM_DELLINK
    ? { _tag: "LinkRemoved", ifName, ifIndex }
    : { _tag: "LinkChanged", ifName, ifIndex, up, carrier }
}

/** A subscription: to which groups, what of it is received, and what that means. */
interface Source<A> {
  readonly groups: number
  /** A classic BPF program. */
  readonly filter: Uint8Array
  readonly read: (message: Received) => A | undefined
  /** Stands for messages that were lost. */
  readonly overrun: A
  /** An overrun comes first, when the subscription stands. */
  readonly opened?: boolean
}

const open = (namespaces: Namespaces, { filter, groups }: Source<unknown>): Effect.Effect<number, NetlinkError> =>
  Effect.try({
    try: () =>
      namespaces.visit(namespaces.host, () => {
        const fd = openRouteSocket(groups, RECEIVE_BYTES)
        attachFilter(fd, filter)
        return fd
      }),
    catch: (error) => new NetlinkError({ op: "subscribe to kernel changes", errno: errorCode(error) })
  })

/** Puts changes into the queue until it is long; then one `overrun` stands for all that follow. */
const offerTo = <A>(queue: Queue.Queue<A, NetlinkError | Cause.Done>, lost: A) => {
  let overrun = false
  return (change: A): void => {
    const full = Queue.sizeUnsafe(queue) >= QUEUE_LENGTH
    if (full && overrun) return
    overrun = full
    Queue.offerUnsafe(queue, full ? lost : change)
  }
}

/** Reads what is there; the result is an error that ends the stream. */
const drain = <A>(
  fd: number,
  { overrun, read }: Source<A>,
  offer: (change: A) => void
): NetlinkError | undefined => {
  for (let i = 0; i < DATAGRAMS_PER_TURN; i++) {
    const length = recvNow(fd, scratch)
    if (length === -EAGAIN) return undefined
    if (length === -ENOBUFS) offer(overrun)
    else if (length >= 0) {
      for (const message of decode(scratch.subarray(0, Math.min(length, scratch.length)))) {
        const change = read(message)
        if (change !== undefined) offer(change)
      }
    } else if (length !== -EINTR) {
      return new NetlinkError({ op: "read kernel changes", errno: errnoName(-length) })
    }
  }
  return undefined
}

interface Listener<A> {
  readonly offer: (change: A) => void
  readonly fail: (error: NetlinkError) => void
}

/** A subscription's socket with those who read from it. It is there while there is one. */
class Shared<A> {
  readonly #namespaces: Namespaces
  readonly #source: Source<A>
  readonly #listeners = new Set<Listener<A>>()
  #socket: { readonly close: () => void } | undefined

  constructor(namespaces: Namespaces, source: Source<A>) {
    this.#namespaces = namespaces
    this.#source = source
  }

  add(listener: Listener<A>): Effect.Effect<void, NetlinkError> {
    return Effect.suspend(() =>
      this.#socket === undefined
        ? Effect.map(open(this.#namespaces, this.#source), (fd) => this.#listen(fd))
        : Effect.void
    ).pipe(Effect.map(() => void this.#listeners.add(listener)))
  }

  #listen(fd: number): void {
    const watch = watchReadable(fd, () => {
      const error = drain(fd, this.#source, (change) => {
        for (const { offer } of this.#listeners) offer(change)
      })
      if (error === undefined) return
      this.#close()
      for (const { fail } of this.#listeners) fail(error)
    }, GATHER_MILLIS)
    this.#socket = {
      close: () => {
        watch.close()
        closeSync(fd)
      }
    }
  }

  #close(): void {
    this.#socket?.close()
    this.#socket = undefined
  }

  remove(listener: Listener<A>): void {
    if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#close()
  }
}

/** Every run of the stream has its own queue; all read from one socket, so that what several follow is received once. */
const subscribe = <A>(namespaces: Namespaces, source: Source<A>): Stream.Stream<A, NetlinkError> => {
  const shared = new Shared(namespaces, source)
  return Stream.callback<A, NetlinkError>((queue) => {
    const listener = {
      offer: offerTo(queue, source.overrun),
      fail: (error: NetlinkError) => Queue.failCauseUnsafe(queue, Cause.fail(error))
    }
    return Effect.acquireRelease(
      Effect.tap(shared.add(listener), () =>
        Effect.sync(() => {
          if (source.opened === true) listener.offer(source.overrun)
        })),
      () => Effect.sync(() => shared.remove(listener))
    )
  })
}

export const changes = (namespaces: Namespaces): Stream.Stream<KernelChange, NetlinkError> =>
  subscribe<KernelChange>(namespaces, {
    groups: GROUPS,
    filter: ONLY_READ,
    read: changeOf,
    overrun: { _tag: "Overrun" }
  })

export const hostChanges = (namespaces: Namespaces): Stream.Stream<HostChange, NetlinkError> =>
  subscribe<HostChange>(namespaces, {
    groups: HOST_GROUPS,
    filter: QUIET_NEIGHBOURS,
    read: hostChangeOf,
    overrun: { _tag: "Overrun" }
  })

export const linkChanges = (namespaces: Namespaces): Stream.Stream<LinkChange, NetlinkError> =>
  subscribe<LinkChange>(namespaces, {
    groups: C.RTMGRP_LINK,
    filter: linksWithout(IF_PREFIX),
    read: linkChangeOf,
    overrun: { _tag: "Overrun" }
  })

export const routerChanges =
  (namespaces: Namespaces) =>
  (ifIndexes: ReadonlyArray<number>): Stream.Stream<RouterNeighbour | undefined, NetlinkError> =>
    subscribe<RouterNeighbour | undefined>(namespaces, {
      groups: C.RTMGRP_NEIGH,
      filter: routersOn(ifIndexes),
      read: readRouter,
      overrun: undefined,
      opened: true
    })
