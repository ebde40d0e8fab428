/** Nothing that is limited, waited for or forgotten depends on the time of day. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import { readdirSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { monotonicMillis } from "../../../src/process/monotonic.ts"

const SRC = resolve(import.meta.dirname, "../../../src")

/** Where the time of day is written down for people to read. */
const STAMPS = [
  "bird/rounds.ts",
  "cni/add.ts",
  // stamps in objects' status, by which another leader goes on
  "fleet/Counter.ts",
  "fleet/Fleet.ts",
  "fleet/rollout.ts",
  // compared with the API server's
  "kube/client.ts",
  "kube/nodeCondition.ts",
  "kube/nodeConfigStatus.ts",
  "kube/recorder.ts",
  "kube/refusals.ts",
  // ages of stamps, as kubectl prints them
  "kubectl/commands.ts",
  "socket/Introspection.ts",
  "state/takeOver.ts"
]

const TIME_OF_DAY = /\bClock\.currentTime|\bDate\.now\b|\bDateTime\.now|\bnew Date\(|\bperformance\.timeOrigin\b/

describe("the time of day", () => {
  it("is read where it becomes a stamp, and nowhere else", () => {
    const found = readdirSync(SRC, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"))
      .filter((file) => TIME_OF_DAY.test(readFileSync(join(SRC, file), "utf8").replaceAll(/\/\*\*[\s\S]*?\*\//g, "")))
    assert.deepStrictEqual(found.toSorted(), STAMPS)
  })

  it.effect("is not what durations are measured by", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual(yield* monotonicMillis, 1500)
      yield* TestClock.setTime(0)
      assert.deepStrictEqual([yield* Clock.currentTimeMillis, yield* monotonicMillis], [0, 1500])
    }))
})
