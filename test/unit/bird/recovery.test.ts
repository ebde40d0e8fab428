import { assert, describe, it } from "@effect/vitest"
import { hurry, isGivenUp, recover, type Recovery } from "../../../src/bird/recovery.ts"

const session = (state: string, lastError = "Error: No listening socket", protocol = "peer_1") => ({
  protocol,
  state,
  lastError
})
const GIVEN_UP = session("Down")

/** When it is enabled, of states seen every `interval` milliseconds until `end`. */
const attempts = (stateAt: (at: number) => ReturnType<typeof session>, end: number, interval = 200) => {
  let recovery: Recovery = new Map()
  const times: Array<number> = []
  for (let at = 0; at <= end; at += interval) {
    const next = recover(recovery, [stateAt(at)], at)
    recovery = next.recovery
    if (next.due.length > 0) times.push(at)
  }
  return { recovery, times }
}

describe("a session that BIRD gave up", () => {
  it("is one that is down with an error: commands and bird.conf leave none", () => {
    assert.isTrue(isGivenUp(GIVEN_UP))
    assert.isFalse(isGivenUp(session("Down", "")))
    for (const state of ["Idle", "Connect", "Active", "OpenSent", "Established", "Passive"]) {
      assert.isFalse(isGivenUp(session(state)), state)
    }
  })

  it("is enabled after 1 s, and then ever more rarely, every 30 s in the end", () => {
    assert.deepStrictEqual(attempts(() => GIVEN_UP, 130_000).times, [
      1000,
      3000,
      7000,
      15_000,
      31_000,
      61_000,
      91_000,
      121_000
    ])
  })

  it("is not enabled where it was down for a moment only", () => {
    assert.deepStrictEqual(attempts((at) => session(at % 1000 === 0 ? "Down" : "Idle"), 600, 200).times, [])
  })

  it("keeps its back-off where BIRD takes a moment to give it up again, as 3.x does", () => {
    const { times } = attempts((at) => session(at % 400 === 0 ? "Down" : "Idle"), 40_000)
    assert.isBelow(times.length, 8, times.join())
  })

  it("begins anew once it was Established, or gone", () => {
    const { recovery } = attempts(() => GIVEN_UP, 20_000)
    assert.strictEqual(recover(recovery, [session("Established")], 20_200).recovery.size, 0)
    assert.strictEqual(recover(recovery, [], 20_200).recovery.size, 0)
    assert.strictEqual(recover(recovery, [session("Active")], 20_200).recovery.size, 1)
    assert.strictEqual(recover(recovery, [session("Active")], 120_000).recovery.size, 0)
  })

  it("is enabled at once when told, alone", () => {
    const both = [GIVEN_UP, session("Down", "Error: Kernel MD5 auth failed", "peer_2")]
    const { recovery } = recover(new Map(), both, 0)
    assert.deepStrictEqual(recover(hurry(recovery, ["peer_1", "peer_9"]), both, 10).due, ["peer_1"])
  })
})
