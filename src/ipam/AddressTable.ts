/**
 * Who has which address on this node, both ways. A primary address has one owner; an anycast address may have several,
 * and is never anyone's primary. Plain mutable state: its callers are synchronous, so nothing comes between a look and
 * the taking.
 */
import type { Holders } from "../domain/announcement.ts"
import { type Cidr, contains, equalAddress, equalCidr, type Family, type IpAddress } from "../domain/Ip.ts"
import type { Announced } from "../domain/limits.ts"
import { reservedIn } from "../domain/reserved.ts"
import { AnnouncedTable } from "./AnnouncedTable.ts"
import { BusySet } from "./BusySet.ts"

/** What address selection may ask. */
export interface AddressView extends Holders {
  readonly lowestFree4: (from: bigint, to: bigint) => bigint | undefined
  readonly announced: Announced
}

interface Holding {
  label: string
  readonly primary: Array<IpAddress>
  readonly anycast: Array<IpAddress>
  /** Under which {@link AnnouncedTable} counts; undefined: nothing is. */
  namespace: string | undefined
  readonly announced: Array<IpAddress>
}

export class AddressTable implements AddressView {
  readonly #primary = { 4: new Map<bigint, string>(), 6: new Map<bigint, string>() }
  readonly #anycast = { 4: new Map<bigint, Set<string>>(), 6: new Map<bigint, Set<string>>() }
  readonly #owners = new Map<string, Holding>()
  readonly #busy4 = new BusySet()
  readonly announced = new AnnouncedTable()
  readonly #count: { [F in Family]?: { readonly cidr: Cidr; used: number } } = {}

  readonly primaryOwner = (address: IpAddress): string | undefined =>
    this.#label(this.#primary[address.family].get(address.value))

  readonly anycastOwner = (address: IpAddress): string | undefined =>
    this.#label(this.#anycast[address.family].get(address.value)?.values().next().value)

  readonly lowestFree4 = (from: bigint, to: bigint): bigint | undefined => {
    const found = this.#busy4.lowestMissing(Number(from), Number(to))
    return found === undefined ? undefined : BigInt(found)
  }

  readonly has = (owner: string): boolean => this.#owners.has(owner)

  #label(owner: string | undefined): string | undefined {
    return owner === undefined ? undefined : this.#owners.get(owner)?.label ?? owner
  }

  #holding(owner: string, label: string): Holding {
    const holding = this.#owners.get(owner) ?? { label, primary: [], anycast: [], namespace: undefined, announced: [] }
    this.#owners.set(owner, holding)
    return holding
  }

  #counted(address: IpAddress, change: 1 | -1): void {
    if (address.family === 4) this.#busy4[change === 1 ? "add" : "delete"](Number(address.value))
    const count = this.#count[address.family]
    if (count !== undefined && contains(count.cidr, address) && reservedIn(count.cidr, address) === undefined) {
      count.used += change
    }
  }

  /** Gives `owner` a primary address; returns who has it instead, if anyone has. Idempotent. */
  takePrimary(owner: string, label: string, address: IpAddress): string | undefined {
    const { family, value } = address
    const holder = this.#primary[family].get(value)
    if (holder !== undefined) return holder === owner ? undefined : this.#label(holder)
    const sharer = this.anycastOwner(address)
    if (sharer !== undefined) return sharer
    this.#holding(owner, label).primary.push(address)
    this.#primary[family].set(value, owner)
    this.#counted(address, 1)
    return undefined
  }

  /** Gives `owner` a share of an anycast address; returns who has it as a primary one, if anyone has. Idempotent. */
  takeAnycast(owner: string, label: string, address: IpAddress): string | undefined {
    const { family, value } = address
    const holder = this.primaryOwner(address)
    if (holder !== undefined) return holder
    const sharers = this.#anycast[family].get(value) ?? new Set()
    if (sharers.has(owner)) return undefined
    if (sharers.size === 0) {
      this.#anycast[family].set(value, sharers)
      this.#counted(address, 1)
    }
    sharers.add(owner)
    this.#holding(owner, label).anycast.push(address)
    return undefined
  }

  /** Counts addresses of `owner`, anycast and chosen, as announced by a pod of `namespace`. Idempotent. */
  announce(owner: string, label: string, namespace: string, addresses: ReadonlyArray<IpAddress>): void {
    const holding = this.#holding(owner, label)
    holding.namespace ??= namespace
    for (const address of addresses.filter((it) => !holding.announced.some((known) => equalAddress(known, it)))) {
      holding.announced.push(address)
      this.announced.add(address, holding.namespace)
    }
  }

  /** Takes back everything of `owner`. Idempotent. */
  release(owner: string): void {
    const holding = this.#owners.get(owner)
    this.#owners.delete(owner)
    for (const address of holding?.announced ?? []) this.announced.delete(address, holding?.namespace ?? "")
    for (const address of holding?.primary ?? []) {
      this.#primary[address.family].delete(address.value)
      this.#counted(address, -1)
    }
    for (const address of holding?.anycast ?? []) {
      const sharers = this.#anycast[address.family].get(address.value)
      sharers?.delete(owner)
      if (sharers?.size === 0) {
        this.#anycast[address.family].delete(address.value)
        this.#counted(address, -1)
      }
    }
  }

  /** Usable addresses of `cidr` in use: a stored figure, counted anew only when the CIDR is another than last time. */
  used(cidr: Cidr): number {
    const count = this.#count[cidr.family]
    if (count !== undefined && equalCidr(count.cidr, cidr)) return count.used
    const values = [...this.#primary[cidr.family].keys(), ...this.#anycast[cidr.family].keys()]
    const used = values.filter((value) => {
      const address = { family: cidr.family, value }
      return contains(cidr, address) && reservedIn(cidr, address) === undefined
    }).length
    this.#count[cidr.family] = { cidr, used }
    return used
  }
}
