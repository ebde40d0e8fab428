import { assert, describe, it } from "@effect/vitest"
import { current, dueAt, FIGHT, isFight, QUIET, repaired, type Streak } from "../../../src/attachments/backOff.ts"

/** What is changed again as soon as it was put right: when each repair is made. */
const fight = (rounds: number): { readonly times: ReadonlyArray<number>; readonly streak: Streak | undefined } => {
  let streak: Streak | undefined
  const times: Array<number> = []
  for (let now = 0; times.length < rounds;) {
    now = dueAt(streak, now)
    times.push(now)
    streak = repaired(streak, now)
  }
  return { times, streak }
}

describe("back-off", () => {
  it("puts right at once what is changed once, and again once it is quiet", () => {
    assert.strictEqual(dueAt(undefined, 7), 7)
    const streak = repaired(undefined, 7)
    assert.strictEqual(dueAt(streak, 7 + QUIET + 1), 7 + QUIET + 1)
    assert.strictEqual(repaired(streak, 7 + QUIET + 1).repairs, 1)
    assert.strictEqual(current(new Map([["a", streak]]), 7 + QUIET + 1).size, 0)
  })

  it("doubles its wait in a fight, up to 2 s, and knows it for one", () => {
    const { streak, times } = fight(12)
    assert.deepStrictEqual(times, [0, 50, 150, 350, 750, 1550, 3150, 5150, 7150, 9150, 11150, 13150])
    assert.isTrue(isFight(streak, 13150))
    assert.isTrue(isFight(streak, 13150 + QUIET))
    assert.isFalse(isFight(streak, 13151 + QUIET))
    assert.isFalse(isFight(fight(FIGHT - 1).streak, 400))
  })

  it("does not wait for what was quiet between for longer than the wait", () => {
    const { streak } = fight(5)
    assert.strictEqual(dueAt(streak, 750 + 5000), 5750)
  })
})
