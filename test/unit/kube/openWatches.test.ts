import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import { TestClock } from "effect/testing"
import { ApiError } from "../../../src/kube/access.ts"
import { type ApiHealth, DEAF_SECONDS, deafInWords, heardInWords } from "../../../src/kube/apiHealth.ts"
import { timing } from "../../../src/kube/client.ts"
import { OpenWatches } from "../../../src/kube/openWatches.ts"
import { Refusals } from "../../../src/kube/refusals.ts"

const pods = { resource: "pods" }

describe("the watches", () => {
  it.effect("count silence from the first question on, over connections, until nobody asks", () =>
    Effect.gen(function*() {
      const watches = new OpenWatches()
      const followed = yield* Scope.make()
      yield* Scope.provide(watches.follow(pods), followed)
      yield* TestClock.adjust("7 seconds")
      assert.deepStrictEqual(yield* watches.status, [{ resource: "pods", ever: false, silentSeconds: 7 }])
      const connection = yield* Scope.make()
      const { heard } = yield* Scope.provide(watches.open(pods), connection)
      assert.deepStrictEqual(yield* watches.status, [{ resource: "pods", ever: true, silentSeconds: 0 }])
      yield* TestClock.adjust("60 seconds")
      yield* heard
      yield* Scope.close(connection, Exit.void)
      yield* TestClock.adjust("90 seconds")
      assert.deepStrictEqual(yield* watches.status, [{ resource: "pods", ever: true, silentSeconds: 90 }])
      yield* Scope.close(followed, Exit.void)
      assert.deepStrictEqual(yield* watches.status, [])
    }))

  it("are taken for deaf only after a healthy one was opened anew", () => {
    assert.isAbove(DEAF_SECONDS * 1000, timing.idleMillis * 1.25 + timing.requestMillis)
  })
})

describe("the words", () => {
  const health = (silentSeconds: number, resource = "pods", ever = true): ApiHealth => ({
    watches: [{ resource: "nodeconfigs", ever: true, silentSeconds: 3 }, { resource, ever, silentSeconds }],
    refused: [
      {
        verb: "list",
        resource: "pods",
        status: 403,
        message: "GET /pods: answered 403: no",
        at: "2026-01-01T00:00:00Z"
      }
    ]
  })
  const LEAD = "the API server is not heard, so that the node stays as it was: "
  it.each<readonly [string, ApiHealth | undefined, string | undefined]>([
    ["standalone", undefined, undefined],
    ["heard", health(179), undefined],
    ["not heard", health(494), `${LEAD}pods not heard for 494 s; GET /pods: answered 403: no`],
    ["never", health(200, "pods", false), `${LEAD}pods never heard in 200 s; GET /pods: answered 403: no`],
    ["a Secret", health(5000, "secrets"), undefined]
  ])("%s", (_, given, expected) => {
    assert.strictEqual(deafInWords(given), expected)
  })

  it("names the longest silence first", () => {
    assert.strictEqual(heardInWords(health(60)), "pods 60 s ago, nodeconfigs 3 s ago")
    assert.strictEqual(heardInWords(health(9, "pods", false)), "pods not yet, nodeconfigs 3 s ago")
  })
})

describe("what is refused", () => {
  const list = { verb: "list", resource: "pods", path: "/pods" } as const
  const error = (status: number) => new ApiError({ message: `answered ${status}`, status })
  it.effect.each([0, 401, 403, 429, 500, 503])(
    "%s stands until it is answered, or 10 minutes",
    (status) =>
      Effect.gen(function*() {
        const refusals = new Refusals()
        yield* refusals.failed(list, error(status))
        yield* refusals.answered({ ...list, verb: "watch" })
        assert.deepStrictEqual(yield* refusals.list, [
          { verb: "list", resource: "pods", status, message: `answered ${status}`, at: "1970-01-01T00:00:00.000Z" }
        ])
        yield* refusals.answered(list)
        assert.deepStrictEqual(yield* refusals.list, [])
        yield* refusals.failed(list, error(status))
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(yield* refusals.list, [])
      })
  )
  it.effect.each([404, 409, 410, 422])("%s is an answer", (status) =>
    Effect.gen(function*() {
      const refusals = new Refusals()
      yield* refusals.failed(list, error(status))
      assert.deepStrictEqual(yield* refusals.list, [])
    }))
})
