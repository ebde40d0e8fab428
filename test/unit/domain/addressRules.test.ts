import { assert, describe, it } from "@effect/vitest"
import {
  addressProblem,
  insideProblem,
  isOrdinary,
  mayReach,
  overlapProblem,
  refusedRanges,
  SPECIAL_RANGES,
  type Use,
  USES
} from "../../../src/domain/addressRules.ts"
import { address, cidr, formatCidr, lastOf, networkOf, overlaps } from "../../../src/domain/Ip.ts"

/** What each use may be, range by range: the table again, written the other way round. */
const ALLOWED: Readonly<Record<Use, ReadonlyArray<string>>> = {
  pool: [],
  pod: [],
  peer: ["::1/128", "127.0.0.0/8", "169.254.0.0/16"],
  import: [],
  local: ["::1/128", "127.0.0.0/8", "169.254.0.0/16"]
}

describe("SPECIAL_RANGES", () => {
  it.each(USES)("%s: what is refused, and what is not", (use) => {
    for (const { range, words } of SPECIAL_RANGES) {
      const text = formatCidr(range)
      const expected = ALLOWED[use].includes(text) ? undefined : words
      for (const value of [range.base, (range.base + lastOf(range)) / 2n, lastOf(range)]) {
        assert.strictEqual(addressProblem(use, { family: range.family, value }), expected, text)
      }
      assert.strictEqual(overlapProblem(use, range), expected, text)
      assert.strictEqual(insideProblem(use, range), expected, text)
      assert.strictEqual(refusedRanges(use, range.family).includes(range), expected !== undefined, text)
    }
  })

  it("do not overlap each other, so that an address has one verdict", () => {
    for (const [i, a] of SPECIAL_RANGES.entries()) {
      for (const b of SPECIAL_RANGES.slice(i + 1)) assert.isFalse(overlaps(a.range, b.range), formatCidr(b.range))
    }
  })

  it.each([
    "2001:db8::1",
    "fd00::1",
    "fec0::1",
    "64:ff9b::1",
    "::2",
    "10.0.0.1",
    "100.64.0.1",
    "192.0.2.1",
    "240.0.0.1"
  ])(
    "%s is ordinary for every use",
    (text) => {
      assert.isTrue(isOrdinary(address(text)))
      for (const use of USES) assert.isUndefined(addressProblem(use, address(text)))
    }
  )

  it("name their source", () => {
    for (const { words } of SPECIAL_RANGES) assert.match(words, /^[^.]+ \(RFC \d+\)$/)
  })
})

describe("a prefix", () => {
  it.each([
    ["169.0.0.0/8", "link-local (RFC 3927)", undefined],
    ["169.254.8.0/24", "link-local (RFC 3927)", "link-local (RFC 3927)"],
    ["0.0.0.0/0", "\"this network\" (RFC 1122)", undefined],
    ["::/0", "unspecified (RFC 4291)", undefined],
    ["::/96", "unspecified (RFC 4291)", undefined],
    ["fe80::/9", "link-local (RFC 4291)", undefined],
    ["2001:db8::/32", undefined, undefined]
  ])("%s overlaps %s and lies in %s", (text, overlapping, inside) => {
    assert.strictEqual(overlapProblem("pool", cidr(text)), overlapping)
    assert.strictEqual(insideProblem("pod", cidr(text)), inside)
  })
})

describe("mayReach", () => {
  it.each<[string, string, boolean]>([
    ["192.0.2.1", "198.51.100.1", true],
    ["192.0.2.1", "169.254.0.1", true],
    ["169.254.0.2", "169.254.0.1", true],
    ["169.254.0.2", "192.0.2.1", false],
    ["127.0.0.1", "127.0.0.2", true],
    ["127.0.0.1", "169.254.0.1", false],
    ["::1", "::1", true],
    ["::1", "2001:db8::1", false],
    ["fe80::1", "fe80::2", false]
  ])(
    "%s as the local end towards %s: %s",
    (local, peer, expected) => assert.strictEqual(mayReach(address(local), address(peer)), expected)
  )
})

it("a network's own ranges are never refused for being near a special one", () => {
  for (const { range } of SPECIAL_RANGES.filter(({ range }) => range.prefix > 1)) {
    const sibling = { ...range, base: range.base ^ (1n << BigInt((range.family === 4 ? 32 : 128) - range.prefix)) }
    if (SPECIAL_RANGES.some((other) => overlaps(other.range, sibling))) continue
    assert.isUndefined(overlapProblem("pool", networkOf({ family: sibling.family, value: sibling.base }, range.prefix)))
  }
})
