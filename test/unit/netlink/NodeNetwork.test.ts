import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { address } from "../../../src/domain/Ip.ts"
import { occupation } from "../../../src/domain/occupied.ts"
import { layerTest, TestKernel } from "../../../src/netlink/NetlinkTest.ts"
import { NodeNetwork } from "../../../src/netlink/NodeNetwork.ts"
import { hostInterface } from "../bird/inputs.ts"
import { nodeConfig } from "../fixtures.ts"

const { spec } = nodeConfig()

describe("NodeNetwork", () => {
  it.effect("knows the node's interfaces and next hops, not pods' links, and follows them within the tick", () => {
    const kernel = new TestKernel()
    kernel.interfaces = [
      hostInterface("eth0", ["198.51.100.11/24"]),
      hostInterface("flock00000001", ["203.0.113.1/24"], { ifIndex: 7 })
    ]
    const route = (via: string, protocol: number, base: string) => ({
      destination: { family: 4 as const, base: address(base).value, prefix: 32 },
      protocol,
      nextHops: [{ ifIndex: 2, via: address(via), onlink: false }]
    })
    kernel.putRoute(route("198.51.100.254", 16, "0.0.0.1"))
    // A pod's own address, by which its anycast address is reached.
    kernel.putRoute(route("10.42.1.2", 201, "192.0.2.1"))
    return Effect.gen(function*() {
      const network = yield* NodeNetwork
      const is = (text: string) => Effect.map(network.occupied(spec), (it) => occupation(address(text), it, false))
      assert.match((yield* is("198.51.100.11")) ?? "", /own address \(eth0\)/)
      assert.match((yield* is("198.51.100.254")) ?? "", /next hop/)
      assert.match((yield* is("198.51.100.7")) ?? "", /connected \(eth0\)/)
      assert.isUndefined(yield* is("203.0.113.1"))
      assert.isUndefined(yield* is("10.42.1.2"))
      assert.strictEqual(yield* network.occupied(spec), yield* network.occupied(spec))

      const changes = yield* Effect.forkChild(Stream.runCollect(Stream.take(network.changes, 1)))
      yield* Effect.forkChild(network.run)
      yield* TestClock.adjust("16 seconds")
      assert.isUndefined(changes.pollUnsafe())
      kernel.interfaces = [...kernel.interfaces, hostInterface("eth1", ["192.0.2.9/24"])]
      yield* TestClock.adjust("16 seconds")
      yield* Fiber.join(changes)
      assert.match((yield* is("192.0.2.77")) ?? "", /connected \(eth1\)/)
    }).pipe(Effect.provide(NodeNetwork.layer.pipe(Layer.orDie, Layer.provide(layerTest(kernel)))))
  })
})
