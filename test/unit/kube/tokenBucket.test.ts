import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { full, take } from "../../../src/kube/tokenBucket.ts"

const limit = { burst: 5, refillMillis: 1000 }

describe("a token bucket", () => {
  it("gives a burst, then one per refill, and is full again after a quiet time", () => {
    let bucket = full(limit, 0)
    const waits = [0, 0, 0, 0, 0, 0, 1000, 2000, 60_000, 60_000].map((now) => {
      const [next, wait] = take(limit, bucket, now)
      bucket = next
      return wait
    })
    assert.deepStrictEqual(waits, [0, 0, 0, 0, 0, 1000, 1000, 1000, 0, 0])
  })

  it("never gives more than its rate to one who waits as told", () => {
    fc.assert(fc.property(fc.array(fc.nat({ max: 3000 }), { minLength: 1, maxLength: 200 }), (pauses) => {
      let bucket = full(limit, 0)
      let now = 0
      pauses.forEach((pause, given) => {
        now += pause
        const [next, wait] = take(limit, bucket, now)
        bucket = next
        now += wait
        assert.isAtMost(given + 1, limit.burst + Math.floor(now / limit.refillMillis))
      })
    }))
  })
})
