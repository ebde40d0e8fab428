import { assert, describe, it } from "@effect/vitest"
import { occupiedNow, permission, words } from "../../../src/domain/announcement.ts"
import { address } from "../../../src/domain/Ip.ts"
import { type HostFacts, occupiedBy } from "../../../src/domain/occupied.ts"
import { nodeConfig } from "../fixtures.ts"

const facts: HostFacts = {
  addresses: [
    { address: address("198.51.100.11"), prefix: 24, ifName: "eth0", up: true },
    { address: address("2001:db8:ffff::11"), prefix: 64, ifName: "eth0", up: true },
    { address: address("203.0.113.1"), prefix: 24, ifName: "eth1", up: false },
    { address: address("192.0.2.99"), prefix: 32, ifName: "lo", up: true }
  ],
  gateways: [address("198.51.100.254"), address("192.0.2.200")]
}

const config = (anycast: object) =>
  nodeConfig({
    cidr6: "2001:db8:1::/64",
    cidr4: "10.42.1.0/24",
    anycast,
    bgp: { asn: 65001, peers: [{ address: "2001:db8:9::9", asn: 65000, multihop: 2 }] }
  }).spec

/** As if the operator had allowed everything that can be. */
const all = config({ allowedCIDRs: ["::/0", "0.0.0.0/0"] })

const verdict = (text: string, spec = all, namespace = "shop") => {
  const no = permission(address(text), { namespace, spec, occupied: occupiedBy(facts, spec) })
  return no === undefined ? "may be had" : words(no)
}

describe("what no pod may have, whatever is allowed", () => {
  it.each([
    ["198.51.100.11", "is this node's own address (eth0)"],
    ["192.0.2.99", "is this node's own address (lo)"],
    // Down, it is the node's all the same; its subnet is nobody's then.
    ["203.0.113.1", "is this node's own address (eth1)"],
    ["203.0.113.2", "may be had"],
    ["2001:db8:9::9", "is a router's address (spec.bgp.peers[0])"],
    ["2001:db8:9::8", "may be had"],
    ["198.51.100.254", "is the next hop of a route of this node"],
    ["192.0.2.200", "is the next hop of a route of this node"],
    [
      "198.51.100.77",
      "lies in 198.51.100.0/24, to which this node is connected (eth0); to allow it all the same, list 198.51.100.77/32 in spec.anycast"
    ],
    ["10.42.1.1", "is the gateway's address of this node; choose another"],
    ["127.0.0.1", "is loopback (RFC 1122); it must be ordinary unicast"]
  ])("%s %s", (text, said) => assert.strictEqual(verdict(text), said))

  it("an address of a connected subnet is allowed where it is listed exactly, the node's own is not", () => {
    const listed = config({
      allowedCIDRs: ["0.0.0.0/0", "198.51.100.77/32", "198.51.100.11/32"],
      grants: [{ cidr: "2001:db8:ffff::77/128", namespaces: ["shop"] }]
    })
    assert.strictEqual(verdict("198.51.100.77", listed), "may be had")
    assert.strictEqual(verdict("2001:db8:ffff::77", listed), "may be had")
    assert.match(verdict("2001:db8:ffff::77", listed, "other"), /^lies in .*gives to other namespaces than "other"$/)
    assert.match(verdict("198.51.100.78", listed), /^lies in 198\.51\.100\.0\/24, to which/)
    assert.match(verdict("198.51.100.11", listed), /^is this node's own/)
  })

  it("comes about, and goes, with the interfaces", () => {
    const none = occupiedBy({ addresses: [], gateways: [] }, all)
    assert.isUndefined(occupiedNow(address("198.51.100.77"), all, none))
    assert.strictEqual(occupiedNow(address("198.51.100.77"), all, occupiedBy(facts, all))?._tag, "Occupied")
  })
})
