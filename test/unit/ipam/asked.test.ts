import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import type { NodeConfigSpec } from "../../../src/domain/NodeConfig.ts"
import { AddressTable } from "../../../src/ipam/AddressTable.ts"
import { plan } from "../../../src/ipam/choose.ts"
import { request, sequence, spec, withoutCidr } from "./support.ts"

const ALLOWED = { anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] } }
const EVERYTHING = { anycast: { allowedCIDRs: ["::/0", "0.0.0.0/0"] } }

const busy = () => {
  const table = new AddressTable()
  table.takePrimary("p/eth0", "default/pod", address("192.0.2.50"))
  table.takePrimary("p/eth0", "default/pod", address("10.42.1.2"))
  table.takePrimary("p/eth0", "default/pod", address("2001:db8:a::50"))
  table.takeAnycast("q/eth0", "default/dns", address("192.0.2.53"))
  return table
}

const planned = (annotations: Record<string, string>, of: NodeConfigSpec = spec(ALLOWED)) =>
  Result.map(plan(busy(), request(annotations, { spec: of }), sequence(0x42n, 0x43n)), ({ addresses, warnings }) => ({
    primary: [addresses.ipv6, addresses.ipv4].map((a) => a && formatAddress(a)),
    chosen: addresses.chosen.map(formatAddress),
    anycast: addresses.anycast.map(formatAddress),
    warnings
  }))

describe("addresses", () => {
  it.each([
    ["192.0.2.7", ["2001:db8:1::42", "192.0.2.7"]],
    ["2001:db8:a::7", ["2001:db8:a::7", "10.42.1.3"]],
    ["192.0.2.7,2001:db8:a::7", ["2001:db8:a::7", "192.0.2.7"]]
  ])("%s takes the place of IPAM's in its family", (addresses, primary) => {
    const result = Result.getOrThrow(planned({ addresses }))
    assert.deepStrictEqual(result.primary, primary)
    assert.deepStrictEqual(result.chosen, addresses.split(","))
    assert.deepStrictEqual(result.warnings, [])
  })

  it("may lie in the node's CIDR, and overrides cidr4 with a warning", () => {
    const result = Result.getOrThrow(planned({ addresses: "10.42.1.9", cidr4: "10.42.1.128/25" }, spec(EVERYTHING)))
    assert.deepStrictEqual(result.primary, ["2001:db8:1::42", "10.42.1.9"])
    assert.deepStrictEqual(result.warnings, ["annotation cidr4: ignored, addresses chose 10.42.1.9"])
  })
})

describe("anycast", () => {
  it("is given beside the pod's own addresses, and may be shared with another pod", () => {
    const result = Result.getOrThrow(planned({ anycast: "192.0.2.53,2001:db8:a::53" }))
    assert.deepStrictEqual(result.primary, ["2001:db8:1::42", "10.42.1.3"])
    assert.deepStrictEqual(result.anycast, ["192.0.2.53", "2001:db8:a::53"])
  })

  it("is skipped with a warning where the pod lacks the family", () => {
    for (const  of of[spec({ ...ALLOWED, defaults: { ipv4: false } }), withoutCidr(4, ALLOWED)]) {
      const result = Result.getOrThrow(planned({ anycast: "192.0.2.53,2001:db8:a::53" }, of))
      assert.deepStrictEqual(result.anycast, ["2001:db8:a::53"])
      assert.deepStrictEqual(result.warnings, [
        "annotation anycast: 192.0.2.53 skipped, the pod has no IPv4 address to reach it by"
      ])
    }
  })

  it("is never the pod's own primary address too, when it lies where IPAM looks next", () => {
    const result = Result.getOrThrow(planned({ anycast: "10.42.1.3,10.42.1.4,2001:db8:1::42" }, spec(EVERYTHING)))
    assert.deepStrictEqual(result.primary, ["2001:db8:1::43", "10.42.1.5"])
  })
})

describe("refusals", () => {
  const NOTHING = spec()
  it.each([
    ["by default", { anycast: "192.0.2.1" }, NOTHING, "NotAllowed", /allowedCIDRs, which is empty: nothing is allowed/],
    ["by default", { addresses: "10.42.1.9" }, NOTHING, "NotAllowed", /10\.42\.1\.9 is not in this node's/],
    [
      "outside",
      { anycast: "192.0.3.1" },
      spec(ALLOWED),
      "NotAllowed",
      /allowedCIDRs, 2001:db8:a::\/64, 192\.0\.2\.0\/24/
    ],
    ["second of two", { anycast: "192.0.2.1,8.8.8.8" }, spec(ALLOWED), "NotAllowed", /8\.8\.8\.8/],
    ["even if skipped", { anycast: "8.8.8.8", ipv4: "false" }, spec(ALLOWED), "NotAllowed", /8\.8\.8\.8/],
    ["outside", { addresses: "2001:db8:b::1" }, spec(ALLOWED), "NotAllowed", /2001:db8:b::1/],
    ["multicast", { anycast: "ff02::1" }, spec(EVERYTHING), "Invalid", /ff02::1 is multicast/],
    ["loopback", { addresses: "127.0.0.1" }, spec(EVERYTHING), "Invalid", /127\.0\.0\.1 is loopback/],
    ["gateway", { anycast: "10.42.1.1" }, spec(EVERYTHING), "Invalid", /10\.42\.1\.1 is the gateway's address of this/],
    ["reserved", { addresses: "2001:db8:1::" }, spec(EVERYTHING), "Invalid", /subnet-router anycast/],
    [
      "another's primary",
      { anycast: "192.0.2.50" },
      spec(ALLOWED),
      "InUse",
      /in use by default\/pod as its primary address/
    ],
    ["another's primary", { addresses: "2001:db8:a::50" }, spec(ALLOWED), "InUse", /in use by default\/pod/],
    ["IPAM's", { addresses: "10.42.1.2" }, spec(EVERYTHING), "InUse", /10\.42\.1\.2 is in use by default\/pod/],
    [
      "anycast elsewhere",
      { addresses: "192.0.2.53" },
      spec(ALLOWED),
      "InUse",
      /in use by default\/dns as its anycast address/
    ],
    ["in both", { addresses: "192.0.2.9", anycast: "192.0.2.9" }, spec(ALLOWED), "Invalid", /listed in anycast too/],
    ["family off", { addresses: "192.0.2.9", ipv4: "false" }, spec(ALLOWED), "NoFamily", /the pod has no IPv4/],
    ["no CIDR", { addresses: "192.0.2.9" }, withoutCidr(4, ALLOWED), "NoFamily", /the pod has no IPv4/]
  ])("%s: %j", (_, annotations, of, reason, message) => {
    const error = Result.getOrThrow(Result.flip(planned(annotations, of)))
    assert.strictEqual(error.reason, reason)
    assert.include(Object.keys(annotations), error.annotation)
    assert.match(error.message, message)
  })
})
