import { assert, describe, it } from "@effect/vitest"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import * as PodAddresses from "../../../src/domain/PodAddresses.ts"

const of = (
  primaries: ReadonlyArray<string>,
  chosen: ReadonlyArray<string> = [],
  anycast: ReadonlyArray<string> = []
) =>
  PodAddresses.make({
    primaries: primaries.map(address),
    gateway4: address("10.42.1.1"),
    chosen: chosen.map(address),
    anycast: anycast.map(address)
  })

describe("a pod's addresses", () => {
  it.each([
    [["10.42.1.2", "2001:db8:1::2"], ["2001:db8:1::2", "10.42.1.2"], ["fe80::1", "10.42.1.1"]],
    [["2001:db8:1::2"], ["2001:db8:1::2"], ["fe80::1"]],
    [["10.42.1.2"], ["10.42.1.2"], ["10.42.1.1"]],
    [["10.42.1.2", "10.42.1.3"], ["10.42.1.2"], ["10.42.1.1"]],
    [[], [], []]
  ])("of %j: one of each family, IPv6 first, with a gateway for each", (given, primaries, gateways) => {
    const addresses = of(given)
    assert.deepStrictEqual(PodAddresses.primariesOf(addresses).map(formatAddress), primaries)
    assert.deepStrictEqual(PodAddresses.gatewaysOf(addresses).map(formatAddress), gateways)
    assert.strictEqual("gateway4" in addresses, primaries.includes("10.42.1.2"))
  })

  it("without a known IPv4 gateway name none", () => {
    const addresses = PodAddresses.make({
      primaries: [address("10.42.1.2")],
      gateway4: undefined,
      chosen: [],
      anycast: []
    })
    assert.deepStrictEqual(PodAddresses.gatewaysOf(addresses), [])
  })

  it("that follow readiness are those chosen and those of anycast, each once", () => {
    const addresses = of(["2001:db8:a::1", "10.42.1.2"], ["2001:db8:a::1"], ["2001:db8:a::1", "192.0.2.1", "192.0.2.1"])
    assert.deepStrictEqual(
      PodAddresses.followsReadiness(addresses).map((a) => [formatAddress(a.address), a.kind]),
      [["2001:db8:a::1", "chosen"], ["192.0.2.1", "anycast"]]
    )
  })

  it("are reported as text, without the gateway", () => {
    const addresses = of(["2001:db8:1::2", "10.42.1.2"], [], ["192.0.2.1"])
    assert.strictEqual(
      JSON.stringify(PodAddresses.report(addresses)),
      "{\"ipv6\":\"2001:db8:1::2\",\"ipv4\":\"10.42.1.2\",\"chosen\":[],\"anycast\":[\"192.0.2.1\"]}"
    )
  })
})
