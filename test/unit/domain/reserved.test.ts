import { assert, describe, it } from "@effect/vitest"
import { address, cidr, formatAddress, lastOf } from "../../../src/domain/Ip.ts"
import { gatewayOf, reservedIn, usableIn } from "../../../src/domain/reserved.ts"

describe("reservedIn", () => {
  it.each([
    ["10.42.1.0/24", "10.42.1.0", /network/],
    ["10.42.1.0/24", "10.42.1.1", /gateway/],
    ["10.42.1.0/24", "10.42.1.255", /broadcast/],
    ["10.42.1.4/30", "10.42.1.7", /broadcast/],
    ["2001:db8:1::/64", "2001:db8:1::", /subnet-router anycast/],
    ["2001:db8:1::/64", "2001:db8:1::1", /gateway/],
    ["2001:db8:1::/64", "2001:db8:1:0:fdff:ffff:ffff:ff80", /RFC 2526/],
    ["2001:db8:1::/64", "2001:db8:1:0:fdff:ffff:ffff:ffff", /RFC 2526/],
    ["2001:db8:1::/64", "2001:db8:1:0:ffff:ffff:ffff:ff80", /RFC 2526/],
    ["2001:db8:1::/48", "2001:db8:1:7::", /subnet-router anycast/],
    ["2001:db8:1::/48", "2001:db8:1:7:fdff:ffff:ffff:fffe", /RFC 2526/],
    ["2001:db8:1::/80", "2001:db8:1::ffff:ffff:ff80", /RFC 2526/],
    ["2001:db8:1::/120", "2001:db8:1::80", /RFC 2526/],
    ["2001:db8:1::4/126", "2001:db8:1::5", /gateway/]
  ])("%s keeps %s", (range, kept, why) => assert.match(reservedIn(cidr(range), address(kept)) ?? "", why))

  it.each([
    ["10.42.1.0/24", "10.42.1.2"],
    ["10.42.1.0/24", "10.42.1.254"],
    ["10.42.1.0/24", "10.42.2.0"],
    ["10.42.1.7/32", "10.42.1.7"],
    ["2001:db8:1::/64", "2001:db8:1::2"],
    ["2001:db8:1::/64", "2001:db8:1:0:fdff:ffff:ffff:ff7f"],
    ["2001:db8:1::/64", "2001:db8:1:0:fe00::"],
    ["2001:db8:1::/64", "2001:db8:1:0:ffff:ffff:ffff:ff7f"],
    ["2001:db8:1::/48", "2001:db8:1:7::1"],
    ["2001:db8:1::/120", "2001:db8:1::7f"],
    ["2001:db8:1::/121", "2001:db8:1::7f"],
    ["2001:db8:1::4/126", "2001:db8:1::7"],
    ["2001:db8:1::/64", "10.42.1.0"],
    ["2001:db8:1::9/128", "2001:db8:1::9"]
  ])("%s lets a pod have %s", (range, free) => assert.isUndefined(reservedIn(cidr(range), address(free))))

  it.each([
    "10.42.1.4/30",
    "10.42.1.0/24",
    "2001:db8:1::4/126",
    "2001:db8:1::/121",
    "2001:db8:1::/120",
    "2001:db8::/114"
  ])(
    "usableIn counts what %s has left",
    (text) => {
      const range = cidr(text)
      let usable = 0n
      for (let value = range.base; value <= lastOf(range); value++) {
        if (reservedIn(range, { family: range.family, value }) === undefined) usable++
      }
      assert.strictEqual(usableIn(range), usable)
    }
  )

  it("the IPv4 gateway is the node CIDR's first address", () =>
    assert.strictEqual(formatAddress(gatewayOf(cidr("10.42.1.64/26"))), "10.42.1.65"))
})
