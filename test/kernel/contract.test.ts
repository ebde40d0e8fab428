/** `NetlinkTest`, the kernel in memory that unit tests use, does what the real one does. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, type Scope, Stream } from "effect"
import { formatCidr, hostCidr, type IpAddress } from "../../src/domain/Ip.ts"
import { Netlink, PROTOCOL_EXPORT, PROTOCOL_POD } from "../../src/netlink/Netlink.ts"
import { layerTest } from "../../src/netlink/NetlinkTest.ts"
import { linkName, makeLab, planOf, v4, v6 } from "./lab.ts"

interface Subject {
  readonly netlink: Netlink["Service"]
  /** A new namespace for a pod; its name. */
  readonly pod: () => string
}

const inMemory: Effect.Effect<Subject, never, Scope.Scope> = Effect.gen(function*() {
  const netlink = yield* Netlink.pipe(Effect.provideContext(yield* Layer.build(layerTest())))
  let count = 0
  return { netlink, pod: () => `pod${count++}` }
})

const announced = (destination: IpAddress, via: IpAddress, ifIndex: number) => ({
  destination: hostCidr(destination),
  protocol: PROTOCOL_EXPORT,
  nextHops: [{ ifIndex, via, onlink: true }]
})

/** Destinations of a protocol's routes. */
const destinations = (netlink: Netlink["Service"], protocol: number) =>
  Effect.map(netlink.routes(protocol), (routes) => routes.map((route) => formatCidr(route.destination)).toSorted())

const contract = (subject: Effect.Effect<Subject, never, Scope.Scope>) => {
  const live = (name: string, body: (subject: Subject) => Effect.Effect<void, unknown, Scope.Scope>) =>
    it.live(name, () => Effect.scoped(Effect.flatMap(subject, body)))

  live(
    "attach makes link and routes; verify finds them, and what is gone",
    ({ netlink, pod }) =>
      Effect.gen(function*() {
        const plan = planOf(pod(), 5)
        const { hostIfIndex, hostMac } = yield* netlink.attach(plan)
        const [link] = yield* netlink.links
        assert.deepStrictEqual(
          [link?.ifName, link?.ifIndex, link?.alias, link?.mtu, link?.mac, link?.up],
          [plan.hostIfName, hostIfIndex, plan.alias, plan.mtu, hostMac, true]
        )
        assert.deepStrictEqual(yield* destinations(netlink, PROTOCOL_POD), ["10.42.1.5/32", "2001:db8:1::5/128"])
        assert.deepStrictEqual(yield* netlink.verify(plan), [])
        const routes = yield* netlink.routes(PROTOCOL_POD)
        yield* netlink.deleteRoutes(routes.filter(({ destination }) => destination.family === 4))
        assert.lengthOf(yield* netlink.verify(plan), 1)
      })
  )

  live(
    "a name that is taken and an interface that is there are told apart; nothing changes",
    ({ netlink, pod }) =>
      Effect.gen(function*() {
        const first = planOf(pod(), 5)
        yield* netlink.attach(first)
        const sameName = yield* Effect.flip(netlink.attach(planOf(pod(), 6, { hostIfName: first.hostIfName })))
        assert.strictEqual(sameName._tag, "LinkNameTaken")
        const sameInterface = yield* Effect.flip(netlink.attach({ ...planOf(pod(), 7), netns: first.netns }))
        assert.strictEqual(sameInterface._tag, "InterfaceExists")
        assert.deepStrictEqual((yield* netlink.links).map(({ ifName }) => ifName), [linkName(5)])
        assert.lengthOf(yield* netlink.routes(PROTOCOL_POD), 2)
      })
  )

  live("an attach whose companion fails leaves nothing", ({ netlink, pod }) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Effect.flip(netlink.attach(planOf(pod(), 5), Effect.fail("no"))), "no")
      assert.deepStrictEqual([yield* netlink.links, yield* netlink.routes(PROTOCOL_POD)], [[], []])
    }))

  live("detach removes link and routes, and is said; twice is success", ({ netlink, pod }) =>
    Effect.gen(function*() {
      const { hostIfIndex } = yield* netlink.attach(planOf(pod(), 5))
      const removed = yield* netlink.changes.pipe(
        Stream.filter((change) => change._tag === "LinkRemoved"),
        Stream.take(1),
        Stream.runCollect,
        Effect.forkScoped({ startImmediately: true })
      )
      yield* Effect.sleep("50 millis")
      yield* netlink.detach(linkName(5))
      yield* netlink.detach(linkName(5))
      assert.deepStrictEqual(yield* Fiber.join(removed), [
        { _tag: "LinkRemoved", ifName: linkName(5), ifIndex: hostIfIndex }
      ])
      assert.deepStrictEqual([yield* netlink.links, yield* netlink.routes(PROTOCOL_POD)], [[], []])
    }))

  live(
    "routes are put, replaced and deleted by destination and protocol; one that is gone is success",
    ({ netlink, pod }) =>
      Effect.gen(function*() {
        const [a, b] = [yield* netlink.attach(planOf(pod(), 5)), yield* netlink.attach(planOf(pod(), 6))]
        const address = { family: 6, value: v6(0xa0).value } as const
        const route = announced(address, v6(5), a.hostIfIndex)
        assert.deepStrictEqual(yield* netlink.putRoutes([route, announced(v4(200), v4(5), a.hostIfIndex)]), [])
        assert.deepStrictEqual(yield* netlink.putRoutes([announced(address, v6(6), b.hostIfIndex)]), [])
        const [six] = (yield* netlink.routes(PROTOCOL_EXPORT)).filter(({ destination }) => destination.family === 6)
        assert.deepStrictEqual(six?.nextHops.map(({ ifIndex }) => ifIndex), [b.hostIfIndex])
        const gone = yield* netlink.changes.pipe(
          Stream.filter((change) => change._tag === "RouteRemoved"),
          Stream.take(1),
          Stream.runCollect,
          Effect.forkScoped({ startImmediately: true })
        )
        yield* Effect.sleep("50 millis")
        assert.deepStrictEqual(yield* netlink.deleteRoutes([announced(address, v6(6), b.hostIfIndex)]), [])
        assert.deepStrictEqual(yield* netlink.deleteRoutes([announced(address, v6(6), b.hostIfIndex)]), [])
        const [change] = yield* Fiber.join(gone)
        assert.deepStrictEqual(
          change?._tag === "RouteRemoved" && formatCidr(change.route.destination),
          "2001:db8:1::a0/128"
        )
        assert.deepStrictEqual(yield* destinations(netlink, PROTOCOL_EXPORT), ["10.42.1.200/32"])
        assert.lengthOf(yield* netlink.routes(PROTOCOL_POD), 4)
      })
  )
}

describe.each([["in memory", inMemory], ["real", makeLab]] as const)("the kernel, %s", (_, subject) => {
  contract(subject)
})
