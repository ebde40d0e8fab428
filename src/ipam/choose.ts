/** Every address that one pod gets, decided on the state as it is and without changing it. */
import { Result } from "effect"
import { type Annotations, parseAnnotations } from "../domain/annotations.ts"
import { AddressError } from "../domain/errors.ts"
import { type Cidr, equalAddress, formatAddress, formatCidr, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { Occupied } from "../domain/occupied.ts"
import * as PodAddresses from "../domain/PodAddresses.ts"
import { gatewayOf } from "../domain/reserved.ts"
import type { AddressView } from "./AddressTable.ts"
import { algoProblem } from "./algo.ts"
import { checkAsked } from "./asked.ts"
import { pick4, pickAlgo, pickFixed, pickRandom, type Pool, type Random } from "./pick.ts"
import { effectiveRange } from "./range.ts"
import type { AddressRequest, Reservation } from "./reservation.ts"

type Planned<A> = Result.Result<A, AddressError>

const FAMILIES = [6, 4] as const

/**
 * The node's CIDRs of the families that the pod gets: those the node has, less what the defaults and then the pod's
 * annotations turn off. Asking with "true" for a family that the node has no CIDR of is an error, not a silent miss.
 */
const poolsOf = (
  spec: NodeConfigSpec,
  annotations: Annotations,
  { conflicts }: Occupied
): Planned<ReadonlyArray<Cidr>> => {
  const pools: Array<Cidr> = []
  for (const family of FAMILIES) {
    const name = family === 6 ? "ipv6" : "ipv4"
    const node = family === 6 ? spec.cidr6 : spec.cidr4
    if (annotations[name] === true && node === undefined) {
      const message = `annotation ${name}: "true", but this node's NodeConfig has no cidr${family}; set it or drop this`
      return Result.fail(new AddressError({ reason: "NoFamily", annotation: name, message }))
    }
    if (node === undefined || !(annotations[name] ?? spec.defaults[name])) continue
    const conflict = conflicts[family]
    if (conflict !== undefined) {
      const message = `${conflict}: no new pod gets an address of it; correct the NodeConfig or the node's network`
      return Result.fail(new AddressError({ reason: "PoolConflict", message }))
    }
    pools.push(node)
  }
  if (pools.length > 0) return Result.succeed(pools)
  const message = "the pod has neither IPv6 nor IPv4: set annotation ipv6 or ipv4 to \"true\", or spec.defaults or " +
    "cidr6 or cidr4 in the NodeConfig"
  return Result.fail(new AddressError({ reason: "NoFamily", message }))
}

const pickIpv6 = (
  pool: Pool,
  { containerId, pod, spec }: AddressRequest,
  annotations: Annotations,
  random: Random,
  warn: (text: string) => void
): Planned<IpAddress> => {
  const { imageDigest } = pod
  const input = { namespace: pod.namespace, pod: pod.name, containerId, ...(imageDigest && { imageDigest }) }
  const levels = [
    ["annotation ip-algo", annotations.ipAlgo],
    ["NodeConfig spec.defaults.ipAlgo", spec.defaults.ipAlgo]
  ] as const
  for (const [name, fields] of levels) {
    if (fields === undefined) continue
    const problem = algoProblem(pool.range)
    if (problem !== undefined) {
      warn(`${name}: ${problem} (${formatCidr(pool.range)}); ignored`)
      continue
    }
    const picked = pickAlgo(pool, fields, input, random)
    if (picked !== undefined) return Result.succeed(picked)
    warn(`${name}: all 16 addresses of ${fields.join(",")} are in use; the address is random`)
    break
  }
  return pickRandom(pool, random)
}

const hostHolder = ({ held }: Occupied, { family, value }: IpAddress): string | undefined => {
  const is = held[family].get(value)
  return is && `the host: it is ${is}`
}

/** Fails with nothing taken; `warnings` of the result say what was left out and why. */
export const plan = (view: AddressView, request: AddressRequest, random: Random): Planned<Reservation> =>
  Result.gen(function*() {
    const { occupied, pod, spec } = request
    const ground = { namespace: pod.namespace, occupied, spec }
    const annotations = yield* parseAnnotations(pod.annotations)
    const warnings = [...annotations.warnings]
    const nodes = yield* poolsOf(spec, annotations, occupied)
    const { anycast, chosen } = yield* checkAsked(view, ground, annotations, nodes, (text) => warnings.push(text))
    const asked = [...anycast, ...chosen]
    const holder = (address: IpAddress) =>
      asked.some((a) => equalAddress(a, address))
        ? "this pod's own anycast"
        : view.primaryOwner(address) ?? view.anycastOwner(address) ?? hostHolder(occupied, address)
    const passedOver = (value: bigint) =>
      occupied.held[4].has(value) || asked.some((a) => a.family === 4 && a.value === value)
    const lowestFree4 = (from: bigint, to: bigint): bigint | undefined => {
      let value = view.lowestFree4(from, to)
      while (value !== undefined && passedOver(value)) value = view.lowestFree4(value + 1n, to)
      return value
    }
    const primaries: Array<IpAddress> = []
    for (const node of nodes) {
      const { family } = node
      const named = chosen.find((a) => a.family === family)
      const wanted = family === 6 ? annotations.cidr6 : annotations.cidr4
      if (named !== undefined) {
        if (wanted.length > 0) {
          warnings.push(`annotation cidr${family}: ignored, addresses chose ${formatAddress(named)}`)
        }
        primaries.push(named)
        continue
      }
      const pool = { node, range: yield* effectiveRange(node, wanted), holder }
      primaries.push(
        yield* pool.range.prefix === (family === 6 ? 128 : 32)
          ? pickFixed(pool)
          : family === 4
          ? pick4(pool, lowestFree4)
          : pickIpv6(pool, request, annotations, random, (text) => warnings.push(text))
      )
    }
    const gateway4 = spec.cidr4 && gatewayOf(spec.cidr4)
    return { addresses: PodAddresses.make({ primaries, gateway4, chosen, anycast }), warnings }
  })
