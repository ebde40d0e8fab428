/**
 * A set of 32-bit numbers that finds the lowest one missing. It is a tree of 32-bit words: a bit of the lowest level is
 * one number, a bit above says that the whole word below is full. Each operation touches seven words at most, however
 * many numbers are in, and memory grows with the numbers held, not with the size of a CIDR.
 */
const LEVELS = 7
const FULL = -1

const lowestBit = (word: number): number => 31 - Math.clz32(word & -word)

export class BusySet {
  readonly #levels: ReadonlyArray<Map<number, number>> = Array.from({ length: LEVELS }, () => new Map())

  #word(level: number, index: number): number {
    return this.#levels[level]?.get(index) ?? 0
  }

  add(value: number): void {
    for (let level = 0, at = value; level < LEVELS; level++) {
      const index = Math.floor(at / 32)
      const word = this.#word(level, index) | (1 << (at % 32))
      this.#levels[level]?.set(index, word)
      if (word !== FULL) return
      at = index
    }
  }

  delete(value: number): void {
    for (let level = 0, at = value; level < LEVELS; level++) {
      const index = Math.floor(at / 32)
      const before = this.#word(level, index)
      const word = before & ~(1 << (at % 32))
      if (word === 0) this.#levels[level]?.delete(index)
      else this.#levels[level]?.set(index, word)
      if (before !== FULL) return
      at = index
    }
  }

  /** The lowest number from `from` to `to` that is not in the set. */
  lowestMissing(from: number, to: number): number | undefined {
    let at = from
    for (let level = 0; level < LEVELS; level++) {
      const index = Math.floor(at / 32)
      const missing = ~this.#word(level, index) & (-1 << (at % 32))
      if (missing !== 0) {
        at = index * 32 + lowestBit(missing)
        for (let below = level - 1; below >= 0; below--) at = at * 32 + lowestBit(~this.#word(below, at))
        return at <= to ? at : undefined
      }
      at = index + 1
    }
    return undefined
  }
}
