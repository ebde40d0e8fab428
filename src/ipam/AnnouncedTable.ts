/**
 * Which anycast and chosen addresses the pods of which namespace have, counted so that a question costs nothing that grows
 * with their number. Plain mutable state, a part of `AddressTable`.
 */
import type { IpAddress } from "../domain/Ip.ts"
import type { Announced } from "../domain/limits.ts"

const keyOf = ({ family, value }: IpAddress): string => `${family}/${value.toString(36)}`

/** How many pods have each address. */
type Shares = Map<string, number>

const change = (shares: Shares, key: string, by: 1 | -1): void => {
  const count = (shares.get(key) ?? 0) + by
  if (count === 0) shares.delete(key)
  else shares.set(key, count)
}

export class AnnouncedTable implements Announced {
  readonly #node: Shares = new Map()
  readonly #namespaces = new Map<string, Shares>()

  #of(namespace: string | undefined): Shares | undefined {
    return namespace === undefined ? this.#node : this.#namespaces.get(namespace)
  }

  readonly count = (namespace?: string): number => this.#of(namespace)?.size ?? 0

  readonly has = (address: IpAddress, namespace?: string): boolean => this.#of(namespace)?.has(keyOf(address)) ?? false

  /** One pod more has it. */
  add(address: IpAddress, namespace: string): void {
    const shares = this.#namespaces.get(namespace) ?? new Map<string, number>()
    this.#namespaces.set(namespace, shares)
    for (const counts of [this.#node, shares]) change(counts, keyOf(address), 1)
  }

  /** One pod less has it; only what was added. */
  delete(address: IpAddress, namespace: string): void {
    const shares = this.#namespaces.get(namespace)
    if (shares === undefined) return
    for (const counts of [this.#node, shares]) change(counts, keyOf(address), -1)
    if (shares.size === 0) this.#namespaces.delete(namespace)
  }
}
