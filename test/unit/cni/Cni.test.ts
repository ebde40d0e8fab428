import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FileSystem, Layer, Option, Stream, SubscriptionRef } from "effect"
import * as PlatformError from "effect/PlatformError"
import { TestClock } from "effect/testing"
import { Anycast } from "../../../src/anycast/Anycast.ts"
import type { AnycastAddress } from "../../../src/anycast/AnycastAddress.ts"
import { Bird } from "../../../src/bird/Bird.ts"
import type { BirdStatus } from "../../../src/bird/birdStatus.ts"
import { Cni } from "../../../src/cni/Cni.ts"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import type { Request } from "../../../src/domain/Wire.ts"
import { Ipam } from "../../../src/ipam/Ipam.ts"
import { KubeApi, KubeUnavailable, type NodeConfigState } from "../../../src/kube/KubeApi.ts"
import {
  InterfaceExists,
  type KernelChange,
  LinkNameTaken,
  Netlink,
  NetlinkError,
  NetnsError,
  type PodLink,
  type PodLinkPlan
} from "../../../src/netlink/Netlink.ts"
import { Uplink } from "../../../src/netlink/Uplink.ts"
import { Allocations } from "../../../src/state/Allocations.ts"
import { nodeConfig } from "../fixtures.ts"

const LINK: PodLink = { hostIfIndex: 7, hostMac: "ee:ee:ee:ee:ee:ee", podMac: "02:00:00:00:00:01" }

interface World {
  /** What `attach` does; the default makes the link. */
  readonly attach?: (
    plan: PodLinkPlan
  ) => Effect.Effect<PodLink, NetlinkError | NetnsError | InterfaceExists | LinkNameTaken>
  readonly detach?: (name: string) => Effect.Effect<void, NetlinkError>
  readonly config?: Partial<NodeConfigState>
  readonly pod?: KubeApi["Service"]["pod"]
  readonly bird?: Partial<BirdStatus>
  readonly announcements?: ReadonlyArray<AnycastAddress>
  readonly changes?: ReadonlyArray<KernelChange>
  /** Renames of records fail, as on a full disk. */
  readonly diskFull?: "write" | "rename"
}

/** The kernel's links by name, as the fake Netlink keeps them. */
type Links = Map<string, PodLinkPlan>

const noSpace = PlatformError.systemError({
  _tag: "Unknown",
  module: "FileSystem",
  method: "rename",
  description: "ENOSPC: no space left on device"
})

const world = (links: Links, options: World = {}) =>
  Layer.unwrap(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped()
    const config = yield* SubscriptionRef.make<NodeConfigState>({
      current: Option.some(nodeConfig()),
      rejected: Option.none(),
      ...options.config
    })
    const netlink = Layer.mock(Netlink, {
      attach: (plan, beforeRoutes = Effect.void) =>
        (options.attach?.(plan) ?? Effect.succeed(LINK)).pipe(
          Effect.tap(() => beforeRoutes),
          Effect.tap(() => Effect.sync(() => links.set(plan.hostIfName, plan)))
        ),
      detach: (name) =>
        (options.detach?.(name) ?? Effect.void).pipe(Effect.tap(() => Effect.sync(() => links.delete(name)))),
      links: Effect.sync(() =>
        [...links.values()].map((plan) => ({
          ifName: plan.hostIfName,
          ifIndex: 7,
          alias: plan.alias,
          mtu: plan.mtu,
          mac: LINK.hostMac,
          up: true,
          peerNsid: 0
        }))
      ),
      routes: () => Effect.succeed([]),
      changes: Stream.concat(Stream.fromIterable(options.changes ?? []), Stream.never),
      verify: (plan) => Effect.succeed(links.has(plan.hostIfName) ? [] : [`link ${plan.hostIfName} is missing`])
    })
    const kube = Layer.mock(KubeApi, {
      nodeConfig: config,
      pod: options.pod ?? ((ref) => Effect.succeedSome({ ...ref, ready: false, deleting: false, annotations: {} })),
      event: () => Effect.void
    })
    const files = Layer.succeed(
      FileSystem.FileSystem,
      {
        ...fs,
        ...(options.diskFull === "rename" ? { rename: () => Effect.fail(noSpace) } : {}),
        ...(options.diskFull === "write" ? { writeFileString: () => Effect.fail(noSpace) } : {})
      }
    )
    return Cni.layer({ bootId: "boot" }).pipe(
      Layer.provideMerge(Layer.mergeAll(
        Ipam.layer,
        Layer.provide(Allocations.layer({ directory, bootId: "boot" }), files),
        netlink,
        kube,
        Anycast.layerTest({ status: options.announcements ?? [] }),
        Bird.layerTest({ enabled: false, up: false, ...options.bird }),
        Layer.mock(Uplink, { mtu: () => Effect.succeed(1500) })
      ))
    )
  })).pipe(Layer.provide(NodeFileSystem.layer))

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
const leftovers = Effect.fnUntraced(function*(links: Links) {
  const { list } = yield* Allocations
  const ipam = yield* Ipam
  const usage = yield* ipam.usage(nodeConfig().spec)
  return { links: links.size, records: (yield* list).length, ipv6: usage.ipv6?.used, ipv4: usage.ipv4?.used }
})

const NOTHING = { links: 0, records: 0, ipv6: 0, ipv4: 0 }

const failing = (name: string, options: World, code: number, text: RegExp) =>
  it.effect(`ADD that fails because ${name} leaves nothing`, () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      const { error } = yield* ask(call("ADD", "c1"))
      assert.strictEqual(error?.code, code)
      assert.match(error.msg, text)
      assert.deepStrictEqual(yield* leftovers(links), NOTHING)
      // And nothing half-done stands in the way of the next try.
      assert.deepStrictEqual(yield* ask(call("DEL", "c1")), { result: null })
    }).pipe(Effect.provide(world(links, options)))
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
    const links: Links = new Map()
    const tried: Array<string> = []
    const attach = (plan: PodLinkPlan) => {
      tried.push(plan.hostIfName)
      return tried.length === 1
        ? Effect.fail(new LinkNameTaken({ hostIfName: plan.hostIfName }))
        : Effect.succeed(LINK)
    }
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      assert.strictEqual(result.interfaces[0].name, tried[1])
      assert.notStrictEqual(tried[0], tried[1])
      assert.deepStrictEqual(yield* leftovers(links), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
    }).pipe(Effect.provide(world(links, { attach })))
  })

  it.effect("twice for one attachment: the second is refused and harms nothing", () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      const { error } = yield* ask(call("ADD", "c1"))
      assert.match(error.msg, /has interface eth0 already/)
      assert.deepStrictEqual(yield* leftovers(links), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
    }).pipe(Effect.provide(world(links)))
  })

  it.effect("of the same attachment at once run one after another, of others side by side", () => {
    const links: Links = new Map()
    const gate = Deferred.makeUnsafe<void>()
    let inside = 0
    let most = 0
    const attach = () =>
      Effect.sync(() => {
        inside++
        most = Math.max(most, inside)
      }).pipe(
        Effect.andThen(Deferred.await(gate)),
        Effect.andThen(Effect.sync(() => inside--)),
        Effect.as(LINK)
      )
    return Effect.gen(function*() {
      const calls = ["c1", "c1", "c2", "c3"].map((id) => ask(call("ADD", id)))
      const fiber = yield* Effect.forkChild(Effect.all(calls, { concurrency: "unbounded" }))
      while (most < 3) yield* Effect.yieldNow
      yield* Deferred.succeed(gate, undefined)
      const replies = yield* Fiber.join(fiber)
      assert.strictEqual(most, 3)
      assert.strictEqual(replies.filter((reply) => reply["error"] !== undefined).length, 1)
    }).pipe(Effect.provide(world(links, { attach })))
  })

  it.effect("refuses an empty CNI_NETNS, a bad version, a bad verb", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* ask(call("ADD", "c1", { netns: "" })))["error"].code, 4)
      const old = yield* ask(call("ADD", "c1", {}, { cniVersion: "0.2.0" }))
      assert.deepStrictEqual([old["error"].code, old["error"].cniVersion], [1, "0.2.0"])
      assert.strictEqual((yield* ask(call("FROB", "c1")))["error"].code, 4)
    }).pipe(Effect.provide(world(new Map()))))
})

describe("DEL", () => {
  it.effect("is idempotent, and needs no readable configuration", () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      for (const config of ["garbage", "", "{}"]) {
        assert.deepStrictEqual(yield* ask(call("DEL", "c1", { config, netns: "", args: "" })), { result: null })
      }
      assert.deepStrictEqual(yield* leftovers(links), NOTHING)
    }).pipe(Effect.provide(world(links)))
  })

  it.effect("keeps the record and the addresses while the link cannot be removed", () => {
    const links: Links = new Map()
    let broken = true
    const detach = () => broken ? Effect.fail(new NetlinkError({ op: "delete link", errno: "EBUSY" })) : Effect.void
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      assert.strictEqual((yield* ask(call("DEL", "c1")))["error"].code, 101)
      assert.deepStrictEqual(yield* leftovers(links), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
      broken = false
      assert.deepStrictEqual(yield* ask(call("DEL", "c1")), { result: null })
      assert.deepStrictEqual(yield* leftovers(links), NOTHING)
    }).pipe(Effect.provide(world(links, { detach })))
  })
})

describe("CHECK", () => {
  it.effect("compares with prevResult, the record and the kernel", () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      const check = (prevResult?: unknown) =>
        ask(call("CHECK", "c1", {}, prevResult === undefined ? {} : { prevResult }))
      assert.deepStrictEqual(yield* check(result), { result: null })
      assert.strictEqual((yield* check())["error"].code, 7)
      assert.strictEqual((yield* check({ ...result, ips: [] }))["error"].code, 102)
      links.clear()
      assert.match((yield* check(result))["error"].msg, /is missing/)
      assert.strictEqual((yield* ask(call("CHECK", "c9")))["error"].code, 3)
    }).pipe(Effect.provide(world(links)))
  })
})

describe("CHECK of an announced address", () => {
  const announcement = (gate: "Ready" | "NotReady"): AnycastAddress => ({
    address: "192.0.2.1",
    state: gate === "Ready" ? "announced" : "withdrawn",
    holders: [{ owner: "c1/eth0", namespace: "default", pod: "web", hostIfName: "x", kind: "anycast", gate }]
  })
  const check = (gate: "Ready" | "NotReady") =>
    Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      return (yield* ask(call("CHECK", "c1", {}, { prevResult: result })))["error"]?.msg
    }).pipe(Effect.provide(world(new Map(), { announcements: [announcement(gate)] })))
  it.effect("wants its route while the pod is Ready, and only then", () =>
    Effect.gen(function*() {
      assert.match(yield* check("Ready"), /192\.0\.2\.1 is to be announced/)
      assert.isUndefined(yield* check("NotReady"))
    }))
})

describe("a pod that ends without a DEL", () => {
  const gone: KernelChange = { _tag: "LinkRemoved", ifName: "flock00000000", ifIndex: 7 }
  it.effect("frees its addresses when its link is seen gone twice, and no other's", () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      yield* ask(call("ADD", "c2"))
      const cni = yield* Cni
      const fiber = yield* Effect.forkChild(cni.run)
      yield* TestClock.adjust("1 second")
      links.delete(result.interfaces[0].name)
      yield* TestClock.adjust("65 seconds")
      assert.strictEqual((yield* leftovers(links)).records, 2)
      yield* TestClock.adjust("10 seconds")
      // Records are real files: their removal takes turns of the real event loop.
      while ((yield* leftovers(links)).records > 1) yield* Effect.promise(() => new Promise(setImmediate))
      assert.deepStrictEqual(yield* leftovers(links), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(world(links)))
  })
  it.effect("is looked at when the kernel says that a link went; a DEL or a new ADD meanwhile wins", () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      const { result } = yield* ask(call("ADD", "c1"))
      links.delete(result.interfaces[0].name)
      const cni = yield* Cni
      const fiber = yield* Effect.forkChild(cni.run)
      yield* TestClock.adjust("5 seconds")
      yield* ask(call("DEL", "c1"))
      yield* ask(call("ADD", "c1"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* leftovers(links), { links: 1, records: 1, ipv6: 1, ipv4: 1 })
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(world(links, { changes: [gone] })))
  })
})

describe("GC", () => {
  const valid = (...ids: ReadonlyArray<string>) => ({
    "cni.dev/valid-attachments": ids.map((containerID) => ({ containerID, ifname: "eth0" }))
  })
  it.effect("frees what the runtime does not know, of its own network only", () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      for (const id of ["c1", "c2", "c3"]) yield* ask(call("ADD", id))
      yield* ask(call("ADD", "d1", {}, { name: "other" }))
      assert.deepStrictEqual(yield* ask(call("GC", "", {}, valid("c2"))), { result: null })
      const { list } = yield* Allocations
      assert.deepStrictEqual((yield* list).map((a) => a.containerId), ["c2", "d1"])
    }).pipe(Effect.provide(world(links)))
  })
  it.effect("without a list frees nothing and says so", () => {
    const links: Links = new Map()
    return Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      assert.strictEqual((yield* ask(call("GC", "")))["error"].code, 7)
      assert.strictEqual((yield* leftovers(links)).records, 1)
    }).pipe(Effect.provide(world(links)))
  })
  it.effect("goes on after one that fails, and reports it", () => {
    const links: Links = new Map()
    const detach = (name: string) =>
      [...links.keys()][0] === name ? Effect.fail(new NetlinkError({ op: "delete link", errno: "EBUSY" })) : Effect.void
    return Effect.gen(function*() {
      for (const id of ["c1", "c2", "c3"]) yield* ask(call("ADD", id))
      assert.match((yield* ask(call("GC", "", {}, valid())))["error"].msg, /1 of 3/)
      assert.strictEqual((yield* leftovers(links)).records, 1)
    }).pipe(Effect.provide(world(links, { detach })))
  })
})

describe("STATUS", () => {
  const status = (options: World, config: Record<string, unknown> = {}) =>
    Effect.map(ask(call("STATUS", "", {}, config)), (reply) => reply["error"]?.code ?? 0).pipe(
      Effect.provide(world(new Map(), options))
    )
  const down = { enabled: true, up: false }
  it.effect("is 0 when all is well, whatever cniVersion says", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* status({}, { cniVersion: "0.2.0" }), 0)
    }))
  it.effect("is 50 without a NodeConfig, 51 when BIRD is down too or alone", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* status({ config: { current: Option.none() } }), 50)
      assert.strictEqual(yield* status({ config: { current: Option.none() }, bird: down }), 51)
      assert.strictEqual(yield* status({ bird: down }), 51)
    }))
  it.effect("is 50 when no free address is left", () =>
    Effect.gen(function*() {
      yield* ask(call("ADD", "c1"))
      assert.strictEqual((yield* ask(call("STATUS", "")))["error"].code, 50)
    }).pipe(Effect.provide(world(new Map(), {
      config: { current: Option.some(nodeConfig({ cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/30" })) }
    }))))
})
