import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { kernelMetric, makeRetire, outdated } from "../../../src/bird/kernelMetric.ts"
import { cidr } from "../../../src/domain/Ip.ts"
import { Netlink } from "../../../src/netlink/Netlink.ts"
import { layerTest, TestKernel } from "../../../src/netlink/NetlinkTest.ts"
import { nodeConfig } from "./inputs.ts"

const route = (destination: string, metric: number) => ({ destination: cidr(destination), metric })
const texts = (routes: ReadonlyArray<{ readonly metric: number }>) => routes.map(({ metric }) => metric)

describe("kernelMetric", () => {
  it("is last unless learned routes are preferred", () => {
    const spec = (bgp: object) => nodeConfig({ cidr6: "2001:db8:1::/64", bgp: { asn: 65001, ...bgp } }, "node1").spec
    assert.deepStrictEqual(
      [undefined, spec({}), spec({ preferLearned: true })].map(kernelMetric),
      [65535, 65535, 16]
    )
  })
})

describe("outdated", () => {
  const both = [route("::/0", 65535), route("::/0", 16), route("0.0.0.0/0", 65535)]

  it("lets go what has a successor, waits for the rest, and not for ever", () => {
    const patient = outdated(both, 16, true)
    assert.deepStrictEqual([patient.gone, patient.waiting], [[route("::/0", 65535)], [route("0.0.0.0/0", 65535)]])
    const impatient = outdated(both, 16, false)
    assert.deepStrictEqual([texts(impatient.gone), impatient.waiting], [[65535, 65535], []])
  })

  it("knows no others' metrics", () => {
    assert.deepStrictEqual(outdated([route("::/0", 32), route("::/0", 16)], 16, false).gone, [])
  })
})

describe("makeRetire", () => {
  const open = Effect.gen(function*() {
    const kernel = new TestKernel()
    const netlink = yield* Effect.provide(Netlink, layerTest(kernel).pipe(Layer.orDie))
    const { run, runsWith } = yield* makeRetire(netlink)
    yield* Effect.forkChild(run)
    yield* Effect.yieldNow
    return { kernel, runsWith }
  })

  it.effect("removes each as soon as BIRD has it with the new metric", () =>
    Effect.gen(function*() {
      const { kernel, runsWith } = yield* open
      kernel.birdRoutes = [route("::/0", 65535), route("2001:db8::/32", 65535)]
      yield* runsWith(16)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(texts(kernel.birdRoutes), [65535, 65535])
      kernel.birdRoutes = [...kernel.birdRoutes, route("::/0", 16)]
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(kernel.birdRoutes, [route("2001:db8::/32", 65535), route("::/0", 16)])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(kernel.birdRoutes, [route("::/0", 16)])
    }))

  it.effect("forgets what it waits for when the metric goes back", () =>
    Effect.gen(function*() {
      const { kernel, runsWith } = yield* open
      kernel.birdRoutes = [route("::/0", 65535)]
      yield* runsWith(16)
      yield* TestClock.adjust("30 seconds")
      yield* runsWith(65535)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(kernel.birdRoutes, [route("::/0", 65535)])
    }))
})
