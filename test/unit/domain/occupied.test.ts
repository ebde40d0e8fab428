import { assert, describe, it } from "@effect/vitest"
import { occupiedNow, permission, words } from "../../../src/domain/announcement.ts"
import { address, cidr } from "../../../src/domain/Ip.ts"
import { type HostFacts, occupiedBy } from "../../../src/domain/occupied.ts"
import { nodeConfig } from "../fixtures.ts"

const facts: HostFacts = {
  addresses: [
    { address: address("198.51.100.11"), prefix: 24, ifName: "eth0", up: true },
    { address: address("2001:db8:ffff::11"), prefix: 64, ifName: "eth0", up: true },
    { address: address("203.0.113.1"), prefix: 24, ifName: "eth1", up: false },
    { address: address("192.0.2.99"), prefix: 32, ifName: "lo", up: true }
  ],
  gateways: [address("198.51.100.254"), address("192.0.2.200")],
  routes: [],
  found: [],
  learned: []
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
    const none = occupiedBy({ addresses: [], gateways: [], routes: [], found: [], learned: [] }, all)
    assert.isUndefined(occupiedNow(address("198.51.100.77"), all, none))
    assert.strictEqual(occupiedNow(address("198.51.100.77"), all, occupiedBy(facts, all))?._tag, "Occupied")
  })
})

describe("the node's prefixes", () => {
  const spec = nodeConfig({
    cidr6: "2001:db8:1::/64",
    cidr4: "10.42.1.0/24",
    bgp: { asn: 65001, peers: [{ address: "192.0.2.1", asn: 65000 }] }
  }).spec
  const none: HostFacts = { addresses: [], gateways: [], routes: [], found: [], learned: [] }
  const on = (text: string, prefix: number, ifName = "eth1", up = true) => ({
    address: address(text),
    prefix,
    ifName,
    up
  })
  const to = (text: string, ifName = "eth0") => ({ destination: cidr(text), ifName })
  const from = (text: string, origin?: number) => ({
    destination: cidr(text),
    by: "192.0.2.1 (AS 65000)",
    origin
  })
  const conflicts = (facts: Partial<HostFacts>, of = spec) => occupiedBy({ ...none, ...facts }, of).conflicts

  const refused: ReadonlyArray<readonly [string, Partial<HostFacts>, 4 | 6, RegExp]> = [
    [
      "its own subnet",
      { addresses: [on("10.42.1.7", 24)] },
      4,
      /^spec\.cidr4 10\.42\.1\.0\/24 overlaps 10\.42\.1\.0\/24, .*\(eth1\)/
    ],
    ["a subnet inside", { addresses: [on("10.42.1.129", 25)] }, 4, /overlaps 10\.42\.1\.128\/25/],
    ["a subnet around", { addresses: [on("10.9.9.9", 8)] }, 4, /overlaps 10\.0\.0\.0\/8/],
    [
      "a /64 that a router advertised",
      { addresses: [on("2001:db8:1::5", 64)] },
      6,
      /spec\.cidr6 2001:db8:1::\/64 overlaps/
    ],
    ["a subnet on lo", { addresses: [on("10.42.1.1", 24, "lo")] }, 4, /\(lo\)/],
    ["a next hop in it", { gateways: [address("10.42.1.254")] }, 4, /contains 10\.42\.1\.254, the next hop/],
    [
      "another node's part of it",
      { routes: [to("10.42.1.128/25")] },
      4,
      /contains 10\.42\.1\.128\/25, .* another way \(eth0\)/
    ],
    ["all of it by another way", { routes: [to("2001:db8:1::/64")] }, 6, /contains 2001:db8:1::\/64/],
    [
      "a part of it that a router has",
      { learned: [from("10.42.1.128/25"), from("10.42.1.7/32")] },
      4,
      /contains 10\.42\.1\.128\/25, to which 192\.0\.2\.1 \(AS 65000\) has a route that leads elsewhere$/
    ],
    [
      "the same prefix on another node",
      { learned: [from("2001:db8:1::/64", 65002)] },
      6,
      /^spec\.cidr6 2001:db8:1::\/64 is another node's too: 192\.0\.2\.1 \(AS 65000\) has .*, where AS 65002 announces it$/
    ]
  ]
  it.each(refused)("are refused as a whole: %s", (_, facts, family, words) => {
    assert.match(conflicts(facts)[family] ?? "", words)
    assert.isUndefined(conflicts(facts)[family === 4 ? 6 : 4])
  })

  it("are refused with a router in them", () => {
    const inside = nodeConfig({
      cidr4: "10.42.1.0/24",
      bgp: { asn: 65001, peers: [{ address: "10.42.1.254", asn: 65000 }] }
    }).spec
    assert.match(conflicts({}, inside)[4] ?? "", /contains 10\.42\.1\.254, a router's address/)
  })

  const fine: ReadonlyArray<readonly [string, Partial<HostFacts>]> = [
    ["a link that is down", { addresses: [on("10.42.1.7", 24, "eth1", false)] }],
    ["link-local addresses", { addresses: [on("fe80::1", 64)] }],
    ["a default route", { routes: [to("0.0.0.0/0"), to("::/0")] }],
    ["a router's aggregate", { routes: [to("10.0.0.0/8"), to("2001:db8::/32")] }],
    ["other nodes' prefixes", { routes: [to("10.42.2.0/24"), to("2001:db8:2::/64")] }],
    ["single addresses", {
      addresses: [on("10.42.1.9", 32, "lo")],
      routes: [to("10.42.1.10/32")],
      learned: [from("10.42.1.11/32")]
    }]
  ]
  it.each(fine)("are not: %s", (_, facts) => assert.deepStrictEqual(conflicts(facts), {}))

  it("hold what the host sends elsewhere, and nothing outside of them", () => {
    const { held } = occupiedBy({
      addresses: [on("10.42.1.9", 32, "lo"), on("192.0.2.9", 32, "lo")],
      gateways: [],
      routes: [to("10.42.1.10/32"), to("2001:db8:1::10/128"), to("198.51.100.1/32")],
      found: [{ address: address("10.42.1.11"), is: "in use" }],
      learned: [from("10.42.1.12/32"), from("198.51.100.2/32")]
    }, spec)
    const { value } = address("10.42.1.9")
    assert.deepStrictEqual([...held[4]].toSorted(([a], [b]) => Number(a - b)), [
      [value, "this node's own address (lo)"],
      [value + 1n, "routed elsewhere by this node (eth0)"],
      [value + 2n, "in use"],
      [value + 3n, "announced to this node by 192.0.2.1 (AS 65000)"]
    ])
    assert.deepStrictEqual([...held[6].values()], ["routed elsewhere by this node (eth0)"])
  })
})
