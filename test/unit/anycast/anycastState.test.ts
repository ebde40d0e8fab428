import { assert, describe, it } from "@effect/vitest"
import { HashMap } from "effect"
import { type Action, type Event, initial, type State, step } from "../../../src/anycast/anycastState.ts"
import { destinationKey } from "../../../src/anycast/holders.ts"
import { LINGER_MS } from "../../../src/anycast/linger.ts"
import { lacksLink, lookOf, needsFullPass, planPass, takeBatch } from "../../../src/anycast/pass.ts"
import { formatAddress, formatCidr } from "../../../src/domain/Ip.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import { type PodInfo, podKey } from "../../../src/domain/Pod.ts"
import { allocation, linkOf, pod, route, show } from "./fakes.ts"

const V6 = "2001:db8:a::1"
const OTHER = "2001:db8:a::2"
const ROUTE = route(V6, [101, "2001:db8:1::1"])
const KEY = destinationKey(ROUTE.destination)
const OTHER_KEY = destinationKey(route(OTHER).destination)
const lingering = { ...ROUTE, protocol: 202 }
const WEB = podKey(pod(1))

const link = (n: number) => ({ ifName: linkOf(n), ifIndex: 100 + n })
const read: Event = { _tag: "AllocationsRead", allocations: [allocation(1, { anycast: [V6] })] }
const links: Event = { _tag: "LinksRead", links: [link(1), link(2)] }
const routes = (kernel: ReadonlyArray<typeof ROUTE>): Event => ({
  _tag: "RoutesRead",
  installed: kernel,
  lingering: kernel.map((each) => ({ ...each, protocol: 202 }))
})
const changed = (...pods: ReadonlyArray<string>): Event => ({ _tag: "PodsChanged", pods, at: 7n })
const removed: Event = { _tag: "KernelChanged", changes: [{ _tag: "RouteRemoved", route: ROUTE }] }
const linkGone: Event = {
  _tag: "KernelChanged",
  changes: [{ _tag: "LinkRemoved", ifName: linkOf(1), ifIndex: 101 }]
}

const words = (action: Action): string => {
  switch (action._tag) {
    case "GiveExportSet":
      return `give ${action.addresses.map(formatAddress).join(" ")}`
    case "Report":
      return [
        ...action.installed.map(({ destination }) => `+${formatCidr(destination)}`),
        ...action.removed.map(({ destination }) => `-${formatCidr(destination)}`)
      ].join(" ")
    default:
      return action._tag
  }
}

/** The state after these events, and what all of them wanted done. */
const after = (...events: ReadonlyArray<Event>) => {
  let state = initial
  const actions: Array<string> = []
  for (const event of events) {
    const next = step(state, event)
    state = next.state
    actions.push(...next.actions.map(words))
  }
  return { state, actions }
}

const cache = (pods: ReadonlyArray<PodInfo>, synced = true) => ({
  pods: new Map(pods.map((it) => [podKey(it), it])),
  synced,
  unreachable: new Map(),
  spec: undefined,
  occupied: NOTHING_OCCUPIED
})

const taken = (added: ReadonlyArray<typeof ROUTE>, deleted: ReadonlyArray<typeof ROUTE> = []) => ({ added, deleted })

describe("step: what an event wants done", () => {
  it.each<[string, ReadonlyArray<Event>, ReadonlyArray<string>]>([
    ["marks wake the worker", [{ _tag: "FullPassDue" }, changed(WEB)], ["Wake", "Wake"]],
    ["the first reading gives BIRD its export set, also an empty one", [{ ...read, allocations: [] }], ["give "]],
    ["an export set is given once", [read, read], [`give ${V6}`]],
    ["an allocation without announced addresses changes nothing", [
      read,
      { ...read, allocations: [...read.allocations, allocation(2)] }
    ], [`give ${V6}`]],
    ["a DEL takes its address from the export set", [read, { ...read, allocations: [] }], [`give ${V6}`, "give "]],
    ["a route of another protocol is nobody's business", [{
      _tag: "KernelChanged",
      changes: [{ _tag: "RouteRemoved", route: { ...ROUTE, protocol: 200 } }]
    }], []],
    ["a route that somebody removed is", [removed], ["Wake"]],
    ["an overrun is", [{ _tag: "KernelChanged", changes: [{ _tag: "Overrun" }] }], ["Wake"]],
    ["what appeared is reported", [{ _tag: "Installed", taken: taken([ROUTE]) }], [`+${V6}/128`]],
    ["what went is reported", [routes([ROUTE]), { _tag: "Installed", taken: taken([], [ROUTE]) }], [`-${V6}/128`]],
    ["another next hop is neither", [routes([ROUTE]), { _tag: "Installed", taken: taken([ROUTE]) }], []],
    ["what the kernel did not take is not", [routes([ROUTE]), { _tag: "Installed", taken: taken([]) }], []],
    ["nothing lingers: no timer", [{ _tag: "Lingering", taken: taken([lingering]), leaveAt: HashMap.empty() }], []],
    ["something lingers: a timer", [
      { _tag: "Lingering", taken: taken([]), leaveAt: HashMap.make([KEY, 500]) }
    ], ["LeaveLater"]]
  ])("%s", (_, events, actions) => {
    assert.deepStrictEqual(after(...events).actions, actions)
  })

  it("leaves the state that it was given as it was", () => {
    const { state } = after(read, links, routes([ROUTE]), changed(WEB))
    const before = JSON.stringify([...HashMap.entries(state.installed)].map(([key]) => key))
    step(state, { _tag: "Installed", taken: taken([], [ROUTE]) })
    step(state, removed)
    takeBatch(state)
    assert.strictEqual(JSON.stringify([...HashMap.entries(state.installed)].map(([key]) => key)), before)
    assert.strictEqual(state.pending.routes.size, 0)
    assert.strictEqual(HashMap.size(state.pending.pods), 1)
  })
})

/** Takes the batch and says what it is about. */
const look = (...events: ReadonlyArray<Event>) => {
  const [batch, state] = takeBatch(after(...events).state)
  const { keys, seen } = lookOf(state, batch)
  return { batch, state, keys: [...keys], seen: [...seen], full: needsFullPass(state, batch) }
}

describe("a batch", () => {
  const loaded = [read, links, routes([ROUTE])] as const

  it.each<[string, ReadonlyArray<Event>, ReadonlyArray<string>, boolean]>([
    [
      "a pod's flip is about its addresses only",
      [
        { ...read, allocations: [...read.allocations, allocation(2, { anycast: [OTHER] })] },
        routes([ROUTE]),
        changed(WEB)
      ],
      [KEY],
      false
    ],
    ["a pod without announced addresses is about none", [...loaded, changed("default/other")], [], false],
    ["a lost route is about it", [...loaded, removed], [KEY], false],
    ["our own deletion is about none", [read, links, routes([]), removed], [], false],
    ["a link that announces wants a full pass", [...loaded, linkGone], [], true],
    [
      "another pod's link does not",
      [
        ...loaded,
        { _tag: "KernelChanged", changes: [{ _tag: "LinkRemoved", ifName: linkOf(2), ifIndex: 102 }] }
      ],
      [],
      false
    ],
    ["an overrun wants a full pass", [...loaded, { _tag: "KernelChanged", changes: [{ _tag: "Overrun" }] }], [], true],
    ["before the kernel was read everything does", [read, changed(WEB)], [KEY], true],
    [
      "a timer is about what lingers",
      [
        ...loaded,
        { _tag: "Lingering", taken: taken([]), leaveAt: HashMap.make([OTHER_KEY, 1]) },
        { _tag: "LeaveDue" }
      ],
      [OTHER_KEY],
      false
    ]
  ])("%s", (_, events, keys, full) => {
    const found = look(...events)
    assert.deepStrictEqual([found.keys, found.full], [keys, full])
  })

  it("is about the addresses that an allocation had as well as those that it has", () => {
    const [batch, taking] = takeBatch(after(read, { _tag: "AllocationsChanged" }).state)
    const { state } = step(taking, { _tag: "AllocationsRead", allocations: [allocation(1, { anycast: [OTHER] })] })
    assert.sameMembers([...lookOf(state, batch).keys], [KEY, OTHER_KEY])
  })

  it("times a pod from the first of its transitions, and starts anew after it was taken", () => {
    const { state } = after(...loaded, changed(WEB), { ...changed(WEB), at: 9n } as Event)
    const [batch, rest] = takeBatch(state)
    assert.deepStrictEqual([...lookOf(rest, batch).seen], [[KEY, 7n]])
    assert.strictEqual(lookOf(rest, takeBatch(rest)[0]).keys.size, 0)
  })

  it("forgets the link and the route that are gone", () => {
    const { state } = look(...loaded, removed, linkGone)
    assert.isFalse(HashMap.has(state.installed, KEY))
    assert.deepStrictEqual([...state.links.keys()], [linkOf(2)])
    assert.isTrue(lacksLink(state, new Set([KEY])))
    assert.isFalse(lacksLink(step(state, links).state, new Set([KEY])))
  })
})

describe("planPass", () => {
  const plan = (state: State, pods: ReadonlyArray<PodInfo>, now: number) => {
    const { installed, leaveAt, lingering } = planPass(state, cache(pods), new Set([KEY]), now)
    const of = ({ install, remove }: typeof installed) => [
      ...remove.map((it) => `-${show(it)}`),
      ...install.map((it) => `+${show(it)}`)
    ]
    return { installed: of(installed), lingering: of(lingering), leaveAt }
  }
  const { state } = after(read, links, routes([ROUTE]))

  it("changes nothing that is right", () => {
    const { installed, leaveAt, lingering } = plan(state, [pod(1)], 1000)
    assert.deepStrictEqual([installed, lingering, HashMap.size(leaveAt)], [[], [], 0])
  })

  it("gives a route that leaves its time, once", () => {
    const first = plan(state, [], 1000)
    assert.deepStrictEqual([first.installed, first.lingering], [[`-${show(ROUTE)}`], []])
    assert.deepStrictEqual([...HashMap.entries(first.leaveAt)], [[KEY, 1000 + LINGER_MS]])
    const later = step(state, { _tag: "Lingering", taken: taken([]), leaveAt: first.leaveAt }).state
    assert.deepStrictEqual(plan(later, [], 1499).lingering, [])
    assert.deepStrictEqual([...HashMap.values(plan(later, [], 1499).leaveAt)], [1000 + LINGER_MS])
    assert.deepStrictEqual(plan(later, [], 1500).lingering, [`-${show(ROUTE)}`])
    assert.strictEqual(HashMap.size(plan(later, [pod(1)], 1499).leaveAt), 0)
  })

  it("forgets the time when the route is gone", () => {
    const { state: gone } = after(read, links, routes([]), {
      _tag: "Lingering",
      taken: taken([]),
      leaveAt: HashMap.make([KEY, 500])
    })
    assert.strictEqual(HashMap.size(plan(gone, [], 600).leaveAt), 0)
  })
})
