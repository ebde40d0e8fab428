import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { BusySet } from "../../../src/ipam/BusySet.ts"

const TOP = 2 ** 32 - 1

describe("BusySet", () => {
  it("finds the next free number across full words of every level", () => {
    const set = new BusySet()
    const first = 0x0a000000
    for (let i = 0; i < 40_000; i++) set.add(first + i)
    assert.strictEqual(set.lowestMissing(first, TOP), first + 40_000)
    assert.strictEqual(set.lowestMissing(first + 39_999, TOP), first + 40_000)
    assert.isUndefined(set.lowestMissing(first, first + 39_999))
    set.delete(first + 1_057)
    assert.strictEqual(set.lowestMissing(first, TOP), first + 1_057)
    assert.strictEqual(set.lowestMissing(first + 1_058, TOP), first + 40_000)
    assert.strictEqual(set.lowestMissing(0, TOP), 0)
  })

  it("knows both ends of the 32-bit range", () => {
    const set = new BusySet()
    for (let i = 0; i < 64; i++) set.add(TOP - i)
    assert.isUndefined(set.lowestMissing(TOP - 63, TOP))
    assert.strictEqual(set.lowestMissing(TOP - 64, TOP), TOP - 64)
    set.delete(TOP)
    assert.strictEqual(set.lowestMissing(TOP - 63, TOP), TOP)
    set.add(0)
    assert.strictEqual(set.lowestMissing(0, TOP), 1)
  })

  it("answers as a plain set would, after any adding and deleting, twice or out of order", () => {
    const base = 0x0a2a0100 - 32
    const near = fc.integer({ min: 0, max: 99 })
    const runs = fc.tuple(fc.boolean(), near, fc.integer({ min: 1, max: 70 }))
    fc.assert(fc.property(fc.array(runs, { maxLength: 30 }), near, near, (steps, from, length) => {
      const set = new BusySet()
      const plain = new Set<number>()
      for (const [adding, start, count] of steps) {
        for (let value = base + start; value < base + start + count; value++) {
          if (adding) set.add(value)
          else set.delete(value)
          if (adding) plain.add(value)
          else plain.delete(value)
        }
      }
      let expected: number | undefined = base + from
      while (plain.has(expected)) expected++
      if (expected > base + from + length) expected = undefined
      assert.strictEqual(set.lowestMissing(base + from, base + from + length), expected)
    }))
  })
})
