import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import * as fc from "fast-check"
import {
  address,
  AddressFromString,
  bitsOf,
  type Cidr,
  cidr,
  CidrFromString,
  contains,
  containsCidr,
  equalAddress,
  equalCidr,
  type Family,
  formatAddress,
  formatCidr,
  fromBytes,
  hostCidr,
  type IpAddress,
  lastOf,
  networkOf,
  overlaps,
  parseAddress,
  parseCidr,
  sizeOf,
  toBytes
} from "../../../src/domain/Ip.ts"

const addresses: fc.Arbitrary<IpAddress> = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 32n) - 1n }).map((value): IpAddress => ({ family: 4, value })),
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value): IpAddress => ({ family: 6, value })),
  // Many zero groups, so that "::" has something to do.
  fc.array(fc.constantFrom(0n, 0n, 0n, 1n, 0xffffn), { minLength: 8, maxLength: 8 }).map((groups): IpAddress => ({
    family: 6,
    value: groups.reduce<bigint>((value, group) => value << 16n | group, 0n)
  }))
)

const cidrs: fc.Arbitrary<Cidr> = addresses.chain((address) =>
  fc.integer({ min: 0, max: bitsOf(address.family) }).map((prefix) => networkOf(address, prefix))
)

const everything = (family: Family): Cidr => ({ family, base: 0n, prefix: 0 })

describe("parseAddress and formatAddress", () => {
  it.each([
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["192.0.2.1", "192.0.2.1"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["2001:DB8::00ff", "2001:db8::ff"],
    // RFC 5952 section 4.2: the longest run, the first of equal ones, never a single group.
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["1:0:0:0:0:0:0:0", "1::"],
    ["::ffff:c000:201", "::ffff:c000:201"]
  ])("%s is written %s", (text, canonical) => {
    const parsed = parseAddress(text)
    assert.isDefined(parsed)
    assert.strictEqual(parsed && formatAddress(parsed), canonical)
  })

  it.each([
    "",
    " ",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.01",
    "010.0.0.1",
    "1.2.3.4.5",
    "0x7f.1",
    "2130706433",
    " 192.0.2.1",
    "192.0.2.1/32",
    ":",
    ":::",
    "1::2::3",
    "12345::",
    "g::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "fe80::1%eth0",
    "::ffff:192.0.2.1",
    "2001:db8::1\n",
    "[::1]",
    "::1\u0000",
    "１.2.3.4",
    "1".repeat(100_000)
  ])("%j is refused", (text) => assert.isUndefined(parseAddress(text)))

  it("read back what they wrote, and one address has one text", () =>
    fc.assert(fc.property(addresses, addresses, (a, b) => {
      assert.deepStrictEqual(parseAddress(formatAddress(a)), a)
      assert.deepStrictEqual(fromBytes(toBytes(a)), a)
      assert.strictEqual(toBytes(a).length, bitsOf(a.family) / 8)
      assert.strictEqual(equalAddress(a, b), formatAddress(a) === formatAddress(b))
    })))

  it("agree with the WHATWG URL parser on how IPv6 is written", () =>
    fc.assert(
      fc.property(
        addresses.filter((a) => a.family === 6),
        (a) => assert.strictEqual(`[${formatAddress(a)}]`, new URL(`http://[${formatAddress(a)}]/`).hostname)
      )
    ))

  it("network order", () => {
    assert.deepStrictEqual([...toBytes(address("192.0.2.1"))], [192, 0, 2, 1])
    assert.deepStrictEqual([...toBytes(address("2001:db8::1"))], [0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1])
  })
})

describe("parseCidr", () => {
  it.each(["0.0.0.0/0", "10.42.1.0/24", "192.0.2.1/32", "::/0", "2001:db8::/32", "2001:db8::1/128"])("%s", (text) => {
    assert.strictEqual(formatCidr(cidr(text)), text)
  })

  it.each([
    ["10.42.1.7/24", /host bits set: did you mean 10\.42\.1\.0\/24\?/],
    ["2001:db8::1/64", /did you mean 2001:db8::\/64\?/],
    ["10.0.0.0/33", /0 to 32/],
    ["::/129", /0 to 128/],
    ["10.0.0.0", /not a prefix/],
    ["10.0.0.0/", /not a prefix/],
    ["10.0.0.0/8/8", /not a prefix/],
    ["10.0.0.0/-1", /not a prefix/],
    ["10.0.0.0/255.0.0.0", /not a prefix/],
    ["/24", /not a prefix/],
    ["", /not a prefix/]
  ])("%j is refused", (text, problem) => {
    const parsed = parseCidr(text)
    assert.match("problem" in parsed ? parsed.problem : "", problem)
    assert.throws(() => cidr(text), problem)
  })
})

describe("prefixes", () => {
  it("contain their first and last address and nothing next to them", () =>
    fc.assert(fc.property(cidrs, (range) => {
      const at = (value: bigint) => contains(range, { family: range.family, value })
      assert.deepStrictEqual([at(range.base), at(lastOf(range)), at(range.base - 1n), at(lastOf(range) + 1n)], [
        true,
        true,
        false,
        false
      ])
      assert.strictEqual(lastOf(range) - range.base + 1n, sizeOf(range))
      assert.deepStrictEqual(parseCidr(formatCidr(range)), range)
    })))

  it("either lie in one another or share nothing", () =>
    fc.assert(fc.property(cidrs, cidrs, fc.nat(128), (a, b, shorter) => {
      const wider = networkOf({ family: a.family, value: a.base }, Math.max(0, a.prefix - shorter))
      assert.isTrue(containsCidr(wider, a))
      assert.isTrue(overlaps(wider, a) && overlaps(a, wider))
      assert.strictEqual(containsCidr(a, wider), equalCidr(a, wider))
      assert.strictEqual(containsCidr(a, b) && containsCidr(b, a), equalCidr(a, b))
      const apart = a.family !== b.family || lastOf(a) < b.base || lastOf(b) < a.base
      assert.strictEqual(overlaps(a, b), !apart)
    })))

  it("of different families never mix", () => {
    assert.isFalse(contains(everything(4), { family: 6, value: 0n }))
    assert.isFalse(containsCidr(everything(6), everything(4)))
    assert.isFalse(equalCidr(everything(6), everything(4)))
    assert.isFalse(equalAddress({ family: 4, value: 1n }, { family: 6, value: 1n }))
  })

  it("of one address", () => {
    assert.strictEqual(formatCidr(hostCidr(address("192.0.2.1"))), "192.0.2.1/32")
    assert.strictEqual(formatCidr(hostCidr(address("2001:db8::1"))), "2001:db8::1/128")
  })
})

describe("schemas", () => {
  it("decode and encode text", () => {
    const decoded = Schema.decodeSync(AddressFromString)("2001:DB8::1")
    assert.strictEqual(Schema.encodeSync(AddressFromString)(decoded), "2001:db8::1")
    const range = Schema.decodeSync(CidrFromString)("10.42.0.0/16")
    assert.strictEqual(Schema.encodeSync(CidrFromString)(range), "10.42.0.0/16")
  })

  it.each(["x\u001b[31m", "\u202e", "y".repeat(1_000_000)])("quote what they refuse (case %#)", (text) => {
    for (const schema of [AddressFromString, CidrFromString]) {
      const result = Schema.decodeResult(schema)(text)
      assert.isTrue(Result.isFailure(result))
      if (Result.isFailure(result)) assert.match(String(result.failure.issue), /^[\x20-\x7e\n]{1,300}$/)
    }
  })
})
