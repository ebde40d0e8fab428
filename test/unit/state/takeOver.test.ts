import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import { aliasOf, type Allocation } from "../../../src/domain/Allocation.ts"
import { address, hostCidr } from "../../../src/domain/Ip.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import { primariesOf } from "../../../src/domain/PodAddresses.ts"
import type { HostLink, HostRoute } from "../../../src/netlink/Netlink.ts"
import { completeAll, completeFromPod, completeLate, exportedPrimariesAreChosen } from "../../../src/state/complete.ts"
import type { Newer } from "../../../src/state/format.ts"
import { type KernelState, takeOverPlan, withoutRecord } from "../../../src/state/takeOverPlan.ts"
import { addresses, addresses6, allocation, nodeConfig } from "../fixtures.ts"

const context = { bootId: "boot", spec: nodeConfig().spec, now: "2026-01-01T00:00:00.000Z", newer: [] }

const linkOf = (a: Allocation, ifIndex: number, over: Partial<HostLink> = {}): HostLink => ({
  ifName: a.hostIfName,
  ifIndex,
  alias: aliasOf(a),
  mtu: a.mtu,
  mac: "ee:ee:ee:ee:ee:ee",
  up: true,
  peerNsid: 0,
  ...over
})

const route = (text: string, ifIndex: number, protocol = 200): HostRoute => ({
  destination: hostCidr(address(text)),
  protocol,
  nextHops: [{ ifIndex, onlink: false }]
})

const kernel = (over: Partial<KernelState> = {}): KernelState => ({
  links: [],
  podRoutes: [],
  exportRoutes: [],
  inPods: new Map(),
  ...over
})

const mine = allocation()
const routes = [route("2001:db8:1::a", 7), route("10.42.1.2", 7)]

describe("take-over at start", () => {
  it("adopts a record whose link carries its name", () => {
    const plan = takeOverPlan([mine], [], kernel({ links: [linkOf(mine, 7)], podRoutes: routes }), context)
    assert.deepStrictEqual(plan, { adopt: [mine], drop: [], rebuild: [], remove: [], hold: [] })
  })

  it("drops a record whose link is gone, or is another attachment's now", () => {
    assert.deepStrictEqual(takeOverPlan([mine], [], kernel(), context).drop, [mine])
    const stranger = linkOf(mine, 7, { alias: aliasOf(allocation({ containerId: "c2" })) })
    const plan = takeOverPlan([mine], [], kernel({ links: [stranger], podRoutes: routes }), context)
    assert.deepStrictEqual(plan.drop, [mine])
    assert.deepStrictEqual(plan.rebuild.map((a) => a.containerId), ["c2"])
  })

  it("undoes an ADD that was cut short, though its link is whole", () => {
    const plan = takeOverPlan([], ["c1/eth0"], kernel({ links: [linkOf(mine, 7)], podRoutes: routes }), context)
    assert.deepStrictEqual(plan.remove.map((link) => link.ifName), [mine.hostIfName])
    assert.deepStrictEqual([plan.rebuild, plan.hold], [[], []])
  })

  it("rebuilds a lost record from the link's alias and routes", () => {
    const state = kernel({
      links: [linkOf(mine, 7)],
      podRoutes: routes,
      exportRoutes: [route("192.0.2.1", 7, 201)]
    })
    const [rebuilt] = takeOverPlan([], [], state, context).rebuild
    assert.deepStrictEqual(rebuilt, {
      ...mine,
      netns: "",
      pod: { ...mine.pod, uid: "" },
      addresses: addresses({ anycast: [address("192.0.2.1")] })
    })
  })

  it("believes the pod where no route tells: what nobody else has or says to have", () => {
    const own = [address("2001:db8:1::a"), address("10.42.1.2")]
    const say = (...more: ReadonlyArray<readonly [string, ReadonlyArray<string>]>) =>
      new Map([[mine.hostIfName, own], ...more.map(([name, list]) => [name, list.map((a) => address(a))] as const)])
    const primaries = (state: Partial<KernelState>, records: ReadonlyArray<Allocation> = []) =>
      takeOverPlan(records, [], kernel({ links: [linkOf(mine, 7)], inPods: say(), ...state }), context).rebuild
        .map((a) => primariesOf(a.addresses))
    assert.deepStrictEqual(primaries({}), [own])
    // The kernel's word counts for a family before the pod's, and nobody gets what somebody else's route or record has.
    assert.deepStrictEqual(primaries({ podRoutes: [route("10.42.1.9", 7)] }), [[
      own[0] ?? address("::"),
      address("10.42.1.9")
    ]])
    assert.deepStrictEqual(primaries({ podRoutes: [route("10.42.1.2", 3)] }), [[own[0] ?? address("::")]])
    const other = allocation({ containerId: "c2", hostIfName: "flock00000002" })
    const both = [linkOf(mine, 7), linkOf(other, 8)]
    assert.deepStrictEqual(primaries({ links: both }, [other]), [])
    // Two that say the same: one of them lies.
    assert.deepStrictEqual(primaries({ links: both, inPods: say(["flock00000002", ["10.42.1.2"]]) }), [[
      own[0] ?? address("::")
    ]])
  })

  it("asks about links that a record does not explain, and of no ADD that was cut short", () => {
    const names = (records: ReadonlyArray<Allocation>, interrupted: ReadonlyArray<string>, link: HostLink) =>
      withoutRecord(records, interrupted, [link]).map(({ owner }) => owner.containerId)
    assert.deepStrictEqual(names([], [], linkOf(mine, 7)), ["c1"])
    assert.deepStrictEqual(names([mine], [], linkOf(mine, 7)), [])
    assert.deepStrictEqual(names([mine], [], linkOf(mine, 7, { alias: "foreign words here too" })), [])
    assert.deepStrictEqual(names([mine], [], linkOf(mine, 7, { alias: "a/b c9 eth0" })), ["c9"])
    assert.deepStrictEqual(names([], ["c1/eth0"], linkOf(mine, 7)), [])
  })

  it("takes a primary address outside the node's prefixes for an operator's choice", () => {
    const state = kernel({ links: [linkOf(mine, 7)], podRoutes: [route("192.0.2.77", 7)] })
    const [rebuilt] = takeOverPlan([], [], state, context).rebuild
    assert.deepStrictEqual(rebuilt?.addresses.chosen, [address("192.0.2.77")])
  })

  it("removes links that nothing owns: no alias, no peer namespace, no address, a second one of the same name", () => {
    const cases: ReadonlyArray<readonly [HostLink, ReadonlyArray<HostRoute>]> = [
      [linkOf(mine, 7, { alias: "" }), routes],
      [linkOf(mine, 7, { alias: "not ours at all, really" }), routes],
      [(({ peerNsid: _, ...rest }) => rest)(linkOf(mine, 7)), routes],
      [linkOf(mine, 7), []]
    ]
    for (const [link, podRoutes] of cases) {
      const plan = takeOverPlan([], [], kernel({ links: [link], podRoutes }), context)
      assert.deepStrictEqual(plan.remove, [link])
      assert.deepStrictEqual([plan.rebuild, plan.hold], [[], []])
    }
    const twin = linkOf(mine, 8, { ifName: "flock00000002" })
    const plan = takeOverPlan([mine], [], kernel({ links: [linkOf(mine, 7), twin], podRoutes: routes }), context)
    assert.deepStrictEqual(plan.remove, [twin])
  })

  it("removes no link that a newer record may explain, rebuilds what the kernel tells, and holds what the record names", () => {
    const newer = (over: Partial<Newer>): Newer => ({
      file: "c1@eth0.json",
      version: 2,
      by: undefined,
      key: "c1/eth0",
      hostIfName: undefined,
      addresses: [address("10.42.1.2"), address("10.42.1.7")],
      ...over
    })
    const plan = (link: HostLink, podRoutes: ReadonlyArray<HostRoute>, ...found: ReadonlyArray<Newer>) =>
      takeOverPlan([], [], kernel({ links: [link], podRoutes }), { ...context, newer: found })
    const whole = linkOf(mine, 7)
    const known = plan(whole, routes, newer({}))
    assert.deepStrictEqual(known.rebuild.map(({ containerId }) => containerId), ["c1"])
    assert.deepStrictEqual([known.remove, known.hold], [[], [["c1@eth0.json", address("10.42.1.7")]]])
    const strange = linkOf(mine, 7, { alias: "" })
    for (
      const [link, found] of [
        [whole, newer({})],
        [strange, newer({ key: "c9/eth0", hostIfName: strange.ifName })],
        [strange, newer({ file: "format", key: undefined })]
      ] as const
    ) {
      const left = plan(link, [], found)
      assert.deepStrictEqual([left.rebuild, left.remove], [[], []], found.file)
      assert.deepStrictEqual(left.hold.map(([file]) => file), [found.file, found.file])
    }
    assert.deepStrictEqual(plan(strange, [], newer({})).remove, [strange])
    // a route's word is enough
    assert.deepStrictEqual(plan(whole, [...routes, route("10.42.1.7", 3)], newer({})).hold, [[
      "kernel:3",
      address("10.42.1.7")
    ]])
  })

  it("holds every address that a route of ours still has, whoever's link it is over", () => {
    const state = kernel({ links: [linkOf(mine, 7)], podRoutes: [...routes, route("10.42.1.99", 3)] })
    assert.deepStrictEqual(takeOverPlan([mine], [], state, context).hold, [["kernel:3", address("10.42.1.99")]])
  })
})

describe("a rebuilt allocation", () => {
  it("gets from its pod the UID and the anycast addresses that are allowed and of its families", () => {
    const spec =
      nodeConfig({ cidr6: "2001:db8:1::/64", anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] } }).spec
    const six = allocation({ addresses: addresses6({ anycast: [address("2001:db8:a::1")] }) })
    const pod = {
      namespace: "default",
      name: "web",
      uid: "u9",
      ready: true,
      deleting: false,
      annotations: { anycast: "2001:db8:a::1,2001:db8:a::2,2001:db8:b::1,192.0.2.1" }
    }
    const ground = { spec, occupied: NOTHING_OCCUPIED }
    const rubbish = { ...pod, annotations: { anycast: "rubbish" } }
    const all = pod.annotations.anycast.split(",").map(address)
    const { allocation: completed, left } = completeFromPod(six, { pod, addresses: all }, ground, [six])
    assert.strictEqual(completed.pod.uid, "u9")
    assert.deepStrictEqual(left, [
      "2001:db8:b::1 is not in this node's spec.anycast.allowedCIDRs, 2001:db8:a::/64, 192.0.2.0/24",
      "192.0.2.1 has no IPv4 address to reach it by"
    ])
    assert.deepStrictEqual(completed.addresses.anycast, [address("2001:db8:a::1"), address("2001:db8:a::2")])
    assert.deepStrictEqual(
      completeFromPod(six, { pod: rubbish, addresses: all }, ground, [six]).allocation.addresses,
      six.addresses
    )
  })

  it("has an exported primary address as a chosen one, for CHECK would look for the other kind on its lo", () => {
    const spec = nodeConfig({ cidr4: "10.42.1.0/24", anycast: { allowedCIDRs: ["192.0.2.0/24"] } }).spec
    const ground = { spec, occupied: NOTHING_OCCUPIED }
    const state = kernel({
      links: [linkOf(mine, 7)],
      podRoutes: [route("2001:db8:1::a", 7), route("192.0.2.77", 7)],
      exportRoutes: [route("192.0.2.77", 7, 201), route("192.0.2.1", 7, 201)]
    })
    const expected = { chosen: [address("192.0.2.77")], anycast: [address("192.0.2.1")] }
    const { rebuild } = completeAll([], takeOverPlan([], [], state, context).rebuild, [Option.none()], ground)
    assert.deepInclude(rebuild[0]?.addresses, expected)
    // Without a NodeConfig it is the kernel's word alone.
    const [unknown = mine] = takeOverPlan([], [], state, { ...context, spec: undefined }).rebuild
    assert.deepInclude(exportedPrimariesAreChosen(unknown).addresses, expected)
  })

  it("is filled in later where the NodeConfig was not known at first, and what was announced stays so", () => {
    const spec = nodeConfig({ cidr4: "10.42.1.0/24", anycast: { allowedCIDRs: ["192.0.2.0/24"] } }).spec
    const ground = { spec, occupied: NOTHING_OCCUPIED }
    const pod = { namespace: "default", name: "web", uid: "u9", ready: true, deleting: false }
    const late = (primary: string, exported: ReadonlyArray<string>, annotations: Record<string, string>) => {
      const state = kernel({
        links: [linkOf(mine, 7)],
        podRoutes: [route(primary, 7)],
        exportRoutes: exported.map((it) => route(it, 7, 201))
      })
      const [rebuilt = mine] = takeOverPlan([], [], state, { ...context, spec: undefined }).rebuild.map(
        exportedPrimariesAreChosen
      )
      const evidence = { pod: { ...pod, annotations }, addresses: [address("192.0.2.1")] }
      const { allocation } = completeLate(rebuilt, evidence, ground, [rebuilt])
      assert.strictEqual(allocation.pod.uid, "u9")
      return allocation.addresses
    }
    const own = late("10.42.1.2", [], { anycast: "192.0.2.1" })
    assert.deepStrictEqual(own.gateway4, address("10.42.1.1"))
    assert.deepStrictEqual([own.chosen, own.anycast], [[], [address("192.0.2.1")]])
    const chosen = late("192.0.2.77", [], {})
    assert.deepStrictEqual([chosen.chosen, chosen.anycast], [[address("192.0.2.77")], []])
    const announced = late("192.0.2.77", ["192.0.2.77"], {})
    assert.deepStrictEqual([announced.chosen, announced.anycast], [[address("192.0.2.77")], []])
    const foreign = late("198.51.100.7", [], {})
    assert.deepStrictEqual(foreign.chosen, [])
  })

  it("gets nothing that ADD would refuse today: another pod's, the gateway's, multicast", () => {
    const everything = nodeConfig({ cidr6: "2001:db8:1::/64", anycast: { allowedCIDRs: ["::/0"] } }).spec
    const victim = allocation({ pod: { namespace: "a", name: "b", uid: "" }, addresses: addresses6() })
    const thief = allocation({ addresses: addresses6({ ipv6: address("2001:db8:1::b") }) })
    const annotations = { anycast: "2001:db8:1::a,2001:db8:1::b,2001:db8:1::1,ff02::1,2001:db8:7::7" }
    const pod = { namespace: "default", name: "web", uid: "u9", ready: true, deleting: false, annotations }
    const ground = { spec: everything, occupied: NOTHING_OCCUPIED }
    const { allocation: completed } = completeFromPod(
      thief,
      { pod, addresses: annotations.anycast.split(",").map(address) },
      ground,
      [victim, thief]
    )
    assert.deepStrictEqual(completed.addresses.anycast, [address("2001:db8:7::7")])
  })
})
