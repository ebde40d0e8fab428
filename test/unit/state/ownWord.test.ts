import { assert, describe, it } from "@effect/vitest"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import { believable } from "../../../src/state/ownWord.ts"
import { nodeConfig } from "../fixtures.ts"

const { spec } = nodeConfig({
  cidr6: "2001:db8:1::/64",
  cidr4: "10.42.1.0/24",
  anycast: { allowedCIDRs: ["2001:db8:a::/64"] }
})
const asking = {
  namespace: "default",
  name: "web",
  uid: "u1",
  ready: true,
  deleting: false,
  annotations: { addresses: "2001:db8:a::c,192.0.2.77" }
}

describe("what a pod says of itself", () => {
  it.each([
    ["both families", ["2001:db8:1::a", "10.42.1.2"], ["2001:db8:1::a", "10.42.1.2"]],
    ["the link-local address beside it", ["fe80::1", "2001:db8:1::a"], ["2001:db8:1::a"]],
    ["two of one family: who knows which", ["10.42.1.2", "10.42.1.3", "2001:db8:1::a"], ["2001:db8:1::a"]],
    ["the gateway", ["10.42.1.1"], []],
    ["the network and the broadcast address", ["10.42.1.0"], []],
    ["an address of the node", ["10.42.1.9"], []],
    ["the API server's", ["10.96.0.1", "2001:db8:9::1"], []],
    ["chosen, allowed and asked for", ["2001:db8:a::c"], ["2001:db8:a::c"]],
    ["allowed, not asked for", ["2001:db8:a::d"], []],
    ["asked for, not allowed", ["192.0.2.77"], []],
    ["nothing", [], []]
  ])("%s", (_, own, expected) => {
    const occupied = {
      ...NOTHING_OCCUPIED,
      addresses: { 4: new Map([[address("10.42.1.9").value, "the node's"]]), 6: new Map() }
    }
    const found = believable({ namespace: "default", own: own.map((a) => address(a)), pod: asking }, { spec, occupied })
    assert.deepStrictEqual(found.map(formatAddress), expected)
  })

  it("a pod that is not known chose nothing", () => {
    const own = [address("2001:db8:a::c"), address("10.42.1.2")]
    const found = believable({ namespace: "default", own, pod: undefined }, { spec, occupied: NOTHING_OCCUPIED })
    assert.deepStrictEqual(found.map(formatAddress), ["10.42.1.2"])
  })
})
