import { assert, describe, it } from "@effect/vitest"
import { holdersOf, makeIndex } from "../../../src/anycast/holders.ts"
import { allKeys, byDestination, plan, type World } from "../../../src/anycast/routePlan.ts"
import type { Allocation } from "../../../src/domain/Allocation.ts"
import { mayAnnounce } from "../../../src/domain/announcement.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import { type PodInfo, podKey } from "../../../src/domain/Pod.ts"
import type { HostRoute } from "../../../src/netlink/Netlink.ts"
import { allocation, linkOf, pod, route, show } from "./fakes.ts"

const world = (
  pods: ReadonlyArray<PodInfo>,
  kernel: ReadonlyArray<HostRoute> = [],
  options: { readonly synced?: boolean; readonly links?: ReadonlyArray<number> } = {}
): World => {
  const links = new Map((options.links ?? [1, 2, 3]).map((n) => [linkOf(n), 100 + n]))
  return {
    pods: new Map(pods.map((p) => [podKey(p), p])),
    synced: options.synced ?? true,
    unreachable: new Map(),
    spec: undefined,
    occupied: NOTHING_OCCUPIED,
    ifIndexOf: (name) => links.get(name),
    installed: byDestination(kernel)
  }
}

const planned = (allocations: ReadonlyArray<Allocation>, w: World) => {
  const index = makeIndex(allocations)
  const { install, remove } = plan(allKeys(index, w.installed), index, w)
  return { install: install.map(show), remove: remove.map(show) }
}

const V6 = "2001:db8:a::1"
const V4 = "192.0.2.1"

describe("plan", () => {
  it("announces both families of a Ready pod via its own addresses, onlink", () => {
    assert.deepStrictEqual(planned([allocation(1, { anycast: [V6, V4] })], world([pod(1)])), {
      install: [`${V6}/128 via 2001:db8:1::1 dev 101 onlink`, `${V4}/32 via 10.42.1.2 dev 101 onlink`],
      remove: []
    })
  })

  it("announces a chosen address as the pod's own, without via", () => {
    assert.deepStrictEqual(planned([allocation(1, { chosen: [V6], ipv6: V6 })], world([pod(1)])).install, [
      `${V6}/128 dev 101`
    ])
  })

  const kernel = [route(V6, [101, "2001:db8:1::1"])]
  const withdrawn = { install: [], remove: [`${V6}/128 via 2001:db8:1::1 dev 101 onlink`] }
  for (
    const [what, pods] of [
      ["not Ready", [pod(1, { ready: false })]],
      ["being deleted though Ready", [pod(1, { deleting: true })]],
      ["ended though Ready", [pod(1, { ended: "Failed" })]],
      ["gone", []],
      ["another pod of the same name", [pod(1, { uid: "uid-new" })]]
    ] as const
  ) {
    it(`withdraws: the pod is ${what}`, () => {
      assert.deepStrictEqual(planned([allocation(1, { anycast: [V6] })], world(pods, kernel)), withdrawn)
    })
  }

  it("withdraws a route whose allocation is gone, and strays of protocol 201", () => {
    const stray: HostRoute = {
      ...route("198.51.100.0", [7]),
      destination: { family: 4, base: 0xc6336400n, prefix: 24 }
    }
    // In any order: deletions do not depend on each other.
    assert.sameMembers([...planned([], world([pod(1)], [...kernel, stray])).remove], [
      ...withdrawn.remove,
      "198.51.100.0/24 dev 7"
    ])
  })

  it("withdraws each of several routes to one destination", () => {
    const twice = [route(V6, [101, "2001:db8:1::1"]), route(V6, [102])]
    assert.strictEqual(planned([], world([], twice)).remove.length, 2)
  })

  it("leaves a wanted route alone, also beside a stray one of another metric", () => {
    const w = world([pod(1)], [route(V6, [7]), ...kernel])
    assert.deepStrictEqual(planned([allocation(1, { anycast: [V6] })], w), { install: [], remove: [] })
  })

  it("replaces a route that leads elsewhere", () => {
    for (const wrong of [route(V6, [101]), route(V6, [102, "2001:db8:1::1"]), route(V6, [101, "2001:db8:1::9"])]) {
      const { install, remove } = planned([allocation(1, { anycast: [V6] })], world([pod(1)], [wrong]))
      assert.deepStrictEqual([install, remove], [[`${V6}/128 via 2001:db8:1::1 dev 101 onlink`], []])
    }
  })

  it("matches by name where a side has no UID", () => {
    assert.isUndefined(mayAnnounce(address(V6), allocation(1, { anycast: [V6], uid: "" }), world([pod(1)])))
    assert.isUndefined(mayAnnounce(address(V6), allocation(1, { anycast: [V6] }), world([pod(1, { uid: "" })])))
  })

  it("never announces a family that the pod lacks", () => {
    const a = allocation(1, { anycast: [V6, V4], ipv6: null })
    assert.deepStrictEqual(planned([a], world([pod(1)])).install, [`${V4}/32 via 10.42.1.2 dev 101 onlink`])
  })

  it("announces nothing for a link that is gone, and withdraws what pointed there", () => {
    const w = world([pod(1)], kernel, { links: [] })
    assert.deepStrictEqual(planned([allocation(1, { anycast: [V6] })], w), withdrawn)
  })
})

describe("plan, several pods with one address", () => {
  const both = [1, 2].map((n) => allocation(n, { anycast: [V6] }))
  const first = [101, "2001:db8:1::1"] as const
  const second = [102, "2001:db8:1::2"] as const

  it("makes one multipath route", () => {
    assert.deepStrictEqual(planned(both, world([pod(1), pod(2)])).install, [show(route(V6, first, second))])
  })

  it("does not mind the order in which the kernel has the next hops", () => {
    assert.deepStrictEqual(planned(both, world([pod(1), pod(2)], [route(V6, second, first)])), {
      install: [],
      remove: []
    })
  })

  it("replaces, and does not delete, when one leaves", () => {
    assert.deepStrictEqual(planned(both, world([pod(1), pod(2, { ready: false })], [route(V6, first, second)])), {
      install: [show(route(V6, first))],
      remove: []
    })
  })

  it("puts routes that lose a next hop before new ones", () => {
    const w = world([pod(1), pod(2, { ready: false }), pod(3)], [route(V6, first, second)])
    assert.deepStrictEqual(planned([allocation(3, { anycast: ["2001:db8:a::3"] }), ...both], w).install, [
      show(route(V6, first)),
      show(route("2001:db8:a::3", [103, "2001:db8:1::3"]))
    ])
  })
})

describe("plan before the pod cache is complete", () => {
  const a = [allocation(1, { anycast: [V6] })]

  it("keeps what the kernel announces for a pod not seen yet", () => {
    const w = world([], [route(V6, [101, "2001:db8:1::1"])], { synced: false })
    assert.deepStrictEqual(planned(a, w), { install: [], remove: [] })
  })

  it("announces nothing new for it", () => {
    assert.deepStrictEqual(planned(a, world([], [], { synced: false })), { install: [], remove: [] })
  })

  it("believes the cache where it has the pod", () => {
    const w = world([pod(1, { ready: false })], [route(V6, [101, "2001:db8:1::1"])], { synced: false })
    assert.strictEqual(planned(a, w).remove.length, 1)
  })

  it("withdraws what no allocation holds", () => {
    assert.strictEqual(planned([], world([], [route(V6, [101])], { synced: false })).remove.length, 1)
  })
})

describe("makeIndex", () => {
  it("exports every announced address once, whatever the order of the allocations", () => {
    const list = [
      allocation(2, { anycast: [V6, V4, V6] }),
      allocation(1, { anycast: [V6], chosen: ["2001:db8:b::1"], ipv6: "2001:db8:b::1" }),
      allocation(3)
    ]
    const exportSet = makeIndex(list).exportSet.map(formatAddress)
    assert.deepStrictEqual(exportSet.toSorted(), [V4, V6, "2001:db8:b::1"].toSorted())
    assert.deepStrictEqual(makeIndex(list.toReversed()).exportSet.map(formatAddress), exportSet)
  })

  it("takes an address that is listed as chosen and as anycast for chosen", () => {
    const holders = holdersOf(allocation(1, { chosen: [V6], ipv6: V6, anycast: [V6] }))
    assert.deepStrictEqual(holders.map(({ kind }) => kind), ["chosen"])
  })

  it("takes a primary address for chosen, also in a record rebuilt from the kernel's routes", () => {
    const holders = holdersOf(allocation(1, { ipv6: V6, anycast: [V6, V4] }))
    assert.deepStrictEqual(holders.map(({ kind }) => kind), ["chosen", "anycast"])
  })
})
