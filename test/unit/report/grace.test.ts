import { assert, describe, it } from "@effect/vitest"
import { GRACE_MILLIS, initial, left, type Reach, step } from "../../../src/report/grace.ts"

const WELL = { well: true, cutOff: false }
const CUT = { well: false, cutOff: true }
/** Neither: no NodeConfig. */
const IDLE = { well: false, cutOff: false }

const after = (begin: Reach, ...seen: ReadonlyArray<readonly [typeof WELL, number]>) =>
  seen.reduce((reach, [what, at]) => step(reach, what, at), begin)

describe("the grace of a node that lost its sessions", () => {
  it("runs from the loss, however often that is looked at, and ends", () => {
    const lost = after(initial(false), [WELL, 0], [CUT, 1000], [CUT, 20_000])
    assert.strictEqual(left(lost, 20_000), GRACE_MILLIS - 19_000)
    assert.strictEqual(left(lost, 31_000), 0)
    assert.strictEqual(left(after(lost, [CUT, 40_000]), 40_000), 0)
  })

  it("is there anew after a session came back", () => {
    assert.strictEqual(left(after(initial(false), [WELL, 0], [CUT, 1], [WELL, 2], [CUT, 9]), 9), GRACE_MILLIS)
  })

  it("is not for a node that was never well, nor for one with nothing to lose", () => {
    assert.strictEqual(left(after(initial(false), [IDLE, 0], [CUT, 1]), 1), 0)
    assert.strictEqual(left(after(initial(false), [WELL, 0]), 0), 0)
  })

  it("is for an agent that starts on a node which served pods", () => {
    assert.strictEqual(left(after(initial(true), [CUT, 5]), 5), GRACE_MILLIS)
  })
})
