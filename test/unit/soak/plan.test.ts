import { assert, describe, it } from "@effect/vitest"
import { type FaultKind, FAULTS, type Ground, planRound } from "../../soak/plan.ts"
import { seeded } from "../../soak/random.ts"

const ground: Ground = {
  nodes: 2,
  slots: 30,
  anycast: 12,
  cluster: new Set([1]),
  operations: 100,
  faults: 6,
  kinds: Object.keys(FAULTS) as ReadonlyArray<FaultKind>
}

const rounds = (seed: number, more: Partial<Ground> = {}) =>
  Array.from({ length: 100 }, (_, i) => planRound(seed, i + 1, { ...ground, ...more }))

describe("planRound", () => {
  it("is the same for the same seed and round, and another for others", () => {
    assert.deepStrictEqual(planRound(7, 3, ground), planRound(7, 3, ground))
    assert.notDeepEqual(planRound(7, 3, ground), planRound(7, 4, ground))
    assert.notDeepEqual(planRound(7, 3, ground), planRound(8, 3, ground))
  })

  it("draws every operation and every fault, on both nodes", () => {
    const all = rounds(1)
    assert.deepStrictEqual(new Set(all.flatMap(({ faults }) => faults.map(({ kind }) => kind))), new Set(ground.kinds))
    const kinds = new Set(all.flatMap(({ operations }) => operations.map(({ kind }) => kind)))
    for (const kind of ["cycle", "twice", "check", "flip", "annotate", "forget", "gc", "status", "edit"]) {
      assert.isTrue(kinds.has(kind as never), kind)
    }
    assert.deepStrictEqual(
      new Set(all.flatMap(({ operations }) => operations.map(({ node }) => node))),
      new Set([0, 1])
    )
  })

  it("orders faults by their begin, within the round", () => {
    for (const { faults } of rounds(2)) {
      const begins = faults.map(({ from }) => from)
      assert.deepStrictEqual(begins, begins.toSorted((a, b) => a - b))
      for (const { from, to } of faults) assert.isTrue(from >= 0 && from < 100 && to >= from)
    }
  })

  it("cuts no API server from a node that follows a folder", () => {
    const kinds = (more: Partial<Ground>) =>
      rounds(3, more).flatMap(({ faults }) => faults).filter(({ kind }) => kind.startsWith("api"))
    assert.isNotEmpty(kinds({}))
    assert.deepStrictEqual(kinds({}).filter(({ node }) => node !== 1), [])
    assert.deepStrictEqual(kinds({ cluster: new Set() }), [])
  })
})

describe("seeded", () => {
  it("is spread evenly, and never 1", () => {
    const random = seeded(42)
    const values = Array.from({ length: 10_000 }, random.next)
    assert.isTrue(values.every((value) => value >= 0 && value < 1))
    for (let i = 0; i < 10; i++) {
      const share = values.filter((value) => Math.floor(value * 10) === i).length
      assert.isTrue(share > 850 && share < 1150, `${i}: ${share}`)
    }
  })

  it("gives some of a list, each once", () => {
    const chosen = seeded(1).some([1, 2, 3, 4, 5], 4)
    assert.strictEqual(new Set(chosen).size, 4)
    assert.strictEqual(seeded(1).some([1], 4).length, 1)
  })
})
