import { assert, describe, it } from "@effect/vitest"
import {
  allocated,
  initial,
  nextDue,
  type State,
  takeSuspects,
  unreachable
} from "../../../src/attachments/attachmentsState.ts"
import { QUIET } from "../../../src/attachments/backOff.ts"
import { looked, nodePrepared, refused } from "../../../src/attachments/judge.ts"
import { changed, everythingSuspect } from "../../../src/attachments/suspects.ts"
import { aliasOf } from "../../../src/domain/Allocation.ts"
import { address, cidr } from "../../../src/domain/Ip.ts"
import { HOST_MAC, type HostChange, type HostDifference, type HostEnd } from "../../../src/netlink/Netlink.ts"
import { allocation, linkOf } from "../anycast/fakes.ts"

const ONE = allocation(1)
const TWO = allocation(2)
const LINK = linkOf(1)

const end = (n: number, more: Partial<HostEnd> = {}): HostEnd => ({
  ifName: linkOf(n),
  ifIndex: 100 + n,
  up: true,
  carrier: true,
  mtu: 1500,
  mac: HOST_MAC,
  alias: aliasOf(allocation(n)),
  master: undefined,
  arp: true,
  multicast: true,
  ipv6Disabled: false,
  ...more
})

const linkTold = (n: number, more: Partial<HostEnd> = {}, settled = true): HostChange => ({
  _tag: "HostLink",
  link: end(n, more),
  settled
})

const both = allocated(changed(initial, [linkTold(1), linkTold(2)]), [ONE, TWO])

const suspectsOf = (state: State, now = 0) => {
  const [{ node, plans }] = takeSuspects(state, now)
  return { node, links: plans.map(({ hostIfName }) => hostIfName) }
}

const gone = (what: string, more: Partial<HostDifference> = {}): HostDifference => ({
  hostIfName: LINK,
  kind: "route",
  what,
  words: `${what} is missing`,
  cuts: [4],
  repair: { messages: [], enableIpv6: false },
  ...more
})

const foreign = (more: Partial<HostDifference> = {}) =>
  gone("way to 10.42.1.2", { kind: "foreign-route", repair: undefined, ...more })

const look = (state: State, differences: ReadonlyArray<HostDifference>, now: number) => {
  const [{ plans }, next] = takeSuspects(everythingSuspect(state), now)
  return looked(next, { plans, differences, links: [] }, now)
}

describe("what is suspect", () => {
  const route = (text: string, more: Partial<Extract<HostChange, { _tag: "Route" }>> = {}): HostChange => ({
    _tag: "Route",
    destination: cidr(text),
    ifIndex: 0,
    gone: true,
    ...more
  })
  const cases: ReadonlyArray<
    readonly [string, HostChange, { readonly node?: boolean; readonly links?: ReadonlyArray<string> }]
  > = [
    ["a link that is as it should be", linkTold(1), {}],
    ["a link that is down", linkTold(1, { up: false }), { links: [LINK] }],
    ["another MTU", linkTold(1, { mtu: 1400 }), { links: [LINK] }],
    ["another alias", linkTold(1, { alias: "mine" }), { links: [LINK] }],
    ["a port of a bridge", linkTold(1, { master: 7 }), { links: [LINK] }],
    ["IPv6 off", linkTold(1, { ipv6Disabled: true }), { links: [LINK] }],
    ["a link whose settings differ", linkTold(1, {}, false), { node: true }],
    ["a pod that has set its end down", linkTold(1, { carrier: false }), {}],
    ["a link of an ADD that is under way", linkTold(3, { up: false, alias: "" }, false), {}],
    ["a link that was renamed", linkTold(1, { ifName: "other" }), { links: [LINK, linkOf(2)] }],
    ["somebody else's link with an alias", linkTold(9, { ifName: "eth0", alias: "uplink" }), {}],
    ["a link that was made", { _tag: "OtherLink" }, { node: true }],
    ["a route of ours that is gone", route("10.42.1.2/32"), { links: [LINK] }],
    ["somebody else's route to a pod", route("10.42.1.2/32", { gone: false, ifIndex: 7 }), { links: [LINK] }],
    ["somebody else's route elsewhere", route("10.42.9.9/32", { gone: false, ifIndex: 7 }), {}],
    ["a link's own route that is gone", route("fe80::/64", { ifIndex: 101 }), { links: [LINK] }],
    ["a pod's address on the node", { _tag: "Address", ifIndex: 1, address: address("10.42.1.2"), added: true }, {
      links: [LINK]
    }],
    ["a link's address that is gone", { _tag: "Address", ifIndex: 101, address: address("fe80::1"), added: false }, {
      links: [LINK]
    }],
    ["a link's address that has come", { _tag: "Address", ifIndex: 101, address: address("fe80::1"), added: true }, {}],
    ["a neighbour", { _tag: "Neighbour", ifIndex: 102 }, { links: [linkOf(2)] }],
    ["a neighbour of another link", { _tag: "Neighbour", ifIndex: 7 }, {}],
    ["forwarding of all", { _tag: "Setting", ifIndex: -1 }, { node: true }],
    ["a setting of a pod's link", { _tag: "Setting", ifIndex: 101 }, { node: true }],
    ["a setting of another link", { _tag: "Setting", ifIndex: 7 }, {}],
    ["messages lost", { _tag: "Overrun" }, { node: true, links: [LINK, linkOf(2)] }]
  ]
  it.each(cases)("%s", (_, change, { links = [], node = false }) => {
    assert.deepStrictEqual(suspectsOf(changed(both, [change])), { node, links })
  })

  it("a link whose allocation is gone is not", () => {
    const state = allocated(changed(both, [{ _tag: "LinkGone", ifName: LINK, ifIndex: 101 }]), [TWO])
    assert.deepStrictEqual(suspectsOf(state), { node: false, links: [] })
  })

  it("is so only once, and what changes nothing gives the same value", () => {
    const [, taken] = takeSuspects(changed(both, [linkTold(1, { mtu: 1400 })]), 0)
    assert.deepStrictEqual(suspectsOf(taken), { node: false, links: [] })
    assert.strictEqual(changed(both, [linkTold(1), { _tag: "Neighbour", ifIndex: 7 }]), both)
  })
})

describe("what a look finds", () => {
  it("is put right at once, said once, and looked at again a moment later", () => {
    const { fights, news, repair, state } = look(both, [gone("route to 10.42.1.2")], 0)
    assert.deepStrictEqual([repair.length, news.length, fights.length], [1, 1, 0])
    assert.strictEqual(nextDue(state, 0), 50)
    assert.deepStrictEqual(suspectsOf(state, 49).links, [])
    assert.deepStrictEqual(suspectsOf(state, 50).links, [LINK])
    assert.strictEqual(nextDue(look(state, [], 50).state, 50), undefined)
  })

  it("waits in a fight, is said once as one, and keeps the pod from being announced until there is quiet", () => {
    let state = both
    let said = 0
    let repairs = 0
    for (let now = 0; now < 20_000; now += 10) {
      const judged = look(state, [gone("route to 10.42.1.2")], now)
      state = judged.state
      repairs += judged.repair.length
      said += judged.fights.length
    }
    assert.strictEqual(said, 1)
    assert.isBelow(repairs, 16)
    assert.deepInclude(unreachable(state).get(LINK), { _tag: "Cut", cuts: [4] })
    state = look(state, [], 20_000).state
    assert.isTrue(unreachable(state).has(LINK), "right at this moment")
    assert.isFalse(unreachable(look(state, [], 20_000 + QUIET + 1).state).has(LINK))
  })

  it("one thing in a fight holds up no other", () => {
    let { state } = look(both, [gone("route to 10.42.1.2")], 0)
    for (let i = 1; i < 10; i++) state = look(state, [gone("route to 10.42.1.2")], i).state
    const { repair } = look(
      state,
      [gone("route to 10.42.1.2"), gone("MTU"), gone("MTU", { hostIfName: linkOf(2) })],
      10
    )
    assert.deepStrictEqual(repair.map(({ hostIfName, what }) => `${hostIfName} ${what}`), [
      `${LINK} MTU`,
      `${linkOf(2)} MTU`
    ])
  })

  it("a foreign route takes the pod's family away at once, and gives it back when it is gone", () => {
    const { repair, state } = look(both, [foreign()], 0)
    assert.deepStrictEqual(repair, [])
    assert.deepStrictEqual([...unreachable(state)], [[LINK, {
      _tag: "Cut",
      cuts: [4],
      words: "way to 10.42.1.2 is missing"
    }]])
    assert.strictEqual(nextDue(state, 0), undefined)
    assert.strictEqual(unreachable(look(state, [], 1).state).size, 0)
    // However often it was looked at: that is no repair, so it is no fight.
    let often = both
    for (let now = 0; now < 1000; now += 100) often = look(often, [foreign()], now).state
    assert.strictEqual(unreachable(look(often, [], 1000).state).size, 0)
  })

  it("a link that is gone is a problem only when it is gone the next time too: a DEL takes a moment", () => {
    const missing = gone("link", { kind: "gone", cuts: [4, 6], repair: undefined })
    const first = look(both, [missing], 0)
    assert.strictEqual(unreachable(first.state).size, 0)
    assert.strictEqual(nextDue(first.state, 0), 50)
    assert.strictEqual(unreachable(look(first.state, [missing], 60).state).size, 1)
    assert.strictEqual(unreachable(allocated(look(first.state, [missing], 60).state, [TWO])).size, 0)
  })

  it("is nothing where the attachment was deleted and added again meanwhile: the name is the same, the plan is not", () => {
    const [{ plans }, taken] = takeSuspects(everythingSuspect(both), 0)
    const again = allocated(taken, [{ ...ONE }, TWO])
    const { repair, state } = looked(
      again,
      { plans, differences: [gone("route to 10.42.1.2"), foreign()], links: [] },
      0
    )
    assert.deepStrictEqual([repair.length, unreachable(state).size], [0, 0])
  })

  it("what does not cut is no reason to withdraw", () => {
    const { state } = look(both, [gone("alias", { cuts: [], repair: undefined })], 0)
    assert.strictEqual(unreachable(state).size, 0)
  })

  it("a repair that the kernel refuses is a problem, unless the allocation is gone meanwhile", () => {
    const { state } = look(both, [gone("route to 10.42.1.2")], 0)
    const failures = [{ difference: gone("route to 10.42.1.2"), message: "EINVAL" }]
    assert.deepStrictEqual(
      unreachable(refused(state, failures)).get(LINK),
      { _tag: "Cut", cuts: [4], words: "route to 10.42.1.2 is missing (EINVAL)" }
    )
    assert.strictEqual(unreachable(refused(allocated(state, [TWO]), failures)).size, 0)
  })
})

describe("who cannot be reached", () => {
  it("is who has set its interface down, and not whose host end is down", () => {
    const down = changed(both, [linkTold(1, { carrier: false }), linkTold(2, { up: false, carrier: false })])
    assert.deepStrictEqual([...unreachable(down)], [[LINK, { _tag: "LinkDown" }]])
    assert.strictEqual(unreachable(changed(down, [linkTold(1)])).size, 0)
  })

  it("is nobody whose ADD is under way, and whoever is down when it is done", () => {
    const state = changed(initial, [linkTold(1, { carrier: false })])
    assert.strictEqual(unreachable(state).size, 0)
    assert.strictEqual(unreachable(allocated(state, [ONE])).size, 1)
  })
})

describe("the node's settings", () => {
  it("in a fight are set every 2 s at most, are said once, and are a problem of the node", () => {
    let state = both
    let fights = 0
    let sets = 0
    for (let now = 0; now < 20_000; now += 10) {
      const [{ node }, next] = takeSuspects(changed(state, [{ _tag: "Setting", ifIndex: -1 }]), now)
      state = next
      if (!node) continue
      const judged = nodePrepared(state, { restored: ["ipv4/ip_forward=1"], problems: [] }, now)
      state = judged.state
      fights += judged.fight ? 1 : 0
      sets++
    }
    assert.strictEqual(fights, 1)
    assert.isBelow(sets, 16)
    assert.match(state.nodeProblem ?? "", /keeps changing what flock set: ipv4\/ip_forward=1/)
    const quiet = nodePrepared(state, { restored: [], problems: [] }, 20_000 + QUIET + 1)
    assert.isUndefined(quiet.state.nodeProblem)
  })

  it("that cannot be set are one", () => {
    const { state } = nodePrepared(both, { restored: [], problems: ["cannot set ipv4/ip_forward=1: EROFS"] }, 0)
    assert.strictEqual(state.nodeProblem, "cannot set ipv4/ip_forward=1: EROFS")
  })
})
