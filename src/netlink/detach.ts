/**
 * Removing host ends, many at once. The kernel removes a link in two parts: it unlists it, flushes its routes and
 * neighbours and says so (RTM_DELLINK to RTNLGRP_LINK), and then waits for other processors to let go of it (RCU), for
 * 10 ms and more, before send(2) returns. Callers are answered at the first, when nothing of the link can be seen or
 * used any more; the next batch starts then too, on another socket.
 */
import { Effect } from "effect"
import { randomBytes } from "node:crypto"
import { closeSync } from "node:fs"
import { constants } from "node:os"
import { readLink } from "./answers.ts"
import { type Ack, decode, encode, type Message, readAck } from "./codec.ts"
import * as C from "./constants.ts"
import { openRouteSocket, recvNow, sendAsync, setMembership, watchReadable } from "./libc.ts"
import { IF_PREFIX, LINK_NAME, NetlinkError } from "./Netlink.ts"
import { deleteGroup, deleteLink, setGroup } from "./requests.ts"
import { failure } from "./socket.ts"

const { EBADF, EINVAL, EINTR, ENOBUFS, ENODEV } = constants.errno

type Outcome = Effect.Effect<void, NetlinkError>

/** Who waits for which link. */
type Batch = Map<string, Array<(outcome: Outcome) => void>>

const RECEIVE_BYTES = 4 << 20
const LINKS_PER_BATCH = 256
/** Batches that may be in the kernel: DELs one after another wait for a free one less often (p90 15 ms; with four, 29). */
const SOCKETS = 8

const scratch = new Uint8Array(64 << 10)

/**
 * A link group that nobody else uses: groups are 32 bits, people's are small numbers. Even a batch that dies half-way
 * leaves only this number on links of ours.
 */
const randomGroup = (): number => 0x4000_0000 + randomBytes(4).readUInt32LE() % 0x3fff_ffff

const outcomeOf = (name: string, ack: Ack): Outcome =>
  ack.code === 0 || ack.code === ENODEV ? Effect.void : Effect.fail(failure(`delete link ${name}`, ack))

/** One socket with at most one batch in the kernel. */
class Worker {
  readonly #fd: number
  readonly #watch: ReturnType<typeof watchReadable>
  readonly #onSettled: () => void
  #seq = 1
  #batch: Batch = new Map()
  #acks = new Map<number, Ack>()
  #closed = false
  /** A send is under way. */
  sending = false

  constructor(onSettled: () => void) {
    this.#onSettled = onSettled
    this.#fd = openRouteSocket(0, RECEIVE_BYTES)
    this.#watch = watchReadable(this.#fd, () => this.#drain())
  }

  /** Links of the batch that are still listed. */
  get unsettled(): number {
    return this.#batch.size
  }

  start(batch: Batch): void {
    this.#drain()
    this.#batch = batch
    const names = [...batch.keys()]
    const [only] = names
    setMembership(this.#fd, C.RTNLGRP_LINK, true)
    if (names.length === 1 && only !== undefined) {
      this.#send([deleteLink(only)], ([ack]) => this.#settle(only, outcomeOf(only, ack ?? { code: ENOBUFS })))
      return
    }
    const group = randomGroup()
    this.#send([...names.map((name) => setGroup(name, group)), deleteGroup(group)], (acks) => {
      const deleted = acks[names.length] ?? { code: ENOBUFS }
      const failed = new Map(names.map((name, i) => [name, acks[i] ?? { code: ENOBUFS }]))
      for (const name of names) {
        const ack = failed.get(name) ?? deleted
        if (ack.code !== 0) this.#settle(name, outcomeOf(name, ack))
        else if (deleted.code === 0 || deleted.code === ENODEV) this.#settle(name, Effect.void)
      }
      this.#oneByOne(deleted)
    })
  }

  /** The kernel refuses a whole group if it holds one link that cannot be deleted: take the rest singly. */
  #oneByOne(refusal: Ack): void {
    const names = [...this.#batch.keys()]
    if (names.length === 0 || this.#closed) return
    this.#send(
      names.flatMap((name) => [setGroup(name, 0), deleteLink(name)]),
      (acks) => names.forEach((name, i) => this.#settle(name, outcomeOf(name, acks[2 * i + 1] ?? refusal)))
    )
  }

  #send(messages: ReadonlyArray<Message>, done: (acks: ReadonlyArray<Ack | undefined>) => void): void {
    const first = this.#seq
    this.#seq = (first + messages.length) % 0x7fff0000 + 1
    this.#acks = new Map()
    this.sending = true
    const flagged = messages.map((m) => ({ ...m, flags: m.flags | C.NLM_F_REQUEST | C.NLM_F_ACK }))
    sendAsync(this.#fd, encode(flagged, first), (errno) => {
      this.#drain()
      this.sending = false
      if (this.#closed) closeSync(this.#fd)
      const lost = errno === 0 ? undefined : { code: errno > 0 ? errno : EINVAL }
      done(messages.map((_, i) => this.#acks.get(first + i) ?? lost))
      if (this.sending || this.#closed) return
      setMembership(this.#fd, C.RTNLGRP_LINK, false)
      this.#onSettled()
    })
  }

  #drain(): void {
    let settled = false
    // Whoever is answered goes on at once, and may close this worker or start another, which reads into `scratch` too.
    while (!this.#closed || this.sending) {
      const length = recvNow(this.#fd, scratch)
      // Notifications that were lost (ENOBUFS) only mean waiting for the acknowledgement.
      if (length === -EINTR || length === -ENOBUFS) continue
      if (length < 0) break
      for (const message of decode(scratch.slice(0, Math.min(length, scratch.length)))) {
        if (message.type === C.NLMSG_ERROR) this.#acks.set(message.seq, readAck(message))
        else if (message.type === C.RTM_DELLINK) {
          const name = readLink(message)?.ifName ?? ""
          settled = this.#settle(name, Effect.void) || settled
        }
      }
    }
    if (settled && this.#batch.size === 0) this.#onSettled()
  }

  #settle(name: string, outcome: Outcome): boolean {
    const waiting = this.#batch.get(name)
    this.#batch.delete(name)
    for (const resume of waiting ?? []) resume(outcome)
    return waiting !== undefined
  }

  /** After the send under way, if any. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch.close()
    if (!this.sending) closeSync(this.#fd)
  }
}

/** After a removal the caller has still to forget the link; whoever looks in between sees one that is missing. */
const FORGETTING = 100

export class Detacher {
  #waiting: Batch = new Map()
  /** By name: how many callers wait for its removal; 0 for a moment after the last one. */
  readonly #leaving = new Map<string, number>()
  readonly #workers: ReadonlyArray<Worker>
  #closed = false

  /** Opens its sockets in the calling thread's network namespace. */
  constructor() {
    this.#workers = Array.from({ length: SOCKETS }, () => new Worker(() => this.#next()))
  }

  /** Only names of ours are taken. Not interruptible: the kernel cannot be called back. */
  readonly detach = (name: string): Outcome =>
    LINK_NAME.test(name)
      ? Effect.callback<void, NetlinkError>((resume) => {
        this.#leaving.set(name, (this.#leaving.get(name) ?? 0) + 1)
        this.#waiting.set(name, [...(this.#waiting.get(name) ?? []), resume])
        this.#next()
      }).pipe(Effect.ensuring(Effect.sync(() => this.#left(name))), Effect.uninterruptible)
      : Effect.fail(
        new NetlinkError({
          op: `delete link ${name}`,
          errno: "EINVAL",
          detail: `not a link of flock's: its name would be ${IF_PREFIX} and eight hexadecimal digits`
        })
      )

  /** The link is being removed, or was a moment ago. */
  readonly isLeaving = (name: string): boolean => this.#leaving.has(name)

  #left(name: string): void {
    const waiting = (this.#leaving.get(name) ?? 1) - 1
    this.#leaving.set(name, waiting)
    if (waiting > 0) return
    setTimeout(() => {
      if (this.#leaving.get(name) === 0) this.#leaving.delete(name)
    }, FORGETTING).unref()
  }

  #next(): void {
    if (this.#closed) return this.#refuse()
    if (this.#waiting.size === 0 || this.#workers.some((worker) => worker.unsettled > 0)) return
    const free = this.#workers.find((worker) => !worker.sending)
    if (free === undefined) return
    const batch = [...this.#waiting].slice(0, LINKS_PER_BATCH)
    for (const [name] of batch) this.#waiting.delete(name)
    free.start(new Map(batch))
  }

  #refuse(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const [name, resumes] of waiting) {
      for (const resume of resumes) resume(outcomeOf(name, { code: EBADF }))
    }
  }

  /** Batches under way are finished; what waits is refused. */
  close(): void {
    this.#closed = true
    for (const worker of this.#workers) worker.close()
    this.#refuse()
  }
}
