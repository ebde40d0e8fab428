import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import type { PeerStatus } from "../../../src/bird/birdStatus.ts"
import { initial } from "../../../src/bird/birdStatus.ts"
import type { AntiSpoofingStatus } from "../../../src/firewall/AntiSpoofing.ts"
import { nodeCondition, nodeConfigStatus } from "../../../src/report/conditions.ts"
import type { Facts } from "../../../src/report/health.ts"
import { nodeConfig } from "../fixtures.ts"

const none = { announced: 0, learned: 0 }
const peer = (address: string, state: string, problem?: string): PeerStatus => ({
  address,
  asn: 65000,
  protocol: `peer_${address}`,
  state,
  since: "",
  lastError: "",
  ipv6: none,
  ipv4: none,
  ...(problem === undefined ? {} : { problem })
})

const facts = (peers: ReadonlyArray<PeerStatus>, antiSpoofing: AntiSpoofingStatus = { state: "on", exempt: [] }) => ({
  nodeConfig: { current: Option.some(nodeConfig()), rejected: Option.none() },
  usage: {},
  bird: { ...initial(true), up: true, peers },
  antiSpoofing,
  conflicts: [],
  host: [],
  newer: []
})

const statusWith = (...peers: ReadonlyArray<PeerStatus>) => {
  const status = nodeConfigStatus(facts(peers))
  return { peers: status.peers, bgp: status.conditions.find(({ type }) => type === "BGPEstablished") }
}

describe("a NodeConfig's status", () => {
  it("names an unnumbered peer by its interface, with address and AS number once they are known", () => {
    const unnumbered = (address: string, asn: number, state: string): PeerStatus => ({
      ...peer(address, state),
      asn,
      asnIs: "external",
      interface: "eth0"
    })
    const waiting = statusWith(unnumbered("", 0, "Down"))
    assert.deepStrictEqual(waiting.peers, [{ interface: "eth0", state: "Down" }])
    assert.include(waiting.bgp?.message, "not eth0 (AS external)")
    const up = statusWith(unnumbered("fe80::1%eth0", 65100, "Established"))
    assert.deepStrictEqual(up.peers, [
      { interface: "eth0", address: "fe80::1%eth0", asn: 65100, state: "Established" }
    ])
  })

  it("says which template a node follows, or why it cannot", () => {
    const origin = { name: "rack-a", generation: 3, orphaned: false, onTrial: false }
    const trouble = { reason: "Unresolved", message: "the Node has no label \"asn\"" }
    const said = (template: Partial<typeof origin>, why?: typeof trouble) => {
      const current = Option.some({ ...nodeConfig(), template: { ...origin, ...template } })
      const all = { ...facts([]), nodeConfig: { current, rejected: Option.none() } }
      const condition = nodeConfigStatus({ ...all, ...(why === undefined ? {} : { template: why }) }).conditions.find((
        { type }
      ) => type === "FollowsTemplate")
      return [condition?.status, condition?.reason]
    }
    assert.deepStrictEqual(said({}), ["True", "Following"])
    assert.deepStrictEqual(said({ onTrial: true }), ["True", "OnTrial"])
    assert.deepStrictEqual(said({ orphaned: true }), ["False", "Orphaned"])
    assert.deepStrictEqual(said({}, trouble), ["False", "Unresolved"])
    const bare = { ...facts([]), nodeConfig: { current: Option.none(), rejected: Option.none() }, template: trouble }
    assert.deepInclude(nodeCondition(bare, { grace: false }), {
      status: "True",
      reason: "FlockCannotServe",
      message: "this node has no NodeConfig: the Node has no label \"asn\""
    })
  })

  it.each<[AntiSpoofingStatus, "True" | "False", string, RegExp]>([
    [{ state: "on", exempt: [] }, "True", "Enforced", /dropped/],
    [{ state: "off", exempt: [] }, "False", "SwitchedOff", /spec.antiSpoofing is false/],
    [
      { state: "failed", problem: "ENOENT: CONFIG_NFT_FIB_INET", exempt: [] },
      "False",
      "Unavailable",
      /any address: ENOENT/
    ]
  ])("says how anti-spoofing stands: %o", (state, status, reason, message) => {
    const condition = nodeConfigStatus(facts([], state)).conditions.find(({ type }) => type === "AntiSpoofing")
    assert.deepInclude(condition, { status, reason })
    assert.match(condition?.message ?? "", message)
  })

  it("says that NetworkPolicies are there and not flock's to enforce, and is Ready", () => {
    const api = { watches: [], refused: [], policies: { example: "shop/deny", count: 3 } }
    const ready = nodeConfigStatus({ ...facts([]), api }).conditions.find(({ type }) => type === "Ready")
    assert.strictEqual(ready?.status, "True")
    assert.match(
      ready?.message ?? "",
      /; flock enforces none of the cluster's NetworkPolicies \(3, such as shop\/deny\)$/
    )
  })

  const problem = "spec.bgp.peers[1].address: \"203.0.113.1\": the node has no address in its subnet"

  it("says a peer's problem at the peer and in the condition, which another peer keeps true", () => {
    const { bgp, peers } = statusWith(peer("192.0.2.1", "Established"), peer("203.0.113.1", "Down", problem))
    assert.deepStrictEqual(peers, [
      { address: "192.0.2.1", asn: 65000, state: "Established" },
      { address: "203.0.113.1", asn: 65000, state: "Down", problem }
    ])
    assert.deepInclude(bgp, {
      status: "True",
      message: `1 of 2 sessions are Established; not 203.0.113.1 (AS 65000); ${problem}`
    })
  })

  it("says which sessions are down, and which family is, to the Node and to NodeConfig; not each try of theirs", () => {
    const of = (...states: ReadonlyArray<string>) => {
      const addresses = ["2001:db8:ffff::1", "198.51.100.1", "198.51.100.2"]
      const all = facts(states.map((state, i) => peer(addresses[i] ?? "", state)))
      const { conditions, sessions } = nodeConfigStatus(all)
      const said = conditions.filter(({ type }) => type === "Ready" || type === "BGPEstablished")
      return { sessions, said: [nodeCondition(all, { grace: false }), ...said].map(({ message }) => message) }
    }
    const four = "none over IPv4; not 198.51.100.1 (AS 65000)"
    assert.deepStrictEqual(of("Established", "Active"), of("Established", "Connect"))
    for (const message of of("Established", "Active").said) {
      assert.include(message, `1 of 2 sessions are Established, ${four}`)
    }
    assert.strictEqual(of("Established", "Active").sessions, "1/2")
    for (const message of of("Established", "Active", "Established").said) {
      assert.include(message, "2 of 3 sessions are Established; not 198.51.100.1 (AS 65000)")
    }
    for (const message of of("Idle", "Established").said) {
      assert.include(message, "none over IPv6; not 2001:db8:ffff::1")
    }
    for (const message of of("Established", "Established").said) assert.notMatch(message, /none over|not 1/)
  })

  it("says that an operator withdrew the node, and names no fault", () => {
    const all = facts([peer("192.0.2.1", "Down")])
    const withdrawn = { ...all, bird: { ...all.bird, drained: true } }
    const { conditions, sessions } = nodeConfigStatus(withdrawn)
    const said = [nodeCondition(withdrawn, { grace: true }), ...conditions.filter(({ type }) => /Ready|BGP/.test(type))]
    assert.deepStrictEqual(said.map(({ reason }) => reason), [
      "FlockWithdrawn",
      "FlockWithdrawn",
      "BIRDRunning",
      "Withdrawn"
    ])
    for (const i of [0, 1, 3]) assert.match(said[i]?.message ?? "", /^withdrawn by an operator/)
    assert.strictEqual(sessions, "0/1")
  })

  it("does not say that routes are announced where nothing announces them", () => {
    const message = (over: Partial<Facts>, grace = false) => nodeCondition({ ...facts([]), ...over }, { grace }).message
    assert.match(message({}), /no peers are configured, so that nothing is announced/)
    assert.match(message({ bird: initial(false) }), /another's \(--no-bird\)/)
    assert.match(message(facts([peer("192.0.2.1", "Idle")]), true), /for less than 30 s: no BGP session is Established/)
  })

  it("is false where no session is up, and says why", () => {
    const { bgp } = statusWith(peer("203.0.113.1", "Down", problem))
    assert.deepInclude(bgp, {
      status: "False",
      message: `0 of 1 sessions are Established; not 203.0.113.1 (AS 65000); ${problem}`
    })
    assert.deepInclude(statusWith().bgp, { status: "True", message: "no peers are configured" })
  })
})
