import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { communityLine, grantStatements } from "../../../src/bird/communities.ts"
import { decisiveFor } from "../../../src/domain/grants.ts"
import { cidr, contains, type IpAddress, networkOf } from "../../../src/domain/Ip.ts"
import type { AnycastSpec } from "../../../src/domain/NodeConfig.ts"

const spec = (allowed: ReadonlyArray<string>, grants: ReadonlyArray<readonly [string, ReadonlyArray<string>]>) => ({
  allowedCIDRs: allowed.map(cidr),
  grants: grants.map(([text, communities]) => ({ cidr: cidr(text), namespaces: ["shop"], communities })),
  maxPerPod: 8,
  maxPerNamespace: 32,
  maxPerNode: 256
} satisfies AnycastSpec)

const IF = /^if net ~ \[ (.*?) \](?: && ! \(net ~ \[ (.*?) \]\))? then \{$/

/** What BIRD makes of the statements: the communities that it adds to a host route. */
const added = (anycast: AnycastSpec, address: IpAddress): ReadonlyArray<string> => {
  const inSet = (members: string | undefined) =>
    (members ?? "").split(", ").some((member) => member !== "" && contains(cidr(member.replace(/\+$/, "")), address))
  let applies = false
  return grantStatements(anycast)[address.family].flatMap((line) => {
    const [head, members, but] = IF.exec(line) ?? []
    if (head !== undefined) applies = inSet(members) && !inSet(but)
    return applies && line.startsWith("  ") ? [line.trim()] : []
  })
}

describe("communities of grants", () => {
  it("are those of the prefix that decides who may have an address, for any lists", () => {
    const address = fc.nat(0xff).map((n): IpAddress => ({ family: 4, value: 0xc0000200n + BigInt(n) }))
    const prefix = fc.tuple(address, fc.integer({ min: 24, max: 32 })).map(([it, length]) => networkOf(it, length))
    const grant = fc.record({
      cidr: prefix,
      namespaces: fc.constant(["shop"]),
      communities: fc.subarray(["65001:1", "65001:2:3", "no-export"])
    })
    let marked = 0
    const property = fc.property(
      fc.array(prefix, { maxLength: 4 }),
      fc.array(grant, { maxLength: 6 }),
      address,
      (allowedCIDRs, grants, it) => {
        const anycast = { ...spec([], []), allowedCIDRs, grants }
        const wanted = decisiveFor(it, anycast)?.communities ?? []
        if (wanted.length > 0) marked++
        assert.sameMembers([...added(anycast, it)], wanted.map(communityLine))
      }
    )
    assert.doesNotThrow(() => fc.assert(property, { numRuns: 2000 }))
    assert.isAbove(marked, 200)
  })

  it("are BIRD's statements", () => {
    assert.deepStrictEqual(["65001:100", "65001:1:2", "no-export", "graceful-shutdown"].map(communityLine), [
      "bgp_community.add((65001, 100));",
      "bgp_large_community.add((65001, 1, 2));",
      "bgp_community.add((65535, 65281));",
      "bgp_community.add((65535, 0));"
    ])
  })

  it("leave a family without any alone", () => {
    assert.deepStrictEqual(grantStatements(spec(["192.0.2.0/24"], [["192.0.2.0/25", []]])), { 6: [], 4: [] })
  })
})
