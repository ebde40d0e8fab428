import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { initialState } from "../../../src/bird/birdEvents.ts"
import { copies, learnedAgain, makeKeep } from "../../../src/bird/keptRoutes.ts"
import { address, cidr } from "../../../src/domain/Ip.ts"
import { type HostRoute, Netlink, PROTOCOL_BIRD, PROTOCOL_KEPT } from "../../../src/netlink/Netlink.ts"
import { layerTest, TestKernel } from "../../../src/netlink/NetlinkTest.ts"

const learned = (destination: string, ...vias: ReadonlyArray<string>): HostRoute => ({
  destination: cidr(destination),
  protocol: PROTOCOL_BIRD,
  nextHops: vias.map((via, i) => ({ ifIndex: i + 2, via: address(via), onlink: false }))
})
const both = learned("::/0", "2001:db8:ff00::1", "2001:db8:ff01::1")
const four = learned("0.0.0.0/0", "198.51.100.1")

describe("what is kept", () => {
  it("are routes over gateways, as they are", () => {
    const onLink = { ...four, nextHops: [{ ifIndex: 2, onlink: false }] }
    assert.deepStrictEqual(copies([both, onLink, learned("2001:db8::/32")]), [{ ...both, protocol: PROTOCOL_KEPT }])
  })

  it("goes where BIRD has it again", () => {
    assert.deepStrictEqual(learnedAgain(copies([both, four]), [learned("::/0", "2001:db8:ff01::1")]), copies([both]))
  })
})

describe("makeKeep", () => {
  const open = Effect.gen(function*() {
    const kernel = new TestKernel()
    const netlink = yield* Effect.provide(Netlink, layerTest(kernel).pipe(Layer.orDie))
    const state = yield* SubscriptionRef.make(initialState)
    const { lost, run } = yield* makeKeep(netlink, state)
    const fiber = yield* Effect.forkChild(run)
    yield* Effect.yieldNow
    const status = (up: boolean, generation: number) =>
      SubscriptionRef.update(state, (now) => ({ ...now, generation, status: { ...now.status, up } }))
    const kept = () => kernel.routesOf(PROTOCOL_KEPT)
    return { kernel, lost, status, kept, fiber }
  })

  it.effect("copies when BIRD goes, and lets go of what it has again some time after it is back", () =>
    Effect.gen(function*() {
      const { kept, kernel, lost, status } = yield* open
      yield* status(true, 1)
      kernel.putRoute(both)
      kernel.putRoute(four)
      yield* lost
      assert.sameDeepMembers([...kept()], [...copies([both, four])])
      // Its routes are still there, and that it is gone is not noticed yet.
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(kept(), 2)
      yield* status(false, 1)
      yield* TestClock.adjust("10 minutes")
      assert.lengthOf(kept(), 2)
      yield* status(true, 2)
      kernel.removeRoute(four)
      yield* TestClock.adjust("14 seconds")
      assert.lengthOf(kept(), 2)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(kept(), copies([four]))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(kept(), [])
    }))

  it.effect("starts anew when BIRD goes again meanwhile", () =>
    Effect.gen(function*() {
      const { kept, kernel, lost, status } = yield* open
      yield* status(true, 1)
      kernel.putRoute(both)
      yield* lost
      yield* status(true, 2)
      yield* TestClock.adjust("14 seconds")
      yield* lost
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(kept(), 1)
      yield* status(true, 3)
      yield* TestClock.adjust("16 seconds")
      assert.deepStrictEqual(kept(), [])
    }))

  it.effect("takes over what the agent before kept", () =>
    Effect.gen(function*() {
      const { kept, kernel, status } = yield* open
      kernel.putRoute({ ...four, protocol: PROTOCOL_KEPT })
      yield* TestClock.adjust("10 minutes")
      assert.lengthOf(kept(), 1)
      yield* status(true, 1)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(kept(), [])
    }))

  it.effect("keeps default routes when the agent ends, and nothing that could be in the way of another", () =>
    Effect.gen(function*() {
      const { fiber, kept, kernel } = yield* open
      for (const route of [both, four, learned("2001:db8::/32", "2001:db8:ff00::1")]) kernel.putRoute(route)
      yield* Fiber.interrupt(fiber)
      assert.sameDeepMembers([...kept()], [...copies([both, four])])
    }))
})
