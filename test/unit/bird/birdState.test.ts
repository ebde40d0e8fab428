import { assert, describe, it } from "@effect/vitest"
import { Option, Redacted } from "effect"
import { type Action, type Event, initialState, type State } from "../../../src/bird/birdEvents.ts"
import { step } from "../../../src/bird/birdState.ts"
import type { PeerStatus } from "../../../src/bird/birdStatus.ts"
import { NO_PROBE } from "../../../src/bird/linkRouter.ts"
import { keepsFile } from "../../../src/bird/wanted.ts"
import { address, cidr, formatCidr } from "../../../src/domain/Ip.ts"
import { NodeConfigUnreadable } from "../../../src/kube/KubeApi.ts"
import { nodeConfig } from "./inputs.ts"

const NOW = "2026-01-01T00:00:00Z"

const config = nodeConfig({
  cidr6: "2001:db8:1::/64",
  bgp: { asn: 65001, peers: [{ address: "2001:db8:ffff::1", asn: 65000 }] }
}, "node1")

const peer = (state: string, lastError = ""): PeerStatus => ({
  address: "2001:db8:ffff::1",
  asn: 65000,
  protocol: "peer_2001_db8_ffff__1",
  state,
  since: "",
  lastError,
  ipv6: { announced: 0, learned: 0 },
  ipv4: { announced: 0, learned: 0 }
})

const up = (peers: ReadonlyArray<PeerStatus>, at = 1000, generation = 1): Event => ({
  _tag: "Answered",
  answer: {
    _tag: "Up",
    version: "2.0.12",
    peers,
    hits: [],
    bfd: new Map(),
    unreachable: new Map(),
    learned: new Map(),
    overlaps: [],
    inForce: { routerId: undefined, hops: new Map() }
  },
  generation,
  at,
  now: NOW
})
const down = (at = 2000): Event => ({
  _tag: "Answered",
  answer: { _tag: "Down", error: "BIRD's control socket x: ENOENT" },
  generation: 1,
  at,
  now: NOW
})
const applied = (
  outcome: Extract<Event, { readonly _tag: "Applied" }>["outcome"],
  problems: ReadonlyArray<string> = []
) => ({ _tag: "Applied", outcome, problems, revision: "r1", milliseconds: 3, at: 5000 }) satisfies Event
const given = (...addresses: ReadonlyArray<string>): Event => ({
  _tag: "ExportSetGiven",
  addresses: addresses.map(address)
})
const wanted: Event = {
  _tag: "WantedRead",
  config,
  waiting: [],
  ceiling: 256,
  passwords: new Map(),
  found: new Map(),
  ends: new Map(),
  links: [],
  probed: NO_PROBE
}
const refused = { _tag: "Rejected", detail: "bird.conf.new:7:13 syntax error" } as const

const words = (action: Action): ReadonlyArray<string> => {
  switch (action._tag) {
    case "Log":
      return [`${action.level} ${action.message}`]
    case "RequestReload":
      return ["reload"]
    case "TellOverlaps":
      return [`learned: ${action.learned.map(({ by, destination }) => `${formatCidr(destination)} ${by}`).join()}`]
    case "ExportAgain":
      return [`export again to ${action.protocol}`]
    case "FindPortOwner":
      return ["who has port 179?"]
    case "SaveKept":
      return [`keep ${[...action.kept.ends.keys()].join(" ")}`]
    case "Enable":
      return [`enable ${action.protocols.join(" ")}`]
    case "Publish":
      return []
  }
}

const after = (...events: ReadonlyArray<Event>): { readonly state: State; readonly actions: ReadonlyArray<string> } => {
  let state = initialState
  const actions: Array<string> = []
  for (const event of events) {
    const next = step(state, event)
    state = next.state
    actions.push(...next.actions.flatMap(words))
  }
  return { state, actions }
}

describe("what an event wants done", () => {
  const comes = ["Info BIRD 2.0.12 is there", "reload"]
  const session = "BGP session with 2001:db8:ffff::1 (AS 65000)"

  it.each<[string, ReadonlyArray<Event>, ReadonlyArray<string>]>([
    ["the first export set opens the way, also an empty one", [given()], ["reload"]],
    ["a later one waits for its request", [given(), given("2001:db8:a::1")], ["reload"]],
    ["BIRD comes: it may run anything", [up([])], comes],
    ["BIRD answers on", [up([]), up([])], comes],
    ["BIRD came back between two questions", [up([]), up([], 1000, 2)], [...comes, "reload"]],
    ["BIRD goes, and stays away", [up([]), down(), down()], [
      ...comes,
      "Warn BIRD is gone: BIRD's control socket x: ENOENT"
    ]],
    ["BIRD was never there: nothing changed", [down()], ["reload"]],
    ["a session comes and goes", [up([]), up([peer("Established")]), up([peer("Idle", "Hold timer expired")])], [
      ...comes,
      `Info ${session} is Established`,
      `Warn ${session} is Idle: Hold timer expired`
    ]],
    ["what keeps a session down is said once", [
      up([]),
      up([peer("Active", "Connection refused")]),
      up([peer("Connect", "Connection refused")]),
      up([peer("Active", "No route to host")])
    ], [
      ...comes,
      `Warn ${session} does not come up: Connection refused`,
      `Warn ${session} does not come up: No route to host`
    ]],
    ["a refusal is an error, said once", [applied(refused), applied(refused)], [
      `Error BIRD refuses its configuration, the former one stays in force: ${refused.detail}`
    ]],
    ["a problem is said once, and again when it comes back", [
      applied({ _tag: "Unchanged" }, ["a"]),
      applied({ _tag: "Unchanged" }, ["a", "b"]),
      applied({ _tag: "Unchanged" }),
      applied({ _tag: "Unchanged" }, ["a"])
    ], ["Warn a", "Warn b", "Warn a"]],
    ["a failure is a problem", [{ _tag: "Failed", message: "ENOSPC" }, { _tag: "Failed", message: "ENOSPC" }], [
      "Warn ENOSPC"
    ]],
    ["a configuration that BIRD took", [applied({ _tag: "Applied" })], ["Info BIRD took a new configuration"]],
    ["one that waits for BIRD says nothing", [applied({ _tag: "NoBird", detail: "ENOENT" })], []]
  ])("%s", (_, events, actions) => {
    assert.deepStrictEqual(after(...events).actions, actions)
  })
})

describe("the status", () => {
  const statusOf = (...events: ReadonlyArray<Event>) => after(...events).state.status

  it("names configured peers that BIRD does not know", () => {
    assert.deepStrictEqual(statusOf(wanted, up([])).peers.map(({ address, state }) => [address, state]), [
      ["2001:db8:ffff::1", "Down"]
    ])
    assert.deepStrictEqual(statusOf(wanted, down()).peers.map(({ state }) => state), ["Down"])
    assert.strictEqual(statusOf(wanted, up([peer("Established")])).peers.length, 1)
  })

  it("is stale with all the reasons", () => {
    const { configError, stale } = statusOf(applied(refused, ["the NodeConfig is wrong"]), down())
    assert.isTrue(stale)
    assert.strictEqual(
      configError,
      "the NodeConfig is wrong; bird.conf.new:7:13 syntax error; BIRD's control socket x: ENOENT"
    )
    assert.isFalse(statusOf(applied(refused), applied({ _tag: "Applied" }), up([])).stale)
  })

  it("keeps a refusal through a failure of something else", () => {
    const { configError } = statusOf(applied(refused), { _tag: "Failed", message: "ENOSPC" }, up([]))
    assert.strictEqual(configError, `ENOSPC; ${refused.detail}`)
  })

  it("counts reloads and says that the node is withdrawn", () => {
    const { drained, reloads } = statusOf(
      applied({ _tag: "Applied" }),
      applied({ _tag: "Unchanged" }),
      applied({ _tag: "Applied" }),
      { _tag: "DrainAsked", drained: true },
      up([])
    )
    assert.deepStrictEqual([reloads, drained], [2, true])
  })

  it("hands the metrics the status before as well", () => {
    const { state } = after(up([peer("Established")]))
    const publish = step(state, up([])).actions.find(({ _tag }) => _tag === "Publish")
    assert.deepStrictEqual(
      publish?._tag === "Publish" ? [publish.before.peers.length, publish.now.peers.length] : [],
      [1, 0]
    )
  })
})

describe("changedAt, which makes the watch look more often", () => {
  it.each<[string, ReadonlyArray<Event>, number]>([
    ["BIRD comes", [up([], 1000)], 1000],
    ["nothing new", [up([], 1000), up([], 3000)], 1000],
    ["a session comes up", [up([], 1000), up([peer("Established")], 3000)], 3000],
    ["a session that cannot come up tries again", [up([peer("Active")], 1000), up([peer("Connect")], 3000)], 1000],
    ["a new configuration", [up([], 1000), applied({ _tag: "Applied" })], 5000],
    ["the same configuration", [up([], 1000), applied({ _tag: "Unchanged" })], 1000]
  ])("%s", (_, events, at) => {
    assert.strictEqual(after(...events).state.changedAt, at)
  })
})

describe("keepsFile", () => {
  const none = { current: Option.none(), rejected: Option.none() }
  const some = { current: Option.some(config), rejected: Option.none() }
  const rejected = Option.some(new NodeConfigUnreadable({ place: "nodeconfig.yaml:3:7", problem: "wrong" }))

  it.each<[string, Parameters<typeof keepsFile>[0], boolean]>([
    ["the export set is not known", { exportSet: undefined, nodeConfig: some, synced: true }, true],
    ["all is known", { exportSet: [], nodeConfig: some, synced: true }, false],
    ["the API server has not answered", { exportSet: [], nodeConfig: none, synced: false }, true],
    ["there is no NodeConfig", { exportSet: [], nodeConfig: none, synced: true }, false],
    ["the NodeConfig is bad and there is no former one", {
      exportSet: [],
      nodeConfig: { current: Option.none(), rejected },
      synced: true
    }, true],
    ["an edit is bad, the former one is known", {
      exportSet: [],
      nodeConfig: { current: Option.some(config), rejected },
      synced: false
    }, false]
  ])("%s", (_, facts, keeps) => {
    assert.strictEqual(keepsFile(facts), keeps)
  })
})

describe("passwords", () => {
  it("are those that were read last", () => {
    const passwords = new Map([["tor/password", Redacted.make("x")]])
    assert.strictEqual(after({ ...wanted, passwords } as Event).state.passwords, passwords)
  })
})

describe("what BIRD does not say again", () => {
  const last = (...events: ReadonlyArray<Event>) => {
    let state: State = initialState
    const all: Array<string> = []
    for (const event of events) {
      const next = step(state, event)
      state = next.state
      all.push(...next.actions.flatMap(words))
    }
    return { peer: state.status.peers[0], all }
  }
  const heard: Event = {
    _tag: "Heard",
    lines: ["peer_2001_db8_ffff__1: Received: Maximum number of prefixes reached: 0002"],
    now: "2026-01-01T00:00:07Z"
  }

  it("stays with the peer, while BIRD is away too, until the peer is gone", () => {
    const notification = { direction: "received", message: "Maximum number of prefixes reached", at: heard.now }
    const lost = up([peer("Active", "Socket: Connection reset by peer")])
    assert.deepEqual(last(wanted, up([peer("Established")]), heard, lost).peer?.lastNotification, notification)
    assert.deepEqual(last(wanted, heard, lost, down(), lost).peer?.lastNotification, notification)
    assert.isUndefined(last(wanted, heard, lost, up([]), up([peer("Idle")])).peer?.lastNotification)
  })

  it("keeps on disk what a session is Established with, once", () => {
    const established = up([{ ...peer("Established"), localAddress: "2001:db8:ffff::2" }])
    const saved = (...events: ReadonlyArray<Event>) => last(...events).all.filter((it) => it.startsWith("keep "))
    assert.deepStrictEqual(saved(wanted, up([peer("Active")]), down()), [])
    assert.deepStrictEqual(saved(wanted, established, established, up([peer("Active")]), down(), established), [
      "keep peer_2001_db8_ffff__1"
    ])
  })

  const deafAt = (at: number) => up([peer("Down", "Error: No listening socket")], at)
  const held = (sockets: string): Event => ({ _tag: "PortOwnerFound", port: { sockets, words: "bgpd (process 7)" } })

  it("asks who has the port while BIRD cannot listen, and says it as long", () => {
    const { all, peer: told } = last(wanted, deafAt(0), held("1"), deafAt(1), deafAt(2))
    assert.strictEqual(all.filter((it) => it === "who has port 179?").length, 3)
    assert.strictEqual(
      told?.problem,
      "BIRD cannot listen on port 179, which is taken by bgpd (process 7); the session is tried again until it is free"
    )
    const { all: after, peer: well } = last(wanted, deafAt(0), held("1"), deafAt(1), up([peer("Established")]))
    assert.strictEqual(after.filter((it) => it === "who has port 179?").length, 2)
    assert.isUndefined(well?.problem)
  })

  it("enables what BIRD gave up, says so once, and hurries when others listen than before", () => {
    const gaveUp = "Warn BGP session with 2001:db8:ffff::1 (AS 65000): BIRD gave it up for good " +
      "(Error: No listening socket); it is enabled again until it comes up"
    const enabled = "enable peer_2001_db8_ffff__1"
    const own = ({ all }: { readonly all: ReadonlyArray<string> }) =>
      all.filter((it) => it.startsWith("enable ") || it.includes("gave it up"))
    assert.deepStrictEqual(own(last(wanted, deafAt(0), deafAt(999))), [])
    assert.deepStrictEqual(own(last(wanted, deafAt(0), deafAt(1000), deafAt(1001))), [gaveUp, enabled])
    assert.deepStrictEqual(own(last(wanted, deafAt(0), deafAt(1000), deafAt(3000))), [gaveUp, enabled, enabled])
    assert.deepStrictEqual(own(last(wanted, deafAt(0), held("1"), deafAt(1), held("2"), deafAt(2))), [
      gaveUp,
      enabled,
      enabled
    ])
    const drained: Event = { _tag: "DrainAsked", drained: true }
    assert.deepStrictEqual(own(last(wanted, drained, deafAt(0), deafAt(60_000))), [])
    const { all, peer: told } = last(wanted, up([peer("Down", "Error: Kernel MD5 auth failed")], 0))
    assert.notInclude(all, "who has port 179?")
    assert.include(told?.problem, "BIRD gave the session up (Error: Kernel MD5 auth failed); it is tried again")
  })
})

describe("routes in the node's own prefixes", () => {
  const has = (at: number, ...prefixes: ReadonlyArray<string>): Event => {
    const event = up([peer("Established")], at)
    if (event._tag !== "Answered" || event.answer._tag !== "Up") return event
    const overlaps = prefixes.map((text) => ({
      destination: cidr(text),
      protocol: "peer_2001_db8_ffff__1",
      origin: undefined
    }))
    return { ...event, answer: { ...event.answer, overlaps } }
  }
  const told = (...events: ReadonlyArray<Event>) => after(...events).actions.filter((it) => it.startsWith("learned"))
  const TOLD = "learned: 2001:db8:1:0:8000::/66 2001:db8:ffff::1 (AS 65000)"
  const PART = "2001:db8:1:0:8000::/66"

  it("are told of once they have stood, and when they are gone", () => {
    assert.deepStrictEqual(told(has(1000, PART), has(9000, PART)), [])
    assert.deepStrictEqual(told(has(1000, PART), has(11_000, PART), has(13_000, PART)), [TOLD])
    assert.deepStrictEqual(told(has(1000, PART), has(11_000, PART), has(13_000)), [TOLD, "learned: "])
  })

  it("are known still while BIRD does not answer, and not of a blip", () => {
    assert.deepStrictEqual(told(has(1000, PART), has(11_000, PART), down(12_000), has(13_000, PART)), [TOLD])
    assert.deepStrictEqual(told(has(1000, PART), has(3000), has(5000, PART), has(12_000, PART)), [])
  })
})
