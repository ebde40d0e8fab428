import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { parseAnnotations } from "../../../src/domain/annotations.ts"
import { formatAddress, formatCidr } from "../../../src/domain/Ip.ts"
import { anyUnit } from "../ipam/support.ts"

const PRINTABLE = /^[\x20-\x7e]*$/

describe("parseAnnotations", () => {
  it("reads all of them, with spaces around items", () => {
    const parsed = Result.getOrThrow(parseAnnotations({
      cidr6: "2001:db8:1:0:1::/80, 2001:db8::/32",
      cidr4: " 10.42.1.0/25 ",
      "ip-algo": "pod, namespace",
      ipv6: "true",
      ipv4: "false",
      anycast: "2001:db8:a::1,192.0.2.1",
      addresses: "2001:DB8:a::5"
    }))
    assert.deepStrictEqual(parsed.cidr6.map(formatCidr), ["2001:db8:1:0:1::/80", "2001:db8::/32"])
    assert.deepStrictEqual(parsed.cidr4.map(formatCidr), ["10.42.1.0/25"])
    assert.deepStrictEqual(parsed.ipAlgo, ["pod", "namespace"])
    assert.deepStrictEqual([parsed.ipv6, parsed.ipv4], [true, false])
    assert.deepStrictEqual(parsed.anycast.map(formatAddress), ["2001:db8:a::1", "192.0.2.1"])
    assert.deepStrictEqual(parsed.addresses.map(formatAddress), ["2001:db8:a::5"])
    assert.deepStrictEqual(parsed.warnings, [])
  })

  it("takes absent and empty ones for the same", () => {
    const names = ["cidr6", "cidr4", "ip-algo", "ipv6", "ipv4", "anycast", "addresses"]
    const empty = Object.fromEntries(names.map((name) => [name, " "]))
    assert.deepStrictEqual(parseAnnotations(empty), parseAnnotations({}))
    assert.deepStrictEqual(Result.getOrThrow(parseAnnotations({})), {
      cidr6: [],
      cidr4: [],
      anycast: [],
      addresses: [],
      warnings: []
    })
  })

  it("drops duplicates, however they are written", () => {
    const { addresses, anycast } = Result.getOrThrow(parseAnnotations({
      anycast: "2001:db8::1,2001:DB8:0::0:1,192.0.2.1,192.0.2.1",
      addresses: "192.0.2.9,192.0.2.9"
    }))
    assert.deepStrictEqual(anycast.map(formatAddress), ["2001:db8::1", "192.0.2.1"])
    assert.deepStrictEqual(addresses.map(formatAddress), ["192.0.2.9"])
  })

  it.each([
    ["cidr6", "10.0.0.0/8", /"10\.0\.0\.0\/8": not an IPv6 prefix, such as 2001:db8:1::\/64/],
    ["cidr4", "2001:db8::/32", /not an IPv4 prefix, such as 10\.42\.1\.0\/24/],
    ["cidr6", "2001:db8::1/64", /has host bits set: did you mean 2001:db8::\/64\?/],
    ["cidr4", "10.0.0.0/33", /the prefix length must be 0 to 32/],
    ["cidr4", "10.0.0.0", /not a prefix/],
    ["cidr4", "10.42.1.0/24,", /"": not a prefix/],
    ["cidr4", "10.42.1.0/25,nonsense", /"nonsense": not a prefix/],
    ["anycast", "192.0.2.1/32", /"192\.0\.2\.1\/32": not an IP address, such as/],
    ["anycast", "fe80::1%eth0", /not an IP address/],
    ["addresses", "example.org", /not an IP address/],
    ["addresses", "192.0.2.1,192.0.2.2", /more than one IPv4 address/],
    ["addresses", "2001:db8::1,192.0.2.2,2001:db8::2", /more than one IPv6 address/],
    ["ipv6", "yes", /"yes": must be "true" or "false"/],
    ["ipv4", "True", /"True": must be "true" or "false"/]
  ])("%s %j is refused", (annotation, text, message) => {
    const error = Result.getOrThrow(Result.flip(parseAnnotations({ [annotation]: text })))
    assert.deepStrictEqual([error.reason, error.annotation], ["Invalid", annotation])
    assert.match(error.message, new RegExp(`^annotation ${annotation}: `))
    assert.match(error.message, message)
  })

  it.each(["node", "namespace,namespace", "Pod", "namespace pod", "pod,", "\u0000"])(
    "ip-algo %j warns and counts as absent",
    (text) => {
      const parsed = Result.getOrThrow(parseAnnotations({ "ip-algo": text }))
      assert.isUndefined(parsed.ipAlgo)
      assert.lengthOf(parsed.warnings, 1)
      assert.match(parsed.warnings[0] ?? "", /^annotation ip-algo: .*; ignored$/)
    }
  )

  it("warns once about names that it does not know, and knows none from Object's prototype", () => {
    const { warnings } = Result.getOrThrow(parseAnnotations({ anycats: "192.0.2.1", constructor: "x", toString: "y" }))
    assert.lengthOf(warnings, 1)
    assert.match(warnings[0] ?? "", /"flock\.fritzlab\.net\/anycats" and 2 more ignored; flock reads cidr6, /)
  })

  it.each([
    ["a megabyte", "1".repeat(1_000_000), /more than 4096 characters long, which are the limit/],
    ["many items", Array.from({ length: 65 }, (_, i) => `192.0.2.${i}`).join(","), /65 items; 64 are the limit/],
    ["control bytes", "192.0.2.1\u0000\n\u001b[31m", /"192\.0\.2\.1\\u0000\\n\\u001b\[31m"/],
    ["right-to-left marks", "\u202e1.2.0.291", /"\\u202e1\.2\.0\.291"/],
    ["lone surrogates", "\ud800", /\\ud800/],
    ["a long item", "x".repeat(4000), /"x{70,80}\.\.\.: not an IP address/]
  ])("%s: a short printable error", (_, text, message) => {
    const error = Result.getOrThrow(Result.flip(parseAnnotations({ anycast: text })))
    assert.match(error.message, message)
    assert.match(error.message, PRINTABLE)
    assert.isBelow(error.message.length, 200)
  })

  it("never throws, and says nothing unprintable or long, whatever the text", () => {
    const names = fc.constantFrom("cidr6", "cidr4", "ip-algo", "ipv6", "ipv4", "anycast", "addresses", "other")
    const texts = fc.oneof(fc.string({ unit: anyUnit }), fc.string({ unit: fc.constantFrom(..."0123:./,f \u0007") }))
    fc.assert(fc.property(fc.dictionary(names, texts), (annotations) => {
      const result = parseAnnotations(annotations)
      const said = Result.isSuccess(result) ? result.success.warnings : [result.failure.message]
      for (const text of said) {
        assert.match(text, PRINTABLE)
        assert.isBelow(text.length, 300)
      }
    }))
  })
})
