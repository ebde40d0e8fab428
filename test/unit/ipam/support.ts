/** What the tests of addresses start from: a decoded NodeConfig, a pod, a request, randomness in a known order. */
import { Result } from "effect"
import * as fc from "fast-check"
import { API_VERSION, decode, type NodeConfigSpec } from "../../../src/domain/NodeConfig.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import type { Random } from "../../../src/ipam/pick.ts"
import type { AddressRequest } from "../../../src/ipam/reservation.ts"

export const spec = (fields: Readonly<Record<string, unknown>> = {}): NodeConfigSpec =>
  Result.getOrThrow(decode("node", {
    apiVersion: API_VERSION,
    kind: "NodeConfig",
    metadata: { name: "node" },
    spec: { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24", ...fields }
  })).spec

export const withoutCidr = (family: 4 | 6, fields: Readonly<Record<string, unknown>> = {}): NodeConfigSpec => {
  const { cidr4, cidr6, ...rest } = spec(fields)
  return { ...rest, ...(family === 4 ? cidr6 && { cidr6 } : cidr4 && { cidr4 }) }
}

export const pod = (annotations: Readonly<Record<string, string>> = {}, name = "web-0"): PodInfo => ({
  namespace: "default",
  name,
  uid: "uid",
  ready: false,
  deleting: false,
  annotations
})

let serial = 0

export const request = (
  annotations: Readonly<Record<string, string>> = {},
  options: Partial<AddressRequest> = {}
): AddressRequest => {
  const containerId = `c${serial++}`
  return {
    owner: `${containerId}/eth0`,
    containerId,
    pod: pod(annotations),
    spec: spec(),
    occupied: NOTHING_OCCUPIED,
    ...options
  }
}

/** The given numbers in turn, then the last one for ever. */
export const sequence = (...values: ReadonlyArray<bigint>): Random => {
  let next = 0
  return (bits) => BigInt.asUintN(bits, values[Math.min(next++, values.length - 1)] ?? 0n)
}

/** Repeatable and well spread (xorshift64, Marsaglia 2003); `seed` must not be 0. */
export const seeded = (seed: number): Random => {
  let state = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n)
  const step = () => {
    state ^= BigInt.asUintN(64, state << 13n)
    state ^= state >> 7n
    state ^= BigInt.asUintN(64, state << 17n)
    return state
  }
  return (bits) => BigInt.asUintN(bits, (step() << 64n) | step())
}

/** Any UTF-16 code unit, lone surrogates and control characters included, and plain text as often. */
export const anyUnit = fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0, max: 0xffff })).map((code) =>
  String.fromCharCode(code)
)
