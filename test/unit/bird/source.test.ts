import { assert, describe, it } from "@effect/vitest"
import { nodeAddresses } from "../../../src/bird/local.ts"
import { sourceOf } from "../../../src/bird/source.ts"
import { formatAddress } from "../../../src/domain/Ip.ts"
import { dual, hostInterface, nodeConfig } from "./inputs.ts"

const addresses = nodeAddresses([
  ...dual,
  hostInterface("lo", ["127.0.0.1/8", "203.0.113.7/32", "203.0.113.9/32", "2001:db8:fd::1/128"], { ifIndex: 1 })
])

describe("sourceOf", () => {
  it.each(
    [
      ["nothing advertised", [], 4, undefined],
      ["the node's address on lo", ["203.0.113.9/32"], 4, "203.0.113.9"],
      ["of the family", ["203.0.113.9/32", "2001:db8:fd::1/128"], 6, "2001:db8:fd::1"],
      ["a prefix that holds it only", ["203.0.113.0/24"], 4, undefined],
      ["an address that the node has not", ["203.0.113.8/32"], 4, undefined],
      ["an uplink's own", ["198.51.100.2/32"], 4, undefined]
    ] as const
  )("%s", (_, advertise, family, source) => {
    const { spec } = nodeConfig({ cidr6: "2001:db8:1::/64", bgp: { asn: 65001, advertise } }, "node1")
    const found = sourceOf(spec, family, addresses)
    assert.strictEqual(found && formatAddress(found), source)
  })

  it("is none before there is a NodeConfig", () => {
    assert.isUndefined(sourceOf(undefined, 4, addresses))
  })
})
