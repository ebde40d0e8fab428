import { assert, describe, it } from "@effect/vitest"
import { busyWords, othersShare, share, ticksOf } from "../../bench/load.ts"

const STAT = "cpu  700 10 200 1000 50 0 30 60 5 5\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 1\n"

/** `/proc/stat` after each second, `busy` of 100 ticks of two processors' 200 taken by others. */
const seconds = (busy: ReadonlyArray<number>) => {
  const texts = busy.reduce<ReadonlyArray<readonly [number, number]>>(
    (seen, ticks) => [...seen, [(seen.at(-1)?.[0] ?? 0) + ticks, (seen.at(-1)?.[1] ?? 0) + 200 - ticks]],
    [[0, 0]]
  ).map(([user, idle]) => `cpu  ${user} 0 0 ${idle} 0 0 0 0 0 0\n`)
  let second = 0
  return othersShare(() => texts[second] ?? "", () => {
    second++
    return Promise.resolve()
  }).then((least) => ({ least, waited: second }))
}

describe("the load beside a bench", () => {
  it("is what is neither idle nor waiting for a disk, and counts a guest once", () => {
    assert.deepStrictEqual(ticksOf(STAT), { busy: 1000, all: 2050 })
    assert.strictEqual(share({ busy: 10, all: 100 }, { busy: 60, all: 200 }), 0.5)
    assert.strictEqual(share({ busy: 1, all: 1 }, { busy: 1, all: 1 }), 0)
  })

  it("is that of the quietest second: what the kernel still tidies up is not others' work", async () => {
    assert.deepStrictEqual(await seconds([150, 80, 4, 200, 200]), { least: 0.02, waited: 3 })
    assert.deepStrictEqual(await seconds([150, 80, 60, 100, 120]), { least: 0.3, waited: 5 })
  })

  it("is said with what was seen on both sides, and not where there is none", () => {
    assert.isUndefined(busyWords(0.02, 0.1))
    assert.match(busyWords(0.02, 0.63) ?? "", /^MACHINE BUSY: others used 2 % .* before and 63 % after/)
    assert.match(busyWords(0.5, 0) ?? "", /50 %/)
  })
})
