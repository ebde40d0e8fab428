/**
 * `ip-algo`: IPv6 addresses that operators can read. After the prefix come the fields, each as the leading nibbles of
 * its hash, in the order given, and last a random nibble N:
 *
 *     2001:db8:1:0:ssss:ssss:pppp:pppN      /64, [namespace, pod]: 15 nibbles shared as 8 (s) and 7 (p)
 *
 * Where the fields cannot fill the host part (16 nibbles each at most, so one field in a prefix shorter than /60), zeros
 * stand between the last field and N. It is cosmetics for operators, not a security boundary.
 */
import type { Cidr } from "../domain/Ip.ts"
import type { AlgoField } from "../domain/NodeConfig.ts"
import { fnv1a64 } from "./fnv.ts"

/** What the fields are hashed from. */
export interface AlgoInput {
  readonly namespace: string
  readonly pod: string
  readonly containerId: string
  /** Lower-case hex, 64 digits. */
  readonly imageDigest?: string
}

const WIDEST_FIELD = 16

/** Why a range cannot carry a layout; `undefined` if it can. */
export const algoProblem = (range: Cidr): string | undefined =>
  range.prefix >= 48 && range.prefix <= 96 && range.prefix % 4 === 0
    ? undefined
    : `needs a prefix length from 48 to 96 that is a multiple of 4, not /${range.prefix}`

/** Nibbles per field: the host part without N shared evenly, earlier fields taking the remainder. */
export const fieldWidths = (prefix: number, count: number): ReadonlyArray<number> => {
  const shared = (128 - prefix) / 4 - 1
  return Array.from(
    { length: count },
    (_, i) => Math.min(WIDEST_FIELD, Math.floor(shared / count) + (i < shared % count ? 1 : 0))
  )
}

const hex = (hash: bigint): string => hash.toString(16).padStart(16, "0")

/** Outside Kubernetes a pod has no name: the container ID tells containers apart then. */
const digits = (field: AlgoField, input: AlgoInput): string => {
  switch (field) {
    case "namespace":
      return hex(fnv1a64(input.namespace))
    case "pod":
      return hex(fnv1a64(input.pod === "" ? input.containerId : input.pod))
    case "image":
      return input.imageDigest ?? hex(fnv1a64(input.containerId))
  }
}

/** The address of {@link fields} in `range` with N = 0; {@link algoProblem} must have nothing against the range. */
export const embed = (range: Cidr, fields: ReadonlyArray<AlgoField>, input: AlgoInput): bigint => {
  const widths = fieldWidths(range.prefix, fields.length)
  const text = fields.map((field, i) => digits(field, input).slice(0, widths[i])).join("")
  return range.base | BigInt(`0x${text.padEnd((128 - range.prefix) / 4, "0")}`)
}
