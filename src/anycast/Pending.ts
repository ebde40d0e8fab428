/** What the reconciler has still to look at: a set, not a queue, so a thousand flips of a pod cost one look. */

export interface Batch {
  /** Read links and routes from the kernel first. */
  readonly full: boolean
  /** Allocations changed. */
  readonly allocations: boolean
  /** `podKey` → when the first change not yet handled was seen, nanoseconds. */
  readonly pods: ReadonlyMap<string, bigint>
  /** Routes' time to linger may be over. */
  readonly leave: boolean
  /** Destinations whose route the kernel reported as removed. */
  readonly lost: ReadonlySet<string>
  /** Host-side links that the kernel reported as removed. */
  readonly links: ReadonlySet<string>
}

export class Pending {
  #full = false
  #allocations = false
  #leave = false
  #pods = new Map<string, bigint>()
  #lost = new Set<string>()
  #links = new Set<string>()

  full(): void {
    this.#full = true
  }

  allocations(): void {
    this.#allocations = true
  }

  leave(): void {
    this.#leave = true
  }

  pod(key: string, now: bigint): void {
    if (!this.#pods.has(key)) this.#pods.set(key, now)
  }

  lost(key: string): void {
    this.#lost.add(key)
  }

  link(hostIfName: string): void {
    this.#links.add(hostIfName)
  }

  /** Everything since the last take; what is marked from now on belongs to the next batch. */
  take(): Batch {
    const batch = {
      full: this.#full,
      allocations: this.#allocations,
      leave: this.#leave,
      pods: this.#pods,
      lost: this.#lost,
      links: this.#links
    }
    this.#full = false
    this.#allocations = false
    this.#leave = false
    this.#pods = new Map()
    this.#lost = new Set()
    this.#links = new Set()
    return batch
  }
}
