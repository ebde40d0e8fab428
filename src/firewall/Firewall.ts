/** flock's own tables of nf_tables in the node's namespace: kept as they should be, counted, removed. */
import { Cause, Context, Data, Effect, Layer, Queue, Scope, Semaphore, Stream } from "effect"
import { closeSync } from "node:fs"
import { constants } from "node:os"
import { decode, errnoName, type Message, readText } from "../netlink/codec.ts"
import { openSocket, recvNow, setMembership, watchReadable } from "../netlink/libc.ts"
import { errorCode, Namespaces } from "../netlink/namespace.ts"
import { DumpSocket, RequestSocket } from "../netlink/socket.ts"
import { holds, isOurs, readElements } from "./kernel.ts"
import * as N from "./nft.ts"
import {
  addKeys,
  build,
  deleteKeys,
  type Elements,
  keysOf,
  type Reason,
  REASONS,
  TABLE,
  type Table,
  tablesOf
} from "./ruleset.ts"

export class FirewallError extends Data.TaggedError("FirewallError")<{
  /** What was tried. */
  readonly op: string
  /** Symbolic errno. */
  readonly errno: string
}> {
  override get message(): string {
    const why = this.errno === "EPERM"
      ? "the agent lacks CAP_NET_ADMIN"
      : `${this.errno}: this kernel needs CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_ARP and CONFIG_NFT_FIB_INET`
    return `${this.op}: ${why}`
  }
}

export interface Wanted extends Elements {
  /** Off: only what speaks to the node as a router would is dropped. */
  readonly antiSpoofing: boolean
}

/** What was dropped of one link's packets, since its table was made. */
export interface Drops {
  readonly ifName: string
  readonly reason: Reason
  readonly packets: number
}

export class Firewall extends Context.Service<Firewall, {
  /** Makes the kernel's tables what is wanted; the result says whether anything differed. */
  readonly apply: (wanted: Wanted) => Effect.Effect<boolean, FirewallError>
  readonly drops: Effect.Effect<ReadonlyArray<Drops>, FirewallError>
  /** Forgets the counts of links. */
  readonly forget: (drops: ReadonlyArray<Drops>) => Effect.Effect<void, FirewallError>
  /** Removes the tables; not being there is success. */
  readonly remove: Effect.Effect<void, FirewallError>
  /** Emits when somebody changes our tables, this agent included. */
  readonly changes: Stream.Stream<void, FirewallError>
}>()("flock/Firewall") {
  /** `netns`: path of the node's network namespace. Default: the process's own. Opens its sockets at first use. */
  static readonly layer = (options: { readonly netns?: string } = {}): Layer.Layer<Firewall> =>
    Layer.effect(Firewall, make(options))

  /** Members that a test does not give die when they are used. */
  static readonly layerTest = (members: Partial<Firewall["Service"]>) => Layer.mock(Firewall, members)
}

const { EAGAIN, EINTR, ENOBUFS, ENOENT } = constants.errno
const RECEIVE_BYTES = 1 << 20

const failed = (op: string) => (error: unknown) => new FirewallError({ op, errno: errorCode(error) })

/** Never held across a tick. */
const scratch = new Uint8Array(64 << 10)

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

const make = (options: { readonly netns?: string }) =>
  Effect.gen(function*() {
    const namespaces = yield* Effect.acquireRelease(
      Effect.sync(() => new Namespaces(options.netns)),
      (open) => Effect.sync(() => open.close())
    )
    const inHost = <A extends { readonly close: () => void }>(op: string, open: () => A) =>
      Effect.acquireRelease(
        Effect.try({ try: () => namespaces.visit(namespaces.host, open), catch: failed(op) }),
        (socket) => Effect.sync(() => socket.close())
      )
    const lock = yield* Semaphore.make(1)
    const scope = yield* Effect.scope
    const sockets = yield* Effect.cached(
      Effect.all({
        requests: inHost("open nf_tables", () => new RequestSocket(0, N.NETLINK_NETFILTER)),
        dumps: inHost("open nf_tables", () => new DumpSocket(N.NETLINK_NETFILTER))
      }).pipe(Effect.provideService(Scope.Scope, scope))
    )

    const dump = Effect.fnUntraced(function*(op: string, request: Message) {
      const { dumps } = yield* sockets
      return yield* dumps.dump(op, request).pipe(
        Effect.catchIf((error) => error.errno === "ENOENT", () => Effect.succeed([])),
        Effect.mapError((error) => new FirewallError({ op, errno: error.errno }))
      )
    })

    /** The kernel acknowledges each message of a transaction; its ends only lately. */
    const commit = Effect.fnUntraced(function*(op: string, messages: ReadonlyArray<Message>, fine?: number) {
      if (messages.length === 0) return
      const { requests } = yield* sockets
      const replies = yield* requests.request(N.batch(messages))
      const first = replies.slice(1, -1).find(({ ack }) => ack.code !== 0 && ack.code !== fine)
      if (first !== undefined) return yield* new FirewallError({ op, errno: errnoName(first.ack.code) })
    })

    const elementsOf = (set: string, family: number = N.NFPROTO_INET) =>
      Effect.map(dump(`list ${set}`, N.getElements(family, TABLE, set)), readElements)

    const isThere = Effect.fnUntraced(function*(table: Table) {
      const seen = {
        tables: yield* dump("list tables", N.getTables(table.family)),
        chains: yield* dump("list chains", N.getChains(table.family)),
        rules: yield* dump("list rules", N.getRules(table.family, TABLE))
      }
      return holds(table, seen)
    })

    const applyElements = Effect.fnUntraced(function*(wanted: Wanted) {
      const changes: Array<Message> = []
      for (const [set, keys] of keysOf(wanted)) {
        const there = new Map((yield* elementsOf(set)).map(({ key }) => [hex(key), key]))
        const names = new Map(keys.map((key) => [hex(key), key]))
        changes.push(
          ...deleteKeys(set, [...there].filter(([name]) => !names.has(name)).map(([, key]) => key)),
          ...addKeys(set, [...names].filter(([name]) => !there.has(name)).map(([, key]) => key))
        )
      }
      yield* commit("change elements", changes)
      return changes.length > 0
    })

    const apply = Effect.fnUntraced(function*(wanted: Wanted) {
      const missing = yield* Effect.filter(tablesOf(wanted.antiSpoofing), (table) =>
        Effect.map(isThere(table), (there) => !there))
      yield* commit(
        "make the tables",
        missing.flatMap((table) =>
          build(table, wanted)
        )
      )
      const changed = yield* applyElements(wanted)
      return changed || missing.length > 0
    }, lock.withPermit)

    const drops = Effect.gen(function*() {
      const counted = (reason: Reason, family: number) =>
        Effect.map(
          elementsOf(reason, family),
          (elements) => elements.map(({ key, packets }): Drops => ({ ifName: readText(key), reason, packets }))
        )
      const inet = yield* Effect.forEach(REASONS, (reason) => counted(reason, N.NFPROTO_INET))
      const sums = new Map<string, Drops>()
      for (const one of [...inet.flat(), ...yield* counted("flooding", N.NFPROTO_ARP)]) {
        const key = `${one.ifName} ${one.reason}`
        sums.set(key, { ...one, packets: one.packets + (sums.get(key)?.packets ?? 0) })
      }
      return [...sums.values()]
    })

    const forget = Effect.fnUntraced(function*(gone: ReadonlyArray<Drops>) {
      // One by one: an element that is not there undoes the whole transaction.
      for (const { ifName, reason } of gone) {
        for (const family of [N.NFPROTO_INET, N.NFPROTO_ARP]) {
          yield* commit("forget counts", [N.deleteElements(family, TABLE, reason, [N.ifName(ifName)])], ENOENT)
        }
      }
    }, lock.withPermit)

    const remove = Effect.forEach(
      tablesOf(true),
      ({ family }) => commit("remove the tables", [N.deleteTable(family, TABLE)], ENOENT),
      { discard: true }
    ).pipe(lock.withPermit)

    return Firewall.of({ apply, drops, forget, remove, changes: changes(namespaces) })
  })

const open = (namespaces: Namespaces): Effect.Effect<number, FirewallError> =>
  Effect.try({
    try: () =>
      namespaces.visit(namespaces.host, () => {
        const fd = openSocket(N.NETLINK_NETFILTER, 0, RECEIVE_BYTES)
        setMembership(fd, N.NFNLGRP_NFTABLES, true)
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

const changes = (namespaces: Namespaces): Stream.Stream<void, FirewallError> =>
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
