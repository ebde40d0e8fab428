import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import type { PeerStatus } from "../../../src/bird/birdStatus.ts"
import { initial } from "../../../src/bird/birdStatus.ts"
import type { AntiSpoofingStatus } from "../../../src/firewall/AntiSpoofing.ts"
import { nodeConfigStatus } from "../../../src/report/conditions.ts"
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
  antiSpoofing
})

const statusWith = (...peers: ReadonlyArray<PeerStatus>) => {
  const status = nodeConfigStatus(facts(peers))
  return { peers: status.peers, bgp: status.conditions.find(({ type }) => type === "BGPEstablished") }
}

describe("a NodeConfig's status", () => {
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

  const problem = "spec.bgp.peers[1].address: \"203.0.113.1\": the node has no address in its subnet"

  it("says a peer's problem at the peer and in the condition, which another peer keeps true", () => {
    const { bgp, peers } = statusWith(peer("192.0.2.1", "Established"), peer("203.0.113.1", "Down", problem))
    assert.deepStrictEqual(peers, [
      { address: "192.0.2.1", asn: 65000, state: "Established" },
      { address: "203.0.113.1", asn: 65000, state: "Down", problem }
    ])
    assert.deepInclude(bgp, { status: "True", message: `1 of 2 sessions are Established; ${problem}` })
  })

  it("is false where no session is up, and says why", () => {
    const { bgp } = statusWith(peer("203.0.113.1", "Down", problem))
    assert.deepInclude(bgp, { status: "False", message: `0 of 1 sessions are Established; ${problem}` })
    assert.deepInclude(statusWith().bgp, { status: "True", message: "no peers are configured" })
  })
})
