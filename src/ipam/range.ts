/** The part of the node's CIDR that one pod draws from. */
import { Result } from "effect"
import { AddressError } from "../domain/errors.ts"
import { type Cidr, containsCidr, formatCidr, overlaps } from "../domain/Ip.ts"
import { quote } from "../domain/quote.ts"
import { LONGEST_RANGE } from "../domain/reserved.ts"

const describe = (cidrs: ReadonlyArray<Cidr>): string =>
  cidrs.length === 1 ? cidrs.map(formatCidr).join() : `none of ${quote(cidrs.map(formatCidr).join(","))}`

/**
 * Node CIDR ∩ annotation: of `wanted` (the `cidr6` or `cidr4` annotation; empty if there is none) the first that is not
 * disjoint from the node's CIDR wins. Equal or wider gives the node's CIDR, inside gives the annotation's; a /128 or /32
 * inside is a fixed address. Fails with `Disjoint`, or with `Invalid` where the range has no address for a pod.
 */
export const effectiveRange = (node: Cidr, wanted: ReadonlyArray<Cidr>): Result.Result<Cidr, AddressError> => {
  const annotation = node.family === 6 ? "cidr6" : "cidr4"
  const foreign = wanted.find((cidr) => cidr.family !== node.family)
  if (foreign !== undefined) {
    const message = `annotation ${annotation}: ${formatCidr(foreign)} is not an IPv${node.family} prefix`
    return Result.fail(new AddressError({ reason: "Invalid", annotation, message }))
  }
  const first = wanted.find((cidr) => overlaps(node, cidr))
  if (first === undefined && wanted.length > 0) {
    const message = `annotation ${annotation}: ${describe(wanted)} ${
      wanted.length === 1 ? "does not overlap" : "overlaps"
    } this node's ${formatCidr(node)}; name a part of it`
    return Result.fail(new AddressError({ reason: "Disjoint", annotation, message }))
  }
  const range = first === undefined || containsCidr(first, node) ? node : first
  const longest = LONGEST_RANGE[node.family]
  const host = node.family === 6 ? 128 : 32
  return range.prefix <= longest || range.prefix === host ? Result.succeed(range) : Result.fail(
    new AddressError({
      reason: "Invalid",
      annotation,
      message:
        `annotation ${annotation}: ${formatCidr(range)} has no address left for a pod beside the reserved ones; ` +
        `use /${longest} or shorter, or /${host} for a fixed address`
    })
  )
}
