import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { address, type Cidr, cidr, formatAddress, lastOf } from "../../../src/domain/Ip.ts"
import { AddressTable } from "../../../src/ipam/AddressTable.ts"
import { plan } from "../../../src/ipam/choose.ts"
import type { Random } from "../../../src/ipam/pick.ts"
import type { AddressRequest } from "../../../src/ipam/reservation.ts"
import { pod, request, sequence, spec, withoutCidr } from "./support.ts"

const planned = (request: AddressRequest, random: Random = sequence(0x42n), table = new AddressTable()) =>
  Result.map(plan(table, request, random), ({ addresses, warnings }) => ({
    ipv6: addresses.ipv6 && formatAddress(addresses.ipv6),
    ipv4: addresses.ipv4 && formatAddress(addresses.ipv4),
    gateway4: addresses.gateway4 && formatAddress(addresses.gateway4),
    chosen: addresses.chosen.map(formatAddress),
    anycast: addresses.anycast.map(formatAddress),
    warnings
  }))

const errorOf = (...args: Parameters<typeof planned>) => Result.getOrThrow(Result.flip(planned(...args)))

const occupied = (...texts: ReadonlyArray<string>): AddressTable => {
  const table = new AddressTable()
  texts.forEach((text, i) => table.takePrimary(`other${i}/eth0`, `default/other-${i}`, address(text)))
  return table
}

const fill = (table: AddressTable, range: Cidr): AddressTable => {
  for (let value = range.base; value <= lastOf(range); value++) {
    table.takePrimary("filler/eth0", "default/filler", { family: range.family, value })
  }
  return table
}

describe("families", () => {
  const both = ["2001:db8:1::42", "10.42.1.2"]
  it.each([
    ["both by default", {}, {}, both],
    ["IPv4 off by default", { ipv4: false }, {}, [both[0], undefined]],
    ["IPv6 off by default", { ipv6: false }, {}, [undefined, both[1]]],
    ["IPv4 off by annotation", {}, { ipv4: "false" }, [both[0], undefined]],
    ["IPv6 off by annotation", {}, { ipv6: "false" }, [undefined, both[1]]],
    ["on by annotation over the default", { ipv4: false }, { ipv4: "true" }, both],
    ["swapped by annotation", { ipv4: false }, { ipv4: "true", ipv6: "false" }, [undefined, both[1]]]
  ])("%s", (_, defaults, annotations, expected) => {
    const result = Result.getOrThrow(planned(request(annotations, { spec: spec({ defaults }) })))
    assert.deepStrictEqual([result.ipv6, result.ipv4], expected)
    assert.strictEqual(result.gateway4, expected[1] && "10.42.1.1")
  })

  it("are those that the node has a CIDR of", () => {
    const only6 = Result.getOrThrow(planned(request({}, { spec: withoutCidr(4) })))
    assert.deepStrictEqual([only6.ipv6, only6.ipv4, only6.gateway4], ["2001:db8:1::42", undefined, undefined])
    const only4 = Result.getOrThrow(planned(request({}, { spec: withoutCidr(6) })))
    assert.deepStrictEqual([only4.ipv6, only4.ipv4, only4.gateway4], [undefined, "10.42.1.2", "10.42.1.1"])
  })

  it.each([
    [{ ipv6: "false", ipv4: "false" }, spec(), undefined, /neither IPv6 nor IPv4/],
    [{}, spec({ defaults: { ipv6: false, ipv4: false } }), undefined, /neither IPv6 nor IPv4/],
    [{ ipv6: "false" }, withoutCidr(4), undefined, /neither IPv6 nor IPv4/],
    [{ ipv4: "true" }, withoutCidr(4), "ipv4", /annotation ipv4: "true", but this node's NodeConfig has no cidr4/],
    [{ ipv6: "true" }, withoutCidr(6), "ipv6", /annotation ipv6: "true", but this node's NodeConfig has no cidr6/]
  ])("%j: an error", (annotations, spec, annotation, message) => {
    const error = errorOf(request(annotations, { spec }))
    assert.deepStrictEqual([error.reason, error.annotation], ["NoFamily", annotation])
    assert.match(error.message, message)
  })
})

const draws = (collisions: number) => sequence(...Array.from({ length: collisions }, () => 0x77n), 0x99n)

describe("IPv6", () => {
  it.each([
    ["all-zero", 0n],
    ["gateway", 1n],
    ["first of RFC 2526", 0xfdff_ffff_ffff_ff80n],
    ["last of RFC 2526", 0xfdff_ffff_ffff_ffffn],
    ["RFC 2526, identifier not EUI-64", 0xffff_ffff_ffff_ffffn],
    ["in use", 0x77n]
  ])("draws again: %s", (_, drawn) => {
    const result = planned(request(), sequence(drawn, 0x1234n), occupied("2001:db8:1::77"))
    assert.strictEqual(Result.getOrThrow(result).ipv6, "2001:db8:1::1234")
  })

  it("draws 16 times, not 17", () => {
    const taken = occupied("2001:db8:1::77")
    assert.strictEqual(Result.getOrThrow(planned(request(), draws(15), taken)).ipv6, "2001:db8:1::99")
    const error = errorOf(request(), draws(16), taken)
    assert.strictEqual(error.reason, "Exhausted")
    assert.match(error.message, /no free IPv6 address in 2001:db8:1::\/64: 16 random identifiers in a row are in use/)
  })

  it("keeps what is reserved in the narrower range and in the node's", () => {
    const inner = request({ cidr6: "2001:db8:1:0:5::/80" })
    const identifiers = sequence(0n, 1n, 0xffff_ffff_ff80n, 0x5n)
    assert.strictEqual(Result.getOrThrow(planned(inner, identifiers)).ipv6, "2001:db8:1:0:5::5")
    const end = request({ cidr6: "2001:db8:1:0:fdff:ffff:ffff:ff00/120" })
    assert.strictEqual(
      Result.getOrThrow(planned(end, sequence(0xf0n, 0x85n, 0x7fn))).ipv6,
      "2001:db8:1:0:fdff:ffff:ffff:ff7f"
    )
  })

  it("finds the last free address of a small range, wherever the draws fall", () => {
    const range = "2001:db8:1::100/120"
    for (const drawn of [0n, 1n, 0x33n, 0x7fn, 0xffn]) {
      const table = fill(new AddressTable(), cidr("2001:db8:1::100/122"))
      const full = fill(table, cidr("2001:db8:1::140/123"))
      for (let value = 0x160n; value < 0x180n; value++) {
        if (value !== 0x17an) full.takePrimary("f", "f", { family: 6, value: cidr("2001:db8:1::/64").base + value })
      }
      assert.strictEqual(
        Result.getOrThrow(planned(request({ cidr6: range }), sequence(drawn), full)).ipv6,
        "2001:db8:1::17a"
      )
    }
  })

  it.each(["2001:db8:1::100/126", "2001:db8:1::100/125", "2001:db8:1::100/120"])("%s full: an error", (range) => {
    const error = errorOf(request({ cidr6: range }), sequence(0x3n), fill(new AddressTable(), cidr(range)))
    assert.deepStrictEqual([error.reason, error.annotation], ["Exhausted", "cidr6"])
    assert.include(error.message, `no free IPv6 address in ${range}`)
  })
})

describe("ip-algo", () => {
  // FNV-1a-64: "foobar" 85944171f73967e8, "a" af63dc4c8601ec8c
  const named = { ...pod(), namespace: "foobar", name: "a" }
  const asked = (annotation?: string, ipAlgo?: ReadonlyArray<string>, more: Readonly<Record<string, string>> = {}) =>
    request({}, {
      pod: { ...named, annotations: { ...(annotation === undefined ? {} : { "ip-algo": annotation }), ...more } },
      spec: spec({ defaults: ipAlgo === undefined ? {} : { ipAlgo } })
    })

  it.each([
    ["annotation", asked("namespace,pod"), "2001:db8:1:0:8594:4171:af63:dc42", 0],
    ["annotation before default", asked("pod,namespace", ["namespace"]), "2001:db8:1:0:af63:dc4c:8594:4172", 0],
    ["default", asked(undefined, ["namespace"]), "2001:db8:1:0:8594:4171:f739:67e2", 0],
    ["invalid annotation, then default", asked("node", ["namespace"]), "2001:db8:1:0:8594:4171:f739:67e2", 1],
    ["invalid annotation, no default", asked("pod,pod"), "2001:db8:1::42", 1],
    ["neither", asked(), "2001:db8:1::42", 0],
    ["a range that cannot carry it", asked("pod", ["pod"], { cidr6: "2001:db8:1::100/120" }), "2001:db8:1::142", 2],
    ["a fixed address", asked("pod", undefined, { cidr6: "2001:db8:1::9/128" }), "2001:db8:1::9", 0]
  ])("%s", (_, request, expected, warnings) => {
    const result = Result.getOrThrow(planned(request))
    assert.strictEqual(result.ipv6, expected)
    assert.lengthOf(result.warnings, warnings)
  })

  it("uses every N once, then warns and draws a random identifier rather than keep a pod from starting", () => {
    const table = new AddressTable()
    const seen = new Set<string>()
    for (let i = 0; i < 16; i++) {
      const { ipv6, warnings } = Result.getOrThrow(planned(asked("namespace"), sequence(0xbn), table))
      assert.deepStrictEqual(warnings, [])
      assert.match(ipv6 ?? "", /^2001:db8:1:0:8594:4171:f739:67e[0-9a-f]$/)
      seen.add(ipv6 ?? "")
      table.takePrimary(`o${i}`, "default/other", address(ipv6 ?? ""))
    }
    assert.strictEqual(seen.size, 16)
    const { ipv6, warnings } = Result.getOrThrow(planned(asked("namespace"), sequence(0xbn, 0x4242n), table))
    assert.strictEqual(ipv6, "2001:db8:1::4242")
    assert.match(warnings.join(), /annotation ip-algo: all 16 addresses of namespace are in use; the address is random/)
  })
})

describe("IPv4", () => {
  it.each([
    ["after network and gateway", {}, [], "10.42.1.2"],
    ["the gap", {}, ["10.42.1.2", "10.42.1.4"], "10.42.1.3"],
    ["of the annotation's block, with its own three", { cidr4: "10.42.1.128/26" }, [], "10.42.1.130"],
    ["wider annotation", { cidr4: "10.0.0.0/8" }, ["10.42.1.2"], "10.42.1.3"],
    ["smallest block", { cidr4: "10.42.1.8/30" }, [], "10.42.1.10"],
    ["fixed", { cidr4: "10.42.1.77/32" }, ["10.42.1.76"], "10.42.1.77"]
  ])("lowest free: %s", (_, annotations, taken, expected) => {
    const result = planned(request(annotations), sequence(0x42n), occupied(...taken))
    assert.strictEqual(Result.getOrThrow(result).ipv4, expected)
  })

  it.each(["10.42.1.8/30", "10.42.1.8/29", "10.42.1.128/25"])("%s full: an error", (range) => {
    const error = errorOf(request({ cidr4: range }), sequence(0x3n), fill(new AddressTable(), cidr(range)))
    assert.deepStrictEqual([error.reason, error.annotation], ["Exhausted", "cidr4"])
    assert.include(error.message, `no free IPv4 address in ${range}`)
  })
})

describe("fixed addresses", () => {
  it.each([
    [{ cidr4: "10.42.1.0/32" }, "Invalid", /10\.42\.1\.0 is the network address of 10\.42\.1\.0\/24/],
    [{ cidr4: "10.42.1.1/32" }, "Invalid", /10\.42\.1\.1 is the gateway's address/],
    [{ cidr4: "10.42.1.255/32" }, "Invalid", /10\.42\.1\.255 is the broadcast address/],
    [{ cidr6: "2001:db8:1::/128" }, "Invalid", /subnet-router anycast/],
    [{ cidr6: "2001:db8:1::1/128" }, "Invalid", /gateway/],
    [{ cidr6: "2001:db8:1:0:fdff:ffff:ffff:ff80/128" }, "Invalid", /RFC 2526/],
    [{ cidr4: "10.42.1.7/32" }, "InUse", /10\.42\.1\.7 is in use by default\/other-0; choose another/],
    [{ cidr6: "2001:db8:1::7/128" }, "InUse", /2001:db8:1::7 is in use by default\/other-1/]
  ])("%j: %s", (annotations, reason, message) => {
    const error = errorOf(request(annotations), sequence(0x42n), occupied("10.42.1.7", "2001:db8:1::7"))
    assert.deepStrictEqual([error.reason, error.annotation], [reason, Object.keys(annotations)[0]])
    assert.match(error.message, message)
  })
})
