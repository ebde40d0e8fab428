/** One address out of an effective range: IPv4 the lowest free one, IPv6 by `ip-algo` or at random. */
import { Result } from "effect"
import { AddressError } from "../domain/errors.ts"
import { bitsOf, type Cidr, formatAddress, formatCidr, type IpAddress, lastOf, sizeOf } from "../domain/Ip.ts"
import type { AlgoField } from "../domain/NodeConfig.ts"
import { reservedIn } from "../domain/reserved.ts"
import { type AlgoInput, embed } from "./algo.ts"

/** Where randomness comes from: a number of that many bits, each value as likely as any other. */
export type Random = (bits: number) => bigint

export interface Pool {
  /** The node's CIDR. */
  readonly node: Cidr
  /** The effective range in it. */
  readonly range: Cidr
  /** Who has the address, in words. */
  readonly holder: (address: IpAddress) => string | undefined
}

const TRIES = 16
/** Ranges with up to this many host bits are searched through when draws fail, so that "full" means full. */
const SEARCHED_BITS = 16

const reserved = (pool: Pool, address: IpAddress): string | undefined =>
  reservedIn(pool.node, address) ?? reservedIn(pool.range, address)

const isFree = (pool: Pool, address: IpAddress): boolean =>
  reserved(pool, address) === undefined && pool.holder(address) === undefined

/** A /128 or /32 annotation: that address or an error. */
export const pickFixed = (pool: Pool): Result.Result<IpAddress, AddressError> => {
  const address: IpAddress = { family: pool.range.family, value: pool.range.base }
  const annotation = address.family === 6 ? "cidr6" : "cidr4"
  const message = `annotation ${annotation}: ${formatAddress(address)}`
  const why = reserved(pool, address)
  if (why !== undefined) {
    const full = `${message} is ${why} of ${formatCidr(pool.node)}; choose another`
    return Result.fail(new AddressError({ reason: "Invalid", annotation, message: full }))
  }
  const holder = pool.holder(address)
  return holder === undefined ? Result.succeed(address) : Result.fail(
    new AddressError({ reason: "InUse", annotation, message: `${message} is in use by ${holder}; choose another` })
  )
}

const exhausted = (pool: Pool, detail: string) => {
  const { family, prefix } = pool.range
  const annotation = family === 6 ? "cidr6" : "cidr4"
  return new AddressError({
    reason: "Exhausted",
    message: `no free IPv${family} address in ${formatCidr(pool.range)}: ${detail}`,
    ...(prefix === pool.node.prefix ? {} : { annotation })
  })
}

const allInUse = (pool: Pool) => exhausted(pool, "each one is in use or reserved; free some or use a larger range")

/**
 * The lowest free address, skipping network, gateway and broadcast. The node's own three need no look: a range that
 * holds one of them holds it as the same of its own. `lowestFree` gives the lowest address not in use between two.
 */
export const pick4 = (
  pool: Pool,
  lowestFree: (from: bigint, to: bigint) => bigint | undefined
): Result.Result<IpAddress, AddressError> => {
  const value = lowestFree(pool.range.base + 2n, lastOf(pool.range) - 1n)
  return value === undefined ? Result.fail(allInUse(pool)) : Result.succeed({ family: 4, value })
}

/** The 16 addresses of an `ip-algo` layout, from a random N on; `undefined` if none is left. */
export const pickAlgo = (
  pool: Pool,
  fields: ReadonlyArray<AlgoField>,
  input: AlgoInput,
  random: Random
): IpAddress | undefined => {
  const base = embed(pool.range, fields, input)
  const start = random(4)
  for (let i = 0n; i < 16n; i++) {
    const address: IpAddress = { family: 6, value: base | ((start + i) & 15n) }
    if (isFree(pool, address)) return address
  }
  return undefined
}

/** A random identifier, drawn up to 16 times; small ranges are then searched from the last draw on. */
export const pickRandom = (pool: Pool, random: Random): Result.Result<IpAddress, AddressError> => {
  const bits = bitsOf(6) - pool.range.prefix
  let identifier = 0n
  for (let i = 0; i < TRIES; i++) {
    identifier = random(bits)
    const address: IpAddress = { family: 6, value: pool.range.base | identifier }
    if (isFree(pool, address)) return Result.succeed(address)
  }
  if (bits > SEARCHED_BITS) {
    return Result.fail(exhausted(pool, `${TRIES} random identifiers in a row are in use; use a larger range`))
  }
  const size = sizeOf(pool.range)
  for (let i = 1n; i < size; i++) {
    const address: IpAddress = { family: 6, value: pool.range.base | ((identifier + i) & (size - 1n)) }
    if (isFree(pool, address)) return Result.succeed(address)
  }
  return Result.fail(allInUse(pool))
}
