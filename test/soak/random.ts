/** A seeded generator of random numbers (mulberry32), so that a seed is a schedule. */
export interface Random {
  /** From 0 to below 1. */
  readonly next: () => number
  /** From 0 to below `n`. */
  readonly below: (n: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(list: ReadonlyArray<A>) => A
  /** Up to `count` of them, each once. */
  readonly some: <A>(list: ReadonlyArray<A>, count: number) => ReadonlyArray<A>
}

export const seeded = (seed: number): Random => {
  const state = { value: seed >>> 0 }
  const next = (): number => {
    state.value = (state.value + 0x6d2b79f5) >>> 0
    let t = state.value
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n: number): number => Math.floor(next() * n)
  return {
    next,
    below,
    chance: (probability) => next() < probability,
    pick: (list) => {
      if (list.length === 0) throw new RangeError("nothing to pick from")
      return list[below(list.length)] as typeof list[number]
    },
    some: (list, count) => {
      const left = [...list]
      return Array.from({ length: Math.min(count, left.length) }, () => left.splice(below(left.length), 1)[0] as never)
    }
  }
}

/** A generator for one round of a seed: rounds can be replayed alone. */
export const roundOf = (seed: number, round: number): Random =>
  seeded(Math.imul(seed, 0x9e3779b1) ^ Math.imul(round, 0x85ebca6b))
