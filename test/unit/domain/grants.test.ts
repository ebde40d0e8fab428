import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { decisiveFor, isFor, matchesGlob } from "../../../src/domain/grants.ts"
import { address, cidr } from "../../../src/domain/Ip.ts"
import type { AnycastSpec } from "../../../src/domain/NodeConfig.ts"

describe("matchesGlob", () => {
  it.each([
    ["shop", "shop", true],
    ["shop", "shop2", false],
    ["shop", "ashop", false],
    ["*", "", true],
    ["*", "anything", true],
    ["team-*", "team-", true],
    ["team-*", "team-a", true],
    ["team-*", "a-team-a", false],
    ["*-prod", "a-prod", true],
    ["*-prod", "a-prod-1", false],
    ["a*a", "a", false],
    ["a*a", "aa", true],
    ["a*b*c", "a1b2c", true],
    ["a*b*c", "a1c2b", false],
    ["ab*ba", "aba", false],
    ["a**b", "ab", true],
    // Everything but the star is itself.
    ["a-b", "a.b", false],
    ["team*", "TEAM1", false]
  ])("%s, %s: %s", (glob, name, expected) => assert.strictEqual(matchesGlob(glob, name), expected))

  it("is what an anchored regular expression says, for short ones", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "-", "*"), maxLength: 7 })
    fc.assert(fc.property(letters, fc.string({ unit: fc.constantFrom("a", "b", "-"), maxLength: 9 }), (glob, name) => {
      assert.strictEqual(matchesGlob(glob, name), new RegExp(`^${glob.replaceAll("*", ".*")}$`).test(name))
    }))
  })

  it("takes no time for what makes a backtracking matcher take for ever", () => {
    const start = performance.now()
    for (let i = 0; i < 1000; i++) assert.isFalse(matchesGlob("a*".repeat(31) + "b", "a".repeat(63)))
    assert.isBelow(performance.now() - start, 1000)
  })
})

describe("decisiveFor", () => {
  const spec = (
    allowed: ReadonlyArray<string>,
    grants: ReadonlyArray<readonly [string, ...ReadonlyArray<string>]>
  ): AnycastSpec => ({
    allowedCIDRs: allowed.map(cidr),
    grants: grants.map(([text, ...namespaces]) => ({ cidr: cidr(text), namespaces, communities: [] })),
    maxPerPod: 8,
    maxPerNamespace: 32,
    maxPerNode: 256
  })
  const who = (it: AnycastSpec, text = "192.0.2.130") => {
    const decisive = decisiveFor(address(text), it)
    return decisive && ["shop", "team-a", "other"].filter((namespace) => isFor(decisive, namespace))
  }
  const ALL = ["shop", "team-a", "other"]

  it.each<[string, AnycastSpec, ReadonlyArray<string> | undefined]>([
    ["in no list", spec([], []), undefined],
    ["in prefixes beside it", spec(["192.0.2.0/25"], [["2001:db8::/32", "*"]]), undefined],
    ["allowed", spec(["192.0.2.0/24"], []), ALL],
    ["granted", spec([], [["192.0.2.0/24", "shop"]]), ["shop"]],
    ["granted to a glob", spec([], [["192.0.2.0/24", "team-*"]]), ["team-a"]],
    ["a grant inside the allowed", spec(["192.0.2.0/24"], [["192.0.2.128/25", "shop"]]), ["shop"]],
    ["the allowed inside a grant", spec(["192.0.2.128/25"], [["192.0.2.0/24", "shop"]]), ALL],
    ["a grant inside a grant", spec([], [["192.0.2.0/24", "shop"], ["192.0.2.130/32", "other"]]), ["other"]],
    ["… in the other order", spec([], [["192.0.2.130/32", "other"], ["192.0.2.0/24", "shop"]]), ["other"]],
    ["both with one prefix", spec(["192.0.2.0/24"], [["192.0.2.0/24", "shop"]]), ["shop"]],
    ["two grants of one prefix", spec([], [["192.0.2.0/24", "shop"], ["192.0.2.0/24", "team-*"]]), ["shop", "team-a"]]
  ])("%s", (_, it, namespaces) => assert.deepStrictEqual(who(it), namespaces))

  it("never lets one family decide about the other", () => {
    assert.isUndefined(who(spec(["::/1"], []), "0.0.0.1"))
  })
})
