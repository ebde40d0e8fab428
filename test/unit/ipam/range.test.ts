import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { cidr, containsCidr, formatCidr, networkOf } from "../../../src/domain/Ip.ts"
import { effectiveRange } from "../../../src/ipam/range.ts"

const NODE6 = "2001:db8:1::/64"
const NODE4 = "10.42.1.0/24"

const range = (node: string, ...wanted: ReadonlyArray<string>) => effectiveRange(cidr(node), wanted.map(cidr))

describe("effectiveRange", () => {
  it.each([
    ["no annotation", NODE6, [], NODE6],
    ["equal", NODE6, [NODE6], NODE6],
    ["wider", NODE6, ["2001:db8::/32"], NODE6],
    ["everything", NODE6, ["::/0"], NODE6],
    ["inside, at the start", NODE6, ["2001:db8:1::/80"], "2001:db8:1::/80"],
    ["inside, at the end", NODE6, ["2001:db8:1:0:ffff::/80"], "2001:db8:1:0:ffff::/80"],
    ["smallest ordinary", NODE6, ["2001:db8:1::40/126"], "2001:db8:1::40/126"],
    ["fixed", NODE6, ["2001:db8:1::42/128"], "2001:db8:1::42/128"],
    ["first wins over a better second", NODE6, ["2001:db8:1:0:1::/80", NODE6], "2001:db8:1:0:1::/80"],
    ["disjoint ones are passed over", NODE6, ["2001:db8:2::/64", "2001:db8:1:0:1::/80"], "2001:db8:1:0:1::/80"],
    ["disjoint, then wider", NODE6, ["2001:db8:2::/64", "2001:db8::/32", "2001:db8:1:0:1::/80"], NODE6],
    ["no annotation", NODE4, [], NODE4],
    ["equal", NODE4, [NODE4], NODE4],
    ["wider", NODE4, ["10.0.0.0/8"], NODE4],
    ["everything", NODE4, ["0.0.0.0/0"], NODE4],
    ["inside", NODE4, ["10.42.1.128/25"], "10.42.1.128/25"],
    ["smallest ordinary", NODE4, ["10.42.1.252/30"], "10.42.1.252/30"],
    ["fixed", NODE4, ["10.42.1.7/32"], "10.42.1.7/32"],
    ["disjoint ones are passed over", NODE4, ["10.42.0.0/24", "10.42.1.64/26"], "10.42.1.64/26"],
    ["wider than the smallest node", "10.42.1.4/30", ["10.42.1.0/24"], "10.42.1.4/30"]
  ])("%s: %s with %j", (_, node, wanted, expected) => {
    assert.strictEqual(formatCidr(Result.getOrThrow(range(node, ...wanted))), expected)
  })

  it.each([
    [NODE6, ["2001:db8:2::/64"], "Disjoint", "cidr6", /2001:db8:2::\/64 does not overlap this node's 2001:db8:1::\/64/],
    [NODE6, ["2001:db8::/64", "2001:db8:2::1/128"], "Disjoint", "cidr6", /none of "2001:db8::\/64,2001:db8:2::1\/128"/],
    [NODE4, ["10.42.0.0/24"], "Disjoint", "cidr4", /10\.42\.0\.0\/24 does not overlap this node's 10\.42\.1\.0\/24/],
    [NODE4, ["10.42.2.0/32"], "Disjoint", "cidr4", /does not overlap/],
    [NODE6, [NODE4], "Invalid", "cidr6", /10\.42\.1\.0\/24 is not an IPv6 prefix/],
    [NODE4, [NODE4, NODE6], "Invalid", "cidr4", /2001:db8:1::\/64 is not an IPv4 prefix/],
    [NODE6, ["2001:db8:1::10/127"], "Invalid", "cidr6", /no address left .* use \/126 or shorter, or \/128/],
    [NODE4, ["10.42.1.8/31"], "Invalid", "cidr4", /no address left .* use \/30 or shorter, or \/32/]
  ])("%s with %j: %s", (node, wanted, reason, annotation, message) => {
    const error = Result.getOrThrow(Result.flip(range(node, ...wanted)))
    assert.deepStrictEqual([error.reason, error.annotation], [reason, annotation])
    assert.match(error.message, message)
  })

  it("is inside the node's CIDR and inside or wider than what was asked, whatever was asked", () => {
    const node = cidr(NODE4)
    const near = fc.tuple(fc.integer({ min: 0, max: 511 }), fc.integer({ min: 20, max: 32 })).map(([offset, prefix]) =>
      networkOf({ family: 4, value: node.base + BigInt(offset) }, prefix)
    )
    fc.assert(fc.property(fc.array(near, { maxLength: 4 }), (wanted) => {
      const result = effectiveRange(node, wanted)
      if (Result.isFailure(result)) return
      assert.isTrue(containsCidr(node, result.success))
      assert.isTrue(wanted.length === 0 || wanted.some((one) => containsCidr(one, result.success)))
    }))
  })
})
