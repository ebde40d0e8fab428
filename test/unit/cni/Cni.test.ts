import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import type { AnycastAddress } from "../../../src/anycast/AnycastAddress.ts"
import { layerTest as anycastTest } from "../../../src/anycast/AnycastTest.ts"
import type { BirdStatus } from "../../../src/bird/birdStatus.ts"
import { layerTest as birdTest } from "../../../src/bird/BirdTest.ts"
import { Cni } from "../../../src/cni/Cni.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import type { Request } from "../../../src/domain/Wire.ts"
import { Ipam } from "../../../src/ipam/Ipam.ts"
import { type KubeApi, KubeUnavailable, type NodeConfigState } from "../../../src/kube/KubeApi.ts"
import { KubeApiTest, layerTest as kubeTest } from "../../../src/kube/KubeApiTest.ts"
import { InterfaceExists, LinkNameTaken, NetlinkError, NetnsError } from "../../../src/netlink/Netlink.ts"
import { type Faults, layerTest as netlinkTest, TestKernel } from "../../../src/netlink/NetlinkTest.ts"
import { NodeNetwork } from "../../../src/netlink/NodeNetwork.ts"
import { Uplink } from "../../../src/netlink/Uplink.ts"
import { Allocations } from "../../../src/state/Allocations.ts"
import { layerTest as allocationsTest, TestDisk } from "../../../src/state/AllocationsTest.ts"
import { nodeConfig } from "../fixtures.ts"

interface Options {
  readonly config?: Partial<NodeConfigState>
  readonly pod?: KubeApi["Service"]["pod"]
  readonly bird?: Partial<BirdStatus>
  readonly announcements?: ReadonlyArray<AnycastAddress>
  readonly diskFull?: TestDisk["full"]
}

/** {@link Cni} on a kernel, a disk, a BIRD and a Kubernetes in memory, with a NodeConfig. */
const services = (kernel = new TestKernel(), options: Options = {}) => {
  const disk = new TestDisk()
  disk.full = options.diskFull
  const configured = Layer.effectDiscard(Effect.gen(function*() {
    const kube = yield* KubeApiTest
    yield* kube.setNodeConfig({ current: Option.some(nodeConfig()), ...options.config })
  }))
  const anyPod: KubeApi["Service"]["pod"] = (ref) =>
    Effect.succeedSome({ ...ref, ready: false, deleting: false, annotations: {} })
  return Cni.layer({ bootId: "boot" }).pipe(
    Layer.provideMerge(configured),
    Layer.provideMerge(Layer.orDie(NodeNetwork.layer)),
    Layer.provideMerge(Layer.mergeAll(
      Ipam.layer,
      allocationsTest(disk),
      netlinkTest(kernel),
      kubeTest({ pod: options.pod ?? anyPod }),
      anycastTest({ status: options.announcements ?? [] }),
      birdTest({ enabled: false, up: false, ...options.bird }),
      Layer.mock(Uplink, { mtu: () => Effect.succeed(1500) })
    ))
  )
}

const call = (
  op: string,
  containerId: string,
  over: Partial<Request> = {},
  config: Record<string, unknown> = {}
): Request => ({
  op,
  containerId,
  ifName: "eth0",
  netns: `/run/netns/${containerId}`,
  args: "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1",
  path: "",
  config: JSON.stringify({ cniVersion: "1.0.0", name: "flock", type: "flock", ...config }),
  ...over
})

const ask = Effect.fnUntraced(function*(request: Request) {
  const cni = yield* Cni
  const reply: Record<string, any> = JSON.parse(yield* cni.handle(request)) // oxlint-disable-line typescript/no-explicit-any -- tests read what they expect
  return reply
})

/** Everything that an ADD could have left. */
const leftovers = Effect.fnUntraced(function*(kernel: TestKernel) {
  const { list } = yield* Allocations
  const ipam = yield* Ipam
  const usage = yield* ipam.usage(nodeConfig().spec, NOTHING_OCCUPIED)
  return { links: kernel.links.size, records: (yield* list).length, ipv6: usage.ipv6?.used, ipv4: usage.ipv4?.used }
})

const NOTHING = { links: 0, records: 0, ipv6: 0, ipv4: 0 }

const failing = (name: string, options: Options & Faults, code: number, text: RegExp) =>
  it.effect(`ADD that fails because ${name} leaves nothing`, () => {
    const kernel = new TestKernel(options)
    return Effect.gen(function*() {
      const { error } = yield* ask(call("ADD", "c1"))
      assert.strictEqual(error?.code, code)
      assert.match(error.msg, text)
      assert.deepStrictEqual(yield* leftovers(kernel), NOTHING)
      // And nothing half-done stands in the way of the next try.
      assert.deepStrictEqual(yield* ask(call("DEL", "c1")), { result: null })
    }).pipe(Effect.provide(services(kernel, options)))
  })

describe("ADD", () => {
  failing(
    "the kernel refuses",
    {
      attach: () => Effect.fail(new NetlinkError({ op: "set address", errno: "EPERM" }))
    },
    101,
    /set address: EPERM/
  )
  failing(
    "the namespace is gone",
    {
      attach: (plan) => Effect.fail(new NetnsError({ path: plan.netns, detail: "no such file" }))
    },
    3,
    /network namespace \/run\/netns\/c1/
  )
  failing(
    "the interface exists",
    {
      attach: (plan) => Effect.fail(new InterfaceExists({ ifName: plan.ifName, netns: plan.netns }))
    },
    4,
    /eth0 already exists/
  )
  failing("the disk is full at the intent", { diskFull: "write" }, 5, /ENOSPC/)
  failing("the disk is full at the commit", { diskFull: "rename" }, 5, /ENOSPC/)
  failing(
    "every host name is taken",
    {
      attach: (plan) => Effect.fail(new LinkNameTaken({ hostIfName: plan.hostIfName }))
    },
    101,
    /link named flock[0-9a-f]{8} already/
  )
  failing("something breaks that nobody thought of", { attach: () => Effect.die(new Error("boom")) }, 5, /boom/)
  failing(
    "the API is down and the pod unknown",
    {
      pod: () => Effect.fail(new KubeUnavailable({ message: "connection refused" }))
    },
    11,
    /connection refused/
  )
  failing("the pod is gone", { pod: () => Effect.succeedNone }, 11, /default\/web does not exist/)
  failing(
    "another pod of that name is there",
    {
      pod: (ref) => Effect.succeedSome<PodInfo>({ ...ref, uid: "u2", ready: false, deleting: false, annotations: {} })
    },
    11,
    /UID u2/
  )
  failing("there is no NodeConfig", { config: { current: Option.none() } }, 11, /no NodeConfig/)

  it.effect("takes another host name when one is taken", () => {
    const kernel = new TestKernel()
    const tried: Array<string> = []
    kernel.faults.attach = ({ hostIfName }) => {
      tried.push(hostIfName)
      return tried.length === 1 ? Effect.fail(new LinkNameTaken({ hostIfName })) : Effect.void
    }
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      assert.strictEqual(result.interfaces[0].name, tried[1])
      assert.notStrictEqual(tried[0], tried[1])
      assert.deepStrictEqual(yield* leftovers(kernel), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
    }).pipe(Effect.provide(services(kernel)))
  })

  it.effect("twice for one attachment: the second is refused and harms nothing", () => {
    const kernel = new TestKernel()
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      const { error } = yield* ask(call("ADD", "c1"))
      assert.match(error.msg, /has interface eth0 already/)
      assert.deepStrictEqual(yield* leftovers(kernel), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
    }).pipe(Effect.provide(services(kernel)))
  })

  it.effect("of the same attachment at once run one after another, of others side by side", () => {
    const kernel = new TestKernel()
    const gate = Deferred.makeUnsafe<void>()
    let inside = 0
    let most = 0
    kernel.faults.attach = () =>
      Effect.sync(() => {
        inside++
        most = Math.max(most, inside)
      }).pipe(
        Effect.andThen(Deferred.await(gate)),
        Effect.andThen(Effect.sync(() => inside--))
      )
    return Effect.gen(function*() {
      const calls = ["c1", "c1", "c2", "c3"].map((id) => ask(call("ADD", id)))
      const fiber = yield* Effect.forkChild(Effect.all(calls, { concurrency: "unbounded" }))
      while (most < 3) yield* Effect.yieldNow
      yield* Deferred.succeed(gate, undefined)
      const replies = yield* Fiber.join(fiber)
      assert.strictEqual(most, 3)
      assert.strictEqual(replies.filter((reply) => reply["error"] !== undefined).length, 1)
    }).pipe(Effect.provide(services(kernel)))
  })

  it.effect("refuses an empty CNI_NETNS, a bad version, a bad verb", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* ask(call("ADD", "c1", { netns: "" })))["error"].code, 4)
      const old = yield* ask(call("ADD", "c1", {}, { cniVersion: "0.2.0" }))
      assert.deepStrictEqual([old["error"].code, old["error"].cniVersion], [1, "0.2.0"])
      assert.strictEqual((yield* ask(call("FROB", "c1")))["error"].code, 4)
    }).pipe(Effect.provide(services())))
})

describe("DEL", () => {
  it.effect("is idempotent, and needs no readable configuration", () => {
    const kernel = new TestKernel()
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      for (const config of ["garbage", "", "{}"]) {
        assert.deepStrictEqual(yield* ask(call("DEL", "c1", { config, netns: "", args: "" })), { result: null })
      }
      assert.deepStrictEqual(yield* leftovers(kernel), NOTHING)
    }).pipe(Effect.provide(services(kernel)))
  })

  it.effect("keeps the record and the addresses while the link cannot be removed", () => {
    const kernel = new TestKernel()
    let broken = true
    kernel.faults.detach = () =>
      broken ? Effect.fail(new NetlinkError({ op: "delete link", errno: "EBUSY" })) : Effect.void
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      assert.strictEqual((yield* ask(call("DEL", "c1")))["error"].code, 101)
      assert.deepStrictEqual(yield* leftovers(kernel), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
      broken = false
      assert.deepStrictEqual(yield* ask(call("DEL", "c1")), { result: null })
      assert.deepStrictEqual(yield* leftovers(kernel), NOTHING)
    }).pipe(Effect.provide(services(kernel)))
  })
})

describe("CHECK", () => {
  it.effect("compares with prevResult, the record and the kernel", () => {
    const kernel = new TestKernel()
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      const check = (prevResult?: unknown) =>
        ask(call("CHECK", "c1", {}, prevResult === undefined ? {} : { prevResult }))
      assert.deepStrictEqual(yield* check(result), { result: null })
      assert.strictEqual((yield* check())["error"].code, 7)
      assert.strictEqual((yield* check({ ...result, ips: [] }))["error"].code, 102)
      kernel.links.clear()
      assert.match((yield* check(result))["error"].msg, /is missing/)
      assert.strictEqual((yield* ask(call("CHECK", "c9")))["error"].code, 3)
    }).pipe(Effect.provide(services(kernel)))
  })
})

describe("CHECK of an announced address", () => {
  const announcement = (gate: "Ready" | "NotReady"): AnycastAddress => ({
    address: "192.0.2.1",
    state: gate === "Ready" ? "announced" : "withdrawn",
    installed: gate === "Ready",
    exportedTo: [],
    holders: [{ owner: "c1/eth0", namespace: "default", pod: "web", hostIfName: "x", kind: "anycast", gate }]
  })
  const check = (gate: "Ready" | "NotReady") =>
    Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      return (yield* ask(call("CHECK", "c1", {}, { prevResult: result })))["error"]?.msg
    }).pipe(Effect.provide(services(new TestKernel(), { announcements: [announcement(gate)] })))
  it.effect("wants its route while the pod is Ready, and only then", () =>
    Effect.gen(function*() {
      assert.match(yield* check("Ready"), /192\.0\.2\.1 is to be announced/)
      assert.isUndefined(yield* check("NotReady"))
    }))
})

describe("a pod that ends without a DEL", () => {
  it.effect("frees its addresses when its link is seen gone twice, and no other's", () => {
    const kernel = new TestKernel()
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      yield* ask(call("ADD", "c2"))
      const cni = yield* Cni
      const fiber = yield* Effect.forkChild(cni.run)
      yield* TestClock.adjust("1 second")
      kernel.links.delete(result.interfaces[0].name)
      yield* TestClock.adjust("65 seconds")
      assert.strictEqual((yield* leftovers(kernel)).records, 2)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* leftovers(kernel), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(services(kernel)))
  })
  it.effect("is looked at when the kernel says that a link went; a DEL or a new ADD meanwhile wins", () => {
    const kernel = new TestKernel()
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      const cni = yield* Cni
      const fiber = yield* Effect.forkChild(cni.run)
      yield* TestClock.adjust("1 second")
      kernel.removeLink(result.interfaces[0].name)
      yield* TestClock.adjust("5 seconds")
      yield* ask(call("DEL", "c1"))
      yield* ask(call("ADD", "c1"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* leftovers(kernel), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(services(kernel)))
  })
})

describe("GC", () => {
  const valid = (...ids: ReadonlyArray<string>) => ({
    "cni.dev/valid-attachments": ids.map((containerID) => ({ containerID, ifname: "eth0" }))
  })
  it.effect("frees what the runtime does not know, of its own network only", () => {
    const kernel = new TestKernel()
    return Effect.gen(function*() {
      for (const id of ["c1", "c2", "c3"]) yield* ask(call("ADD", id))
      yield* ask(call("ADD", "d1", {}, { name: "other" }))
      assert.deepStrictEqual(yield* ask(call("GC", "", {}, valid("c2"))), { result: null })
      const { list } = yield* Allocations
      assert.deepStrictEqual((yield* list).map((a) => a.containerId), ["c2", "d1"])
    }).pipe(Effect.provide(services(kernel)))
  })
  it.effect("without a list frees nothing and says so", () => {
    const kernel = new TestKernel()
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      assert.strictEqual((yield* ask(call("GC", "")))["error"].code, 7)
      assert.strictEqual((yield* leftovers(kernel)).records, 1)
    }).pipe(Effect.provide(services(kernel)))
  })
  it.effect("goes on after one that fails, and reports it", () => {
    const kernel = new TestKernel()
    kernel.faults.detach = (name) =>
      [...kernel.links.keys()][0] === name
        ? Effect.fail(new NetlinkError({ op: "delete link", errno: "EBUSY" }))
        : Effect.void
    return Effect.gen(function*() {
      for (const id of ["c1", "c2", "c3"]) yield* ask(call("ADD", id))
      assert.match((yield* ask(call("GC", "", {}, valid())))["error"].msg, /1 of 3/)
      assert.strictEqual((yield* leftovers(kernel)).records, 1)
    }).pipe(Effect.provide(services(kernel)))
  })
})

describe("STATUS", () => {
  const status = (options: Options, config: Record<string, unknown> = {}) =>
    Effect.map(ask(call("STATUS", "", {}, config)), (reply) => reply["error"]?.code ?? 0).pipe(
      Effect.provide(services(new TestKernel(), options))
    )
  const down = { enabled: true, up: false }
  it.effect("is 0 when all is well, whatever cniVersion says", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* status({}, { cniVersion: "0.2.0" }), 0)
    }))
  it.effect("is 50 without a NodeConfig, 51 when BIRD is down too, and 0 when only that is so: pods can be added", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* status({ config: { current: Option.none() } }), 50)
      assert.strictEqual(yield* status({ config: { current: Option.none() }, bird: down }), 51)
      assert.strictEqual(yield* status({ bird: down }), 0)
    }))
  it.effect("is 0 when no free address is left: an error would evict the pods that have them", () =>
    Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      assert.strictEqual((yield* ask(call("ADD", "c2")))["error"].code, 100)
      assert.isUndefined((yield* ask(call("STATUS", "")))["error"])
    }).pipe(Effect.provide(services(new TestKernel(), {
      config: { current: Option.some(nodeConfig({ cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/30" })) }
    }))))
})
