import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, PubSub, Ref, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Allocation } from "../../../src/domain/Allocation.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import { AntiSpoofing } from "../../../src/firewall/AntiSpoofing.ts"
import { FirewallError } from "../../../src/firewall/errors.ts"
import { type Drops, Firewall, type Wanted } from "../../../src/firewall/Firewall.ts"
import { wantedOf } from "../../../src/firewall/wanted.ts"
import { KubeApiTest, layerTest as kubeTest } from "../../../src/kube/KubeApiTest.ts"
import { Allocations } from "../../../src/state/Allocations.ts"
import { allocation as fixture, nodeConfig } from "../fixtures.ts"

const allocation = (n: number, changes: Partial<Allocation> = {}): Allocation =>
  fixture({
    containerId: `c${n}`,
    hostIfName: `flock0000000${n}`,
    pod: { namespace: "edge", name: `p${n}`, uid: `u${n}` },
    ...changes
  })

const pod = (n: number, changes: Partial<PodInfo> = {}): PodInfo => ({
  namespace: "edge",
  name: `p${n}`,
  uid: `u${n}`,
  ready: true,
  deleting: false,
  annotations: { "allow-spoofing": "true" },
  ...changes
})

const podsOf = (...pods: ReadonlyArray<PodInfo>) => new Map(pods.map((one) => [`${one.namespace}/${one.name}`, one]))
const config = (changes: Record<string, unknown>) => nodeConfig({ cidr6: "2001:db8:1::/64", ...changes })
const spec = (changes: Record<string, unknown> = {}) => config(changes).spec

describe("who is exempt", () => {
  const listed = spec({ antiSpoofingExemptNamespaces: ["edge"] })
  const exempt = (one: Allocation, of: PodInfo, within = listed) => wantedOf(within, [one], podsOf(of)).exempt?.length

  it("a pod that asks for it, in a namespace that the operator lists", () => {
    assert.strictEqual(exempt(allocation(1), pod(1)), 1)
  })

  it.each<[string, number | undefined]>([
    ["in a namespace that is not listed", exempt(allocation(1), pod(1), spec())],
    [
      "in one whose name begins like it",
      exempt(allocation(1), pod(1), spec({ antiSpoofingExemptNamespaces: ["edg"] }))
    ],
    ["that does not ask", exempt(allocation(1), pod(1, { annotations: {} }))],
    ["that asks for something else", exempt(allocation(1), pod(1, { annotations: { "allow-spoofing": "yes" } }))],
    ["of the same name that came after it", exempt(allocation(1), pod(1, { uid: "later" }))],
    ["outside Kubernetes", exempt(allocation(1, { pod: { namespace: "edge", name: "", uid: "" } }), pod(1))],
    ["that is gone", wantedOf(listed, [allocation(1)], podsOf()).exempt?.length]
  ])("not a pod %s", (_, count) => assert.strictEqual(count, 0))

  it("stays so while the pods are not known", () => {
    assert.isUndefined(wantedOf(listed, [allocation(1)], undefined).exempt)
  })
})

describe("which sources a link has without a route back to it", () => {
  const sources = (...allocations: ReadonlyArray<Allocation>) =>
    wantedOf(spec(), allocations, podsOf()).sources.map((one) => `${one.ifName} ${formatAddress(one.address)}`)
  const { addresses } = allocation(1)
  const anycast = { ...addresses, anycast: [address("2001:db8:a::1"), address("192.0.2.1")] }

  it("its anycast addresses; not its primary ones", () => {
    assert.deepStrictEqual(sources(allocation(1, { addresses: anycast }), allocation(2)), [
      "flock00000001 2001:db8:a::1",
      "flock00000001 192.0.2.1"
    ])
  })

  it("the addresses of the same container's other attachments, and of no other's", () => {
    const second = { ...anycast, ipv6: address("2001:db8:1::99"), ipv4: address("10.42.1.99") }
    const both = [
      allocation(1, { addresses: { ...addresses, ipv6: address("2001:db8:1::1"), ipv4: address("10.42.1.9") } }),
      allocation(2, { containerId: "c1", ifName: "net1", addresses: second }),
      allocation(3)
    ]
    assert.deepStrictEqual(sources(...both).toSorted(), [
      "flock00000001 10.42.1.99",
      "flock00000001 192.0.2.1",
      "flock00000001 2001:db8:1::99",
      "flock00000001 2001:db8:a::1",
      "flock00000002 10.42.1.9",
      "flock00000002 192.0.2.1",
      "flock00000002 2001:db8:1::1",
      "flock00000002 2001:db8:a::1"
    ])
  })
})

it("is on before there is a NodeConfig, and by default", () => {
  assert.isTrue(wantedOf(undefined, [], undefined).antiSpoofing)
  assert.isTrue(wantedOf(spec(), [], undefined).antiSpoofing)
  assert.isFalse(wantedOf(spec({ antiSpoofing: false }), [], undefined).antiSpoofing)
})

const settle = Effect.repeat(Effect.yieldNow, { times: 200 })

/** A kernel in memory: what it was given, and whether it takes anything. */
const world = Effect.gen(function*() {
  const applied = yield* Ref.make<ReadonlyArray<Wanted>>([])
  const refusal = yield* Ref.make<string | undefined>(undefined)
  const there = yield* Ref.make(false)
  const touched = yield* PubSub.unbounded<void>()
  const committed = yield* PubSub.unbounded<void>()
  const list = yield* Ref.make<ReadonlyArray<Allocation>>([])
  const counted = yield* Ref.make<ReadonlyArray<Drops>>([])
  const firewall = Firewall.layerTest({
    apply: Effect.fnUntraced(function*(wanted) {
      const errno = yield* Ref.get(refusal)
      if (errno !== undefined) return yield* new FirewallError({ op: "make the tables", errno })
      yield* Ref.update(applied, (all) => [...all, wanted])
      return !(yield* Ref.getAndSet(there, true))
    }),
    drops: Ref.get(counted),
    forget: (gone) => Ref.update(counted, (all) => all.filter((one) => !gone.includes(one))),
    changes: Stream.fromPubSub(touched)
  })
  const allocations = Layer.mock(Allocations, {
    list: Ref.get(list),
    changes: Stream.fromPubSub(committed),
    unreadable: 0,
    newer: [],
    interrupted: []
  })
  const context = yield* Layer.build(
    AntiSpoofing.layer.pipe(Layer.provideMerge(Layer.mergeAll(firewall, allocations, kubeTest())))
  )
  const service = yield* Effect.service(AntiSpoofing).pipe(Effect.provide(context))
  const kube = yield* Effect.service(KubeApiTest).pipe(Effect.provide(context))
  return {
    applied: Ref.get(applied),
    commit: (all: ReadonlyArray<Allocation>) =>
      Effect.andThen(Ref.set(list, all), Effect.andThen(PubSub.publish(committed, undefined), settle)),
    count: (drops: ReadonlyArray<Drops>) => Ref.set(counted, drops),
    kube,
    refuse: (errno: string | undefined) => Ref.set(refusal, errno),
    service,
    tamper: Effect.andThen(Ref.set(there, false), Effect.andThen(PubSub.publish(touched, undefined), settle))
  }
})

describe("AntiSpoofing", () => {
  it.effect("is enforced before anything runs, and follows pods, allocations, NodeConfig and the kernel", () =>
    Effect.gen(function*() {
      const { applied, commit, kube, service, tamper } = yield* world
      yield* service.enforce
      assert.deepStrictEqual((yield* service.status).state, "on")
      yield* Effect.forkScoped(service.run)
      yield* settle
      yield* TestClock.adjust("1 second")
      yield* commit([allocation(1)])
      yield* TestClock.adjust("1 second")
      yield* kube.setPods(pod(1))
      yield* kube.setNodeConfig({ current: Option.some(config({ antiSpoofingExemptNamespaces: ["edge"] })) })
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* applied).at(-1)?.exempt, ["flock00000001"])
      assert.deepStrictEqual((yield* service.status).exempt, ["edge/p1"])
      yield* kube.setPods(pod(1, { annotations: {} }))
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* applied).at(-1)?.exempt, [])
      const before = (yield* applied).length
      yield* tamper
      assert.strictEqual((yield* applied).length, before + 1)
      yield* kube.setNodeConfig({ current: Option.some(config({ antiSpoofing: false })) })
      yield* settle
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* service.status).state, "off")
      assert.isFalse((yield* applied).at(-1)?.antiSpoofing)
    }))

  it.effect("a pod's flip that changes nothing here costs the kernel nothing", () =>
    Effect.gen(function*() {
      const { applied, kube, service } = yield* world
      yield* service.enforce
      yield* Effect.forkScoped(service.run)
      yield* settle
      const before = (yield* applied).length
      for (const ready of [false, true, false]) {
        yield* kube.setPods(pod(1, { ready, annotations: {} }))
        yield* settle
        yield* TestClock.adjust("200 millis")
      }
      assert.strictEqual((yield* applied).length, before)
    }))

  it.effect("what the kernel refuses is said, is not the end, and is tried until it is taken", () =>
    Effect.gen(function*() {
      const { refuse, service } = yield* world
      yield* refuse("ENOENT")
      yield* service.enforce
      const failed = yield* service.status
      assert.strictEqual(failed.state, "failed")
      assert.match(failed.problem ?? "", /CONFIG_NFT_FIB_INET/)
      yield* Effect.forkScoped(service.run)
      yield* settle
      yield* refuse(undefined)
      yield* TestClock.adjust("15 seconds")
      yield* settle
      assert.deepStrictEqual(yield* service.status, { state: "on", exempt: [] })
    }))

  it.effect("drops are told by pod, and those of a link that is gone are forgotten", () =>
    Effect.gen(function*() {
      const { commit, count, service } = yield* world
      yield* commit([allocation(1)])
      yield* count([
        { ifName: "flock00000001", reason: "spoofed", packets: 7 },
        { ifName: "flock00000009", reason: "forbidden", packets: 1 }
      ])
      const mine = { namespace: "edge", pod: "p1", hostIfName: "flock00000001", reason: "spoofed", packets: 7 } as const
      assert.deepStrictEqual(yield* service.drops, [mine])
      const line = "flock_dropped_packets_total{namespace=\"edge\",pod=\"p1\",reason=\"spoofed\"} 7"
      assert.include(yield* service.metrics, line)
      assert.include(yield* service.metrics, line, "a second scrape adds nothing")
      yield* Effect.forkScoped(service.run)
      yield* settle
      yield* commit([])
      yield* TestClock.adjust("15 seconds")
      yield* settle
      assert.deepStrictEqual(yield* service.drops, [])
      assert.notInclude(yield* service.metrics, "p1")
    }))
})
