import { assert, describe, it } from "@effect/vitest"
import { bucketQuantile, pairedRatio, passes, percentile, table } from "../../bench/report.ts"

describe("bench figures", () => {
  it("takes the nearest rank", () => {
    const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
    assert.deepStrictEqual([0, 0.5, 0.99, 1].map((q) => percentile(hundred, q)), [1, 50, 99, 100])
    assert.strictEqual(percentile([7], 0.99), 7)
    assert.throws(() => percentile([], 0.5), RangeError)
  })

  it("takes a percentile of what a histogram took between two looks", () => {
    const buckets = (...counts: ReadonlyArray<number>) =>
      counts.map((count, i) => ({ le: [0.001, 0.002, 0.004, Infinity][i] ?? 0, count }))
    const before = buckets(5, 5, 5, 5)
    assert.strictEqual(bucketQuantile(0.5, before, before), undefined)
    assert.closeTo(bucketQuantile(0.5, before, buckets(5, 15, 15, 15)) ?? 0, 0.0015, 1e-9)
    assert.closeTo(bucketQuantile(0.99, buckets(0, 0, 0, 0), buckets(98, 98, 100, 100)) ?? 0, 0.003, 1e-9)
    assert.strictEqual(bucketQuantile(0.99, before, buckets(5, 5, 5, 15)), 0.004)
  })

  it("compares within rounds, so that a slow round of the machine changes nothing", () => {
    assert.strictEqual(pairedRatio([[20, 20], [200, 200], [22]], [[10], [100, 100], [11]]), 2)
  })

  it("passes at the target itself, and says nothing where there is none", () => {
    assert.deepStrictEqual(
      [4, 4.01].map((value) => passes({ name: "ADD", value, unit: "ms", target: 4 })),
      [true, false]
    )
    assert.isUndefined(passes({ name: "ADD", value: 1, unit: "ms" }))
  })

  it("prints one aligned line per figure", () => {
    assert.strictEqual(
      table("CNI", [
        { name: "ADD p50", value: 3.456, unit: "ms", target: 4, note: "100 calls" },
        { name: "100 DELs at once", value: 431.2, unit: "ms", target: 200 },
        { name: "times flock's", value: 12.34, unit: "×" }
      ]),
      [
        "CNI",
        "                    measured    target",
        "  ADD p50            3.46 ms    ≤ 4 ms  pass  100 calls",
        "  100 DELs at once    431 ms  ≤ 200 ms  FAIL",
        "  times flock's       12.3 ×"
      ].join("\n")
    )
  })

  it("judges nothing on a machine that others use, and says why", () => {
    const rows = [{ name: "ADD", value: 9, unit: "ms", target: 4 }, { name: "RSS", value: 9, unit: "MB" }] as const
    assert.strictEqual(
      table("CNI", rows, "MACHINE BUSY: …"),
      [
        "CNI",
        "  MACHINE BUSY: …",
        "       measured  target",
        "  ADD   9.00 ms  ≤ 4 ms  machine busy",
        "  RSS   9.00 MB"
      ].join("\n")
    )
  })
})
