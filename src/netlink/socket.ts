/** Requests and dumps over one netlink socket, off the event loop. */
import { Effect, Semaphore } from "effect"
import { closeSync } from "node:fs"
import { constants } from "node:os"
import { type Ack, decode, encode, errnoName, type Message, readAck, type Received } from "./codec.ts"
import * as C from "./constants.ts"
import { openSocket, type Protocol, recvAsync, recvNow, sendAsync, watchReadable } from "./libc.ts"
import { NetlinkError } from "./Netlink.ts"

const { EACCES, EBADF, EHOSTUNREACH, EINTR, EINVAL, EMSGSIZE, ENETUNREACH, ENOBUFS } = constants.errno

/** What the lookup of a route answers without one, and for an unreachable, prohibit or blackhole route. */
export const REJECTED = new Set<number>([ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL])

/** What the kernel said to one request. */
export interface Reply {
  readonly ack: Ack
  /** Messages other than the acknowledgement, such as the link of an RTM_GETLINK. */
  readonly answers: ReadonlyArray<Received>
}

interface Pending {
  readonly messages: ReadonlyArray<Message>
  readonly resume: (replies: ReadonlyArray<Reply>) => void
}

const RECEIVE_BYTES = 4 << 20
/** Requests (each of several messages) that go into one send(2). */
const REQUESTS_PER_SEND = 4
const DUMP_TRIES = 20
const QUIET_READS = 3
/** The kernel makes parts of at most 32 KiB, more only for a single large message. */
const DUMP_BYTES = 256 << 10

/** For synchronous receives of every socket: never held across a tick. */
const scratch = new Uint8Array(256 << 10)

/** One that outlives the buffer that it was received in. */
const copied = ({ body, flags, seq, type }: Received): Received => ({ type, flags, seq, body: body.slice() })

export const failure = (op: string, ack: Ack): NetlinkError =>
  new NetlinkError({
    op,
    errno: errnoName(ack.code),
    ...(ack.detail === undefined ? {} : { detail: ack.detail })
  })

/** Replies to messages that cannot be sent any more. */
const refused = (messages: ReadonlyArray<Message>): ReadonlyArray<Reply> =>
  messages.map(() => ({ ack: { code: EBADF }, answers: [] }))

/** The reply's messages, or its error. */
export const orFail = (op: string, reply: Reply | undefined): Effect.Effect<ReadonlyArray<Received>, NetlinkError> =>
  reply === undefined || reply.ack.code !== 0
    ? Effect.fail(failure(op, reply?.ack ?? { code: ENOBUFS }))
    : Effect.succeed(reply.answers)

/**
 * A socket for requests. The kernel works on requests inside send(2) and may wait for RTNL there, so sends run on the
 * thread pool, one at a time; requests that arrive meanwhile share the next one. Acknowledgements are there when send
 * returns and are collected without waiting.
 */
export class RequestSocket {
  readonly fd: number
  #seq = 1
  readonly #urgent: Array<Pending> = []
  readonly #queue: Array<Pending> = []
  #busy = false
  #closed = false

  readonly #notices: Array<Received> = []
  #onNotice: ((message: Received) => void) | undefined
  #watch: { readonly close: () => void } | undefined

  /** Opens in the calling thread's network namespace, bound to the multicast groups in the mask. */
  constructor(groups = 0, protocol: Protocol = 0) {
    this.fd = openSocket(protocol, groups, RECEIVE_BYTES)
  }

  /** Multicast messages go to `listener` from now on, those received before included. */
  listen(listener: (message: Received) => void): void {
    this.#watch = watchReadable(this.fd, () => this.#receive(() => {}))
    this.#onNotice = listener
    this.#receive(() => {})
  }

  /** Multicast messages that are there now, each once. */
  notices(): ReadonlyArray<Received> {
    this.#receive(() => {})
    return this.#notices.splice(0)
  }

  unlisten(): void {
    this.#onNotice = undefined
    this.#watch?.close()
    this.#watch = undefined
  }

  /**
   * One reply per message, in order. Failures of single messages do not stop the others. Not interruptible. `first`
   * goes before requests that wait: what is begun is finished before more is begun. EBADF once the socket is closed: its
   * descriptor may be another's then.
   */
  request(messages: ReadonlyArray<Message>, first = false): Effect.Effect<ReadonlyArray<Reply>> {
    if (messages.length === 0) return Effect.succeed([])
    return Effect.callback<ReadonlyArray<Reply>>((resume) => {
      const pending = { messages, resume: (replies: ReadonlyArray<Reply>) => resume(Effect.succeed(replies)) }
      if (this.#closed) return pending.resume(refused(messages))
      if (first) this.#urgent.push(pending)
      else this.#queue.push(pending)
      this.#pump()
    }).pipe(Effect.uninterruptible)
  }

  /** One message; its answers or its error. */
  one(op: string, message: Message): Effect.Effect<ReadonlyArray<Received>, NetlinkError> {
    return Effect.flatMap(this.request([message]), ([reply]) => orFail(op, reply))
  }

  #pump(): void {
    const waiting = this.#urgent.length > 0 ? this.#urgent : this.#queue
    if (this.#busy || waiting.length === 0) return
    this.#busy = true
    const batch = waiting.splice(0, REQUESTS_PER_SEND)
    const messages = batch.flatMap((pending) => pending.messages)
    const first = this.#seq
    this.#seq = (first + messages.length) % 0x7fff0000 + 1
    const flagged = messages.map((m) => ({ ...m, flags: m.flags | C.NLM_F_REQUEST | C.NLM_F_ACK }))
    sendAsync(this.fd, encode(flagged, first), (errno) => {
      const replies = this.#collect(first, messages.length, errno)
      this.#busy = false
      if (this.#closed) closeSync(this.fd)
      else this.#pump()
      let at = 0
      for (const pending of batch) pending.resume(replies.slice(at, at += pending.messages.length))
    })
  }

  #collect(first: number, count: number, errno: number): ReadonlyArray<Reply> {
    const lost = { code: errno > 0 ? errno : ENOBUFS, detail: "no acknowledgement from the kernel" }
    const replies = Array.from({ length: count }, (): { ack: Ack; readonly answers: Array<Received> } => ({
      ack: lost,
      answers: []
    }))
    this.#receive((message) => {
      const reply = replies[message.seq - first]
      if (reply === undefined) return
      if (message.type === C.NLMSG_ERROR) reply.ack = readAck(message)
      else reply.answers.push(copied(message))
    })
    return replies
  }

  /**
   * Takes what is there, without waiting: each message as a view into `scratch`, which nothing that runs in between may
   * read into. Multicast messages have sequence number 0 and are kept for a listener.
   */
  #receive(take: (message: Received) => void): void {
    for (;;) {
      const length = recvNow(this.fd, scratch)
      if (length === -EINTR || length === -ENOBUFS) continue
      if (length < 0) break
      for (const message of decode(scratch.subarray(0, Math.min(length, scratch.length)))) {
        if (message.seq === 0) this.#notices.push(copied(message))
        else take(message)
      }
    }
    if (this.#onNotice !== undefined) this.#notices.splice(0).forEach(this.#onNotice)
  }

  /** After the send under way, if any. What waits behind it is refused. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.unlisten()
    if (!this.#busy) closeSync(this.fd)
    for (const { messages, resume } of [...this.#urgent.splice(0), ...this.#queue.splice(0)]) resume(refused(messages))
  }
}

interface Dumped {
  readonly messages: ReadonlyArray<Received>
  /** The kernel noticed a change between two parts. */
  readonly interrupted: boolean
  readonly parts: number
}

/**
 * A socket for dumps, one at a time. Their parts are made inside recv(2), which may wait for RTNL, so both send and
 * receive run on the thread pool.
 */
export class DumpSocket {
  readonly #fd: number
  readonly #buffer = new Uint8Array(DUMP_BYTES)
  readonly #lock = Semaphore.makeUnsafe(1)
  #seq = 1
  #busy = false
  #closed = false

  /** Opens in the calling thread's network namespace. */
  constructor(protocol: Protocol = 0) {
    this.#fd = openSocket(protocol, 0, RECEIVE_BYTES)
  }

  /**
   * All messages of a table; read again if it changed meanwhile (`NLM_F_DUMP_INTR`). `union`: Linux does not notice
   * changes for IPv6 routes (seen: one route twice, another missing, the same one in two reads running), so what takes
   * several parts is read until `QUIET_READS` reads find nothing more; a route just removed may be among them. EBADF once
   * the socket is closed.
   */
  dump(op: string, message: Message, union = false): Effect.Effect<ReadonlyArray<Received>, NetlinkError> {
    return Effect.promise(() => this.#repeat(message, union)).pipe(
      Effect.uninterruptible,
      this.#lock.withPermit,
      Effect.flatMap((result) => "code" in result ? Effect.fail(failure(op, result)) : Effect.succeed(result.messages))
    )
  }

  async #repeat(message: Message, union: boolean): Promise<Ack | Dumped> {
    if (this.#closed) return { code: EBADF }
    this.#busy = true
    try {
      const found = new Map<string, Received>()
      let quiet = 0
      for (let tries = 0; tries < DUMP_TRIES && quiet < QUIET_READS; tries++) {
        const result = await this.#once(message)
        if ("code" in result) return result
        if (!union && result.interrupted) continue
        if (!union || result.parts <= 1) return result
        const before = found.size
        for (const part of result.messages) found.set(Buffer.from(part.body).toString("latin1"), part)
        quiet = found.size === before ? quiet + 1 : 0
      }
      return union
        ? { messages: [...found.values()], interrupted: false, parts: 2 }
        : { code: EINTR, detail: `the table changed during each of ${DUMP_TRIES} reads` }
    } finally {
      this.#busy = false
      if (this.#closed) closeSync(this.#fd)
    }
  }

  async #once(message: Message): Promise<Ack | Dumped> {
    const seq = this.#seq
    this.#seq = seq % 0x7fff0000 + 1
    const request = encode([{ ...message, flags: message.flags | C.NLM_F_REQUEST | C.NLM_F_DUMP }], seq)
    const errno = await new Promise<number>((resolve) => sendAsync(this.#fd, request, resolve))
    if (errno !== 0) return { code: errno }
    const messages: Array<Received> = []
    let interrupted = false
    let parts = 0
    for (;;) {
      const length = await new Promise<number>((resolve) => recvAsync(this.#fd, this.#buffer, resolve))
      if (length === -EINTR) continue
      if (length < 0) return { code: -length }
      if (length > this.#buffer.length) return { code: EMSGSIZE }
      const before = messages.length
      for (const part of decode(this.#buffer.slice(0, length))) {
        if (part.seq !== seq) continue
        if ((part.flags & C.NLM_F_DUMP_INTR) !== 0) interrupted = true
        if (part.type === C.NLMSG_ERROR || part.type === C.NLMSG_DONE) {
          const ack = readAck(part)
          if (messages.length > before) parts++
          return ack.code > 0 ? ack : { messages, interrupted, parts }
        }
        messages.push(part)
      }
      parts++
    }
  }

  /** After the dump under way, if any. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (!this.#busy) closeSync(this.#fd)
  }
}
