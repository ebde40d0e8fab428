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

const align = (length: number): number => (length + 3) & ~3

export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
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
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}

/** A 32-bit number in network order, as nfnetlink's attributes are. */
export const be32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

/** A string with its terminating zero. */
export const text = (value: string): Uint8Array => Buffer.from(`${value}\0`)

/** One attribute (struct nlattr), padded. */
export const attr = (type: number, payload: Uint8Array): Uint8Array => {
  const length = 4 + payload.length
  const bytes = new Uint8Array(align(length))
  const view = new DataView(bytes.buffer)
  view.setUint16(0, length, true)
  view.setUint16(2, type, true)
  bytes.set(payload, 4)
  return bytes
}

export const nested = (type: number, ...attrs: ReadonlyArray<Uint8Array>): Uint8Array =>
  attr(type | C.NLA_F_NESTED, concat(attrs))

/** Numbers messages from `firstSeq` on and lays them end to end, for one send(2). */
export const encode = (messages: ReadonlyArray<Message>, firstSeq: number): Uint8Array => {
  const bytes = new Uint8Array(messages.reduce((sum, m) => sum + align(HEADER + m.body.length), 0))
  const view = new DataView(bytes.buffer)
  let at = 0
  messages.forEach((message, i) => {
    const length = HEADER + message.body.length
    view.setUint32(at, length, true)
    view.setUint16(at + 4, message.type, true)
    view.setUint16(at + 6, message.flags, true)
    view.setUint32(at + 8, firstSeq + i, true)
    bytes.set(message.body, at + HEADER)
    at += align(length)
  })
  return bytes
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Splits one received datagram; bodies are views into it. A message that claims more than is there ends the list. */
export const decode = (bytes: Uint8Array): ReadonlyArray<Received> => {
  const view = viewOf(bytes)
  const messages: Array<Received> = []
  for (let at = 0; at + HEADER <= bytes.length;) {
    const length = view.getUint32(at, true)
    if (length < HEADER || at + length > bytes.length) break
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      seq: view.getUint32(at + 8, true),
      body: bytes.subarray(at + HEADER, at + length)
    })
    at += align(length)
  }
  return messages
}

export type Attrs = ReadonlyMap<number, Uint8Array>

/** Attributes from `offset` on; the flag bits are taken off the types. Truncated ones are left out. */
export const attrs = (bytes: Uint8Array, offset: number): Attrs => {
  const view = viewOf(bytes)
  const found = new Map<number, Uint8Array>()
  for (let at = offset; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true)
    if (length < 4 || at + length > bytes.length) break
    found.set(view.getUint16(at + 2, true) & C.NLA_TYPE_MASK, bytes.subarray(at + 4, at + length))
    at += align(length)
  }
  return found
}

/** Payloads of a list: attributes of one type, one after another. */
export const attrList = (bytes: Uint8Array | undefined): ReadonlyArray<Uint8Array> => {
  const found: Array<Uint8Array> = []
  if (bytes === undefined) return found
  const view = viewOf(bytes)
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true)
    if (length < 4 || at + length > bytes.length) break
    found.push(bytes.subarray(at + 4, at + length))
    at += align(length)
  }
  return found
}

export const readU32 = (bytes: Uint8Array | undefined, at = 0): number | undefined =>
  bytes === undefined || bytes.length < at + 4 ? undefined : viewOf(bytes).getUint32(at, true)

/** A string attribute, up to its first zero. */
export const readText = (bytes: Uint8Array | undefined): string => {
  if (bytes === undefined) return ""
  const end = bytes.indexOf(0)
  return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString()
}

/** Reads an `NLMSG_ERROR` (or the error code that `NLMSG_DONE` may carry) with its extended acknowledgement. */
export const readAck = (message: Received): Ack => {
  const code = message.body.length < 4 ? 0 : -viewOf(message.body).getInt32(0, true)
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
