/** Addresses of this node: who has which, and the next free one. Its rules are `choose.ts` and what that uses. */
import { Context, Effect, Layer, Result, Schema } from "effect"
import { randomBytes } from "node:crypto"
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import { AddressError } from "../domain/errors.ts"
import { type Cidr, contains, equalAddress, formatAddress, formatCidr, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import type { Occupied } from "../domain/occupied.ts"
import { podKey } from "../domain/Pod.ts"
import { followsReadiness, type PodAddresses, primariesOf } from "../domain/PodAddresses.ts"
import { reservedIn, usableIn } from "../domain/reserved.ts"
import { AddressTable } from "./AddressTable.ts"
import { plan } from "./choose.ts"
import type { Random } from "./pick.ts"
import type { AddressRequest, Reservation } from "./reservation.ts"

export const PoolUsage = Schema.Struct({
  cidr: Schema.String,
  used: Schema.Number,
  /** Free addresses; capped at `Number.MAX_SAFE_INTEGER`. */
  free: Schema.Number,
  /** Addresses that are not free because the host sends them elsewhere; absent: none. */
  held: Schema.optionalKey(Schema.Number)
})
export interface PoolUsage extends Schema.Schema.Type<typeof PoolUsage> {}

const cryptoRandom: Random = (bits) =>
  BigInt.asUintN(bits, BigInt(`0x${randomBytes(Math.ceil(bits / 8)).toString("hex")}`))

/** Where IPv6 identifiers come from; tests put a known sequence here. */
export const AddressRandom = Context.Reference<Random>("flock/AddressRandom", { defaultValue: () => cryptoRandom })

const usageOf = (table: AddressTable, cidr: Cidr, occupied: Occupied): PoolUsage => {
  const used = table.used(cidr)
  const { family } = cidr
  const held =
    [...occupied.held[family].keys()].map((value): IpAddress => ({ family, value })).filter((address) =>
      contains(cidr, address) && reservedIn(cidr, address) === undefined && table.primaryOwner(address) === undefined
    ).length
  const free = usableIn(cidr) - BigInt(used + held)
  return {
    cidr: formatCidr(cidr),
    used,
    free: free > Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : Math.max(0, Number(free)),
    ...(held > 0 && { held })
  }
}

const announcedOf = (addresses: PodAddresses): ReadonlyArray<IpAddress> =>
  followsReadiness(addresses).map(({ address }) => address)

const reserveIn = (
  table: AddressTable,
  random: Random,
  request: AddressRequest
): Result.Result<Reservation, AddressError> => {
  const { owner, pod } = request
  if (table.has(owner)) {
    const message = `attachment ${owner} holds addresses already; DEL must come before another ADD`
    return Result.fail(new AddressError({ reason: "InUse", message }))
  }
  const planned = plan(table, request, random)
  if (Result.isSuccess(planned)) {
    const { addresses } = planned.success
    const label = pod.name === "" ? owner : podKey(pod)
    for (const address of primariesOf(addresses)) table.takePrimary(owner, label, address)
    for (const address of addresses.anycast) table.takeAnycast(owner, label, address)
    table.announce(owner, label, pod.namespace, announcedOf(addresses))
  }
  return planned
}

interface Conflict {
  readonly address: IpAddress
  readonly holder: string
}

/** What others have already. */
const takeAll = (
  table: AddressTable,
  owner: string,
  label: string,
  primaries: ReadonlyArray<IpAddress>,
  anycast: ReadonlyArray<IpAddress>
): ReadonlyArray<Conflict> =>
  [
    ...primaries.map((address) => ({ address, holder: table.takePrimary(owner, label, address) })),
    ...anycast.map((address) => ({ address, holder: table.takeAnycast(owner, label, address) }))
  ].flatMap(({ address, holder }) => holder === undefined ? [] : [{ address, holder }])

const warn = (whose: string, conflicts: ReadonlyArray<Conflict>): Effect.Effect<void> =>
  Effect.forEach(
    conflicts,
    ({ address, holder }) =>
      Effect.logWarning(`address ${formatAddress(address)} of ${whose} is in use by ${holder}; it stays there`),
    {
      discard: true
    }
  )

/**
 * Kept in memory; `Allocations` is what outlives the agent. Each operation is one synchronous step, so fibers cannot
 * come between the look and the taking. A NodeConfig may change from call to call: what was given out under another
 * CIDR stays in use until it is released. IPv4 is given lowest first, so a released address is the next to go out again.
 */
export class Ipam extends Context.Service<Ipam, {
  /**
   * Reserves every address that the pod gets, or none. An owner that holds anything already is refused (`InUse`): a
   * second ADD needs a DEL before it.
   */
  readonly reserve: (request: AddressRequest) => Effect.Effect<Reservation, AddressError>
  /** Gives back everything of an owner. Idempotent. */
  readonly release: (owner: string) => Effect.Effect<void>
  /**
   * Records what an allocation has already (start-up): it counts for every limit, and is refused by none. What another
   * owner has stays with that one, and a warning is logged. Idempotent.
   */
  readonly adopt: (allocation: Allocation) => Effect.Effect<void>
  /** Records addresses that something unknown has: nobody gets them. Otherwise as {@link adopt}. */
  readonly markInUse: (owner: string, addresses: ReadonlyArray<IpAddress>) => Effect.Effect<void>
  /** Per family, for the node's CIDRs; addresses that are never given out count as neither used nor free. */
  readonly usage: (
    spec: NodeConfigSpec,
    occupied: Occupied
  ) => Effect.Effect<{ readonly ipv6?: PoolUsage; readonly ipv4?: PoolUsage }>
}>()("flock/Ipam") {
  static readonly layer: Layer.Layer<Ipam> = Layer.effect(
    Ipam,
    Effect.gen(function*() {
      const random = yield* AddressRandom
      const table = new AddressTable()
      return Ipam.of({
        reserve: (request) => Effect.suspend(() => Effect.fromResult(reserveIn(table, random, request))),
        release: (owner) => Effect.sync(() => table.release(owner)),
        adopt: (allocation) => {
          const owner = attachmentKey(allocation)
          const { addresses, pod } = allocation
          const label = pod.name === "" ? owner : podKey(pod)
          return Effect.suspend(() => {
            const primaries = primariesOf(addresses)
            const anycast = addresses.anycast.filter((it) => !primaries.some((primary) => equalAddress(primary, it)))
            const conflicts = takeAll(table, owner, label, primaries, anycast)
            table.announce(owner, label, pod.namespace, announcedOf(addresses))
            return warn(label, conflicts)
          })
        },
        markInUse: (owner, addresses) => Effect.suspend(() => warn(owner, takeAll(table, owner, owner, addresses, []))),
        usage: (spec, occupied) =>
          Effect.sync(() => ({
            ...(spec.cidr6 && { ipv6: usageOf(table, spec.cidr6, occupied) }),
            ...(spec.cidr4 && { ipv4: usageOf(table, spec.cidr4, occupied) })
          }))
      })
    })
  )
}
