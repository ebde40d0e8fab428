/**
 * IP addresses and prefixes as plain values. Text is parsed here, once, by `ip-cidr`; the rest of flock computes with
 * bigints and never splits strings. Text written by {@link formatAddress} is canonical (RFC 5952), so it serves as a key.
 */
import { Effect, Schema, SchemaIssue, SchemaTransformation } from "effect"
import IPCIDR from "ip-cidr"
import { quote } from "./quote.ts"

/** IP version. */
export type Family = 4 | 6

/** One address; `value` is its 32 or 128 bits as an unsigned integer. */
export interface IpAddress {
  readonly family: Family
  readonly value: bigint
}

/** One prefix; `base` has no host bits set. */
export interface Cidr {
  readonly family: Family
  readonly base: bigint
  /** Prefix length in bits, 0–32 or 0–128. */
  readonly prefix: number
}

export const bitsOf = (family: Family): 32 | 128 => family === 4 ? 32 : 128

/** Number of addresses in a prefix. */
export const sizeOf = (cidr: Cidr): bigint => 1n << BigInt(bitsOf(cidr.family) - cidr.prefix)

export const lastOf = (cidr: Cidr): bigint => cidr.base + sizeOf(cidr) - 1n

const maskOf = (family: Family, prefix: number): bigint => {
  const host = BigInt(bitsOf(family) - prefix)
  return ((1n << BigInt(bitsOf(family))) - 1n) >> host << host
}

/** The prefix of length `prefix` that `address` lies in. */
export const networkOf = (address: IpAddress, prefix: number): Cidr => ({
  family: address.family,
  base: address.value & maskOf(address.family, prefix),
  prefix
})

export const contains = (cidr: Cidr, address: IpAddress): boolean =>
  cidr.family === address.family && address.value >= cidr.base && address.value <= lastOf(cidr)

/** Whether every address of `inner` lies in `outer`. */
export const containsCidr = (outer: Cidr, inner: Cidr): boolean =>
  outer.family === inner.family && outer.prefix <= inner.prefix && inner.base >= outer.base &&
  inner.base <= lastOf(outer)

export const overlaps = (a: Cidr, b: Cidr): boolean => containsCidr(a, b) || containsCidr(b, a)

export const equalAddress = (a: IpAddress, b: IpAddress): boolean => a.family === b.family && a.value === b.value

export const equalCidr = (a: Cidr, b: Cidr): boolean =>
  a.family === b.family && a.prefix === b.prefix && a.base === b.base

/** The address as a /32 or /128. */
export const hostCidr = (address: IpAddress): Cidr => ({
  family: address.family,
  base: address.value,
  prefix: bitsOf(address.family)
})

/** Its 32-bit words in network order: arithmetic with bigints costs ten times what it does with numbers. */
const wordsOf = ({ family, value }: IpAddress): ReadonlyArray<number> =>
  family === 4
    ? [Number(value)]
    : [96n, 64n, 32n, 0n].map((shift) => Number(BigInt.asUintN(32, value >> shift)))

const groupsOf = (value: bigint): Array<number> =>
  wordsOf({ family: 6, value }).flatMap((word) => [word >>> 16, word & 0xffff])

const hexGroups = (part: ReadonlyArray<number>) => part.map((g) => g.toString(16)).join(":")

const format6 = (value: bigint): string => {
  const groups = groupsOf(value)
  let best = { start: -1, length: 1 }
  for (let i = 0; i < 8; i++) {
    let length = 0
    while (i + length < 8 && groups[i + length] === 0) length++
    if (length > best.length) best = { start: i, length }
  }
  return best.start < 0
    ? hexGroups(groups)
    : `${hexGroups(groups.slice(0, best.start))}::${hexGroups(groups.slice(best.start + best.length))}`
}

/** Canonical text: dotted quad, or RFC 5952 lower-case with the longest zero run (two groups or more) compressed. */
export const formatAddress = (address: IpAddress): string =>
  address.family === 6
    ? format6(address.value)
    : toBytes(address).join(".")

export const formatCidr = (cidr: Cidr): string =>
  `${formatAddress({ family: cidr.family, value: cidr.base })}/${cidr.prefix}`

/** Network-order bytes, 4 or 16 of them. */
export const toBytes = (address: IpAddress): Uint8Array => {
  const bytes = new Uint8Array(bitsOf(address.family) / 8)
  wordsOf(address).forEach((word, i) => bytes.set([word >>> 24, word >>> 16, word >>> 8, word], 4 * i))
  return bytes
}

const wordAt = (bytes: Uint8Array, at: number): bigint =>
  BigInt(
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  )

/** The address of 4 or 16 bytes. */
export const fromBytes = (bytes: Uint8Array): IpAddress =>
  bytes.length === 4
    ? { family: 4, value: wordAt(bytes, 0) }
    : {
      family: 6,
      value: wordAt(bytes, 0) << 96n | wordAt(bytes, 4) << 64n | wordAt(bytes, 8) << 32n | wordAt(bytes, 12)
    }

const ADDRESS_TEXT = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]{2,39})$/

/** Parses an address; `undefined` if `text` is not one. Zone ids, prefix lengths and IPv4-in-IPv6 text are refused. */
export const parseAddress = (text: string): IpAddress | undefined => {
  if (!ADDRESS_TEXT.test(text)) return undefined
  try {
    const address = IPCIDR.createAddress(text)
    return { family: address.v4 ? 4 : 6, value: BigInt(address.bigInteger().toString()) }
  } catch {
    return undefined
  }
}

/** Parses a prefix; the message says what is wrong with `text` and, for host bits, what would be right. */
export const parseCidr = (text: string): Cidr | { readonly problem: string } => {
  const [addressText = "", prefixText = "", ...more] = text.split("/")
  const address = parseAddress(addressText)
  if (address === undefined || more.length > 0 || !/^\d{1,3}$/.test(prefixText)) {
    return { problem: "not a prefix: write ADDRESS/LENGTH such as 2001:db8:1::/64 or 10.42.1.0/24" }
  }
  const prefix = Number(prefixText)
  if (prefix > bitsOf(address.family)) {
    return { problem: `the prefix length must be 0 to ${bitsOf(address.family)}` }
  }
  const cidr = networkOf(address, prefix)
  return cidr.base === address.value ? cidr : { problem: `has host bits set: did you mean ${formatCidr(cidr)}?` }
}

/** For constants and tests: parses or throws. */
export const address = (text: string): IpAddress => {
  const parsed = parseAddress(text)
  if (parsed === undefined) throw new TypeError(`not an IP address: ${text}`)
  return parsed
}

/** For constants and tests: parses or throws. */
export const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text)
  if ("problem" in parsed) throw new TypeError(`${text}: ${parsed.problem}`)
  return parsed
}

const isAddress = (u: unknown): u is IpAddress => typeof u === "object" && u !== null && "family" in u && "value" in u
const isCidr = (u: unknown): u is Cidr => typeof u === "object" && u !== null && "family" in u && "base" in u

const invalid = (message: string, input: string) =>
  Effect.fail(new SchemaIssue.InvalidValue({ message: `${quote(input)}: ${message}` }, input))

/** An address, written as text. */
export const AddressFromString = Schema.String.pipe(Schema.decodeTo(
  Schema.declare<IpAddress>(isAddress),
  SchemaTransformation.transformEffect<IpAddress, string>({
    decode: (text) => {
      const parsed = parseAddress(text)
      return parsed === undefined
        ? invalid("not an IP address, such as 2001:db8::1 or 192.0.2.1", text)
        : Effect.succeed(parsed)
    },
    encode: (value) => Effect.succeed(formatAddress(value))
  })
))

/** A prefix without host bits, written as text. */
export const CidrFromString = Schema.String.pipe(Schema.decodeTo(
  Schema.declare<Cidr>(isCidr),
  SchemaTransformation.transformEffect<Cidr, string>({
    decode: (text) => {
      const parsed = parseCidr(text)
      return "problem" in parsed ? invalid(parsed.problem, text) : Effect.succeed(parsed)
    },
    encode: (value) => Effect.succeed(formatCidr(value))
  })
))
