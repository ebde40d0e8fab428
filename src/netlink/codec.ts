/**
 * netlink(7) messages as bytes: header, attributes (TLV, padded to 4), acknowledgements. Host byte order, which is
 * little-endian on every platform that Node and flock run on; addresses are in network order already.
 */
import { constants } from "node:os"
import * as C from "./constants.ts"

/** A request or answer without its sequence number. `body` is the family header with its attributes. */
export interface Message {
  readonly type: number
  readonly flags: number
  readonly body: Uint8Array
}

/** A message as received. */
export interface Received extends Message {
  readonly seq: number
}

/** An `NLMSG_ERROR` message: `code` 0 is success, otherwise a positive errno. */
export interface Ack {
  readonly code: number
  readonly detail?: string
}

/** struct nlmsghdr. */
export const HEADER = 16

/*
 * Numbers are put together from their bytes: a DataView makes V8 give a small array, which is on the heap, a buffer outside of
 * it, and with that an allocation and a finalizer for each attribute.
 */

/** The unsigned 16-bit number at `at`; what is beyond the end counts as 0. */
export const u16At = (bytes: Uint8Array, at: number): number => (bytes[at] ?? 0) | (bytes[at + 1] ?? 0) << 8

/** The signed 32-bit number at `at`. */
export const i32At = (bytes: Uint8Array, at: number): number => u16At(bytes, at) | u16At(bytes, at + 2) << 16

/** The unsigned one. */
export const u32At = (bytes: Uint8Array, at: number): number => i32At(bytes, at) >>> 0

export const putU16 = (bytes: Uint8Array, at: number, value: number): void => {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
}

/** A 32-bit number, signed or not. */
export const putU32 = (bytes: Uint8Array, at: number, value: number): void => {
  putU16(bytes, at, value)
  putU16(bytes, at + 2, value >>> 16)
}

const align = (length: number): number => (length + 3) & ~3

export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  let length = 0
  for (const part of parts) length += part.length
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export const u8 = (value: number): Uint8Array => Uint8Array.of(value)

export const u32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  putU32(bytes, 0, value)
  return bytes
}

/** A 32-bit number in network order, as nfnetlink's attributes are. */
export const be32 = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)

/** A string with its terminating zero. */
export const text = (value: string): Uint8Array => Buffer.from(`${value}\0`)

/** One attribute (struct nlattr), padded. */
export const attr = (type: number, payload: Uint8Array): Uint8Array => {
  const length = 4 + payload.length
  const bytes = new Uint8Array(align(length))
  putU16(bytes, 0, length)
  putU16(bytes, 2, type)
  bytes.set(payload, 4)
  return bytes
}

export const nested = (type: number, ...attrs: ReadonlyArray<Uint8Array>): Uint8Array =>
  attr(type | C.NLA_F_NESTED, concat(attrs))

/** Numbers messages from `firstSeq` on and lays them end to end, for one send(2). */
export const encode = (messages: ReadonlyArray<Message>, firstSeq: number): Uint8Array => {
  const bytes = new Uint8Array(messages.reduce((sum, m) => sum + align(HEADER + m.body.length), 0))
  let at = 0
  messages.forEach((message, i) => {
    const length = HEADER + message.body.length
    putU32(bytes, at, length)
    putU16(bytes, at + 4, message.type)
    putU16(bytes, at + 6, message.flags)
    putU32(bytes, at + 8, firstSeq + i)
    bytes.set(message.body, at + HEADER)
    at += align(length)
  })
  return bytes
}

/** Splits one received datagram; bodies are views into it. A message that claims more than is there ends the list. */
export const decode = (bytes: Uint8Array): ReadonlyArray<Received> => {
  const messages: Array<Received> = []
  for (let at = 0; at + HEADER <= bytes.length;) {
    const length = u32At(bytes, at)
    if (length < HEADER || at + length > bytes.length) break
    messages.push({
      type: u16At(bytes, at + 4),
      flags: u16At(bytes, at + 6),
      seq: u32At(bytes, at + 8),
      body: bytes.subarray(at + HEADER, at + length)
    })
    at += align(length)
  }
  return messages
}

export interface Attrs {
  /** The payload of the last attribute of this type; a view. */
  readonly get: (type: number) => Uint8Array | undefined
}

/**
 * Attributes from `offset` on; the flag bits are taken off the types. Truncated ones are left out. Looked for when asked:
 * a link's message has some fifty, of which a reader wants five.
 */
export const attrs = (bytes: Uint8Array, offset: number): Attrs => ({
  get: (type) => {
    let found = -1
    for (let at = offset; at + 4 <= bytes.length;) {
      const length = u16At(bytes, at)
      if (length < 4 || at + length > bytes.length) break
      if ((u16At(bytes, at + 2) & C.NLA_TYPE_MASK) === type) found = at
      at += align(length)
    }
    return found < 0 ? undefined : bytes.subarray(found + 4, found + u16At(bytes, found))
  }
})

/** Payloads of a list: attributes of one type, one after another. */
export const attrList = (bytes: Uint8Array | undefined): ReadonlyArray<Uint8Array> => {
  const found: Array<Uint8Array> = []
  if (bytes === undefined) return found
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = u16At(bytes, at)
    if (length < 4 || at + length > bytes.length) break
    found.push(bytes.subarray(at + 4, at + length))
    at += align(length)
  }
  return found
}

export const readU32 = (bytes: Uint8Array | undefined, at = 0): number | undefined =>
  bytes === undefined || bytes.length < at + 4 ? undefined : u32At(bytes, at)

/** A string attribute, up to its first zero. */
export const readText = (bytes: Uint8Array | undefined): string => {
  if (bytes === undefined) return ""
  const end = bytes.indexOf(0)
  return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString()
}

/** Reads an `NLMSG_ERROR` (or the error code that `NLMSG_DONE` may carry) with its extended acknowledgement. */
export const readAck = (message: Received): Ack => {
  const code = message.body.length < 4 ? 0 : -i32At(message.body, 0)
  if ((message.flags & C.NLM_F_ACK_TLVS) === 0) return { code: code + 0 }
  const original = message.type === C.NLMSG_DONE
    ? 0
    : (message.flags & C.NLM_F_CAPPED) !== 0
    ? HEADER
    : readU32(message.body, 4) ?? HEADER
  const detail = readText(attrs(message.body, 4 + align(original)).get(C.NLMSGERR_ATTR_MSG))
  return detail === "" ? { code: code + 0 } : { code: code + 0, detail }
}

const ERRNO_NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]))

/** `EEXIST` for 17; `OTHER` for numbers without a name. */
export const errnoName = (code: number): string => ERRNO_NAMES.get(code) ?? "OTHER"
