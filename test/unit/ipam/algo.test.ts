import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { cidr, contains, formatAddress } from "../../../src/domain/Ip.ts"
import type { AlgoField } from "../../../src/domain/NodeConfig.ts"
import { algoProblem, embed, fieldWidths } from "../../../src/ipam/algo.ts"
import { fnv1a64 } from "../../../src/ipam/fnv.ts"
import { anyUnit } from "./support.ts"

describe("fnv1a64", () => {
  it.each([
    ["", "cbf29ce484222325"],
    ["a", "af63dc4c8601ec8c"],
    ["b", "af63df4c8601f1a5"],
    ["fo", "08985907b541d342"],
    ["foo", "dcb27518fed9d577"],
    ["foob", "dd120e790c2512af"],
    ["fooba", "cac165afa2fef40a"],
    ["foobar", "85944171f73967e8"]
  ])("published vector %j", (text, hex) => {
    assert.strictEqual(fnv1a64(text).toString(16).padStart(16, "0"), hex)
  })

  it("hashes UTF-8 bytes", () => assert.notStrictEqual(fnv1a64("ü"), fnv1a64("\u00fc".normalize("NFD"))))
})

describe("ip-algo", () => {
  // Hashes from the vectors above: namespace "foobar" 85944171f73967e8, pod "a" af63dc4c8601ec8c.
  const input = { namespace: "foobar", pod: "a", containerId: "foo", imageDigest: "0123456789abcdef".repeat(4) }
  const golden: ReadonlyArray<readonly [string, ReadonlyArray<AlgoField>, string]> = [
    ["2001:db8:1::/64", ["namespace", "pod"], "2001:db8:1:0:8594:4171:af63:dc40"],
    ["2001:db8:1::/64", ["pod", "namespace"], "2001:db8:1:0:af63:dc4c:8594:4170"],
    ["2001:db8:1::/64", ["namespace"], "2001:db8:1:0:8594:4171:f739:67e0"],
    ["2001:db8:1::/64", ["namespace", "pod", "image"], "2001:db8:1:0:8594:4af6:3d01:2340"],
    ["2001:db8:1::/64", ["image"], "2001:db8:1:0:123:4567:89ab:cde0"],
    ["2001:db8:1::/48", ["namespace"], "2001:db8:1:8594:4171:f739:67e8:0"],
    ["2001:db8:1::/48", ["namespace", "pod"], "2001:db8:1:8594:4171:f7af:63dc:4c80"],
    ["2001:db8:1::/48", ["namespace", "pod", "image"], "2001:db8:1:8594:417a:f63d:c012:3450"],
    ["2001:db8:1:f000::/52", ["pod", "namespace"], "2001:db8:1:faf6:3dc4:c885:9441:71f0"],
    ["2001:db8:1:ff00::/56", ["namespace"], "2001:db8:1:ff85:9441:71f7:3967:e800"],
    ["2001:db8:1:fff0::/60", ["namespace"], "2001:db8:1:fff8:5944:171f:7396:7e80"],
    ["2001:db8:1:0:f000::/68", ["namespace", "pod"], "2001:db8:1:0:f859:4417:af63:dc40"],
    ["2001:db8:1:0:0:1::/96", ["namespace", "pod"], "2001:db8:1::1:8594:af60"],
    ["2001:db8:1:0:0:1::/96", ["namespace", "pod", "image"], "2001:db8:1::1:859a:f010"]
  ]

  it.each(golden)("%s %j gives %s", (range, fields, expected) => {
    assert.strictEqual(formatAddress({ family: 6, value: embed(cidr(range), fields, input) }), expected)
  })

  it("takes the container ID's hash where the image's digest or the pod's name is not known", () => {
    const { imageDigest: _, ...unknown } = { ...input, pod: "" }
    const address = (field: AlgoField) =>
      formatAddress({
        family: 6,
        value: embed(cidr("2001:db8:1::/64"), [field], unknown)
      })
    // containerId "foo": dcb27518fed9d577
    assert.strictEqual(address("image"), "2001:db8:1:0:dcb2:7518:fed9:d570")
    assert.strictEqual(address("pod"), "2001:db8:1:0:dcb2:7518:fed9:d570")
  })

  it.each([
    [48, 1, [16]],
    [48, 2, [10, 9]],
    [48, 3, [7, 6, 6]],
    [60, 1, [16]],
    [64, 1, [15]],
    [64, 2, [8, 7]],
    [64, 3, [5, 5, 5]],
    [80, 2, [6, 5]],
    [96, 1, [7]],
    [96, 2, [4, 3]],
    [96, 3, [3, 2, 2]]
  ])("/%i shared among %i: %j nibbles", (prefix, count, widths) => {
    assert.deepStrictEqual(fieldWidths(prefix, count), widths)
  })

  it.each([["::/44"], ["::/47"], ["::/49"], ["::/62"], ["::/66"], ["::/97"], ["::/100"], ["::/126"]])(
    "%s cannot carry a layout",
    (range) => assert.match(algoProblem(cidr(range)) ?? "", /from 48 to 96 that is a multiple of 4, not \/\d+/)
  )

  it("is deterministic, stays in the range and leaves the last nibble to N, for every prefix, order and name", () => {
    const prefixes = fc.integer({ min: 12, max: 24 }).map((n) => 4 * n)
    const orders = fc.shuffledSubarray<AlgoField>(["namespace", "pod", "image"], { minLength: 1 })
    const names = fc.record({ namespace: fc.string({ unit: anyUnit }), pod: fc.string(), containerId: fc.string() })
    fc.assert(fc.property(prefixes, orders, names, (prefix, fields, names) => {
      const range = { family: 6, base: 0x20010db8000100000000000000000000n, prefix } as const
      assert.isUndefined(algoProblem(range))
      const value = embed(range, fields, names)
      assert.strictEqual(value, embed(range, fields, { ...names }))
      assert.isTrue(contains(range, { family: 6, value: value | 15n }))
      assert.strictEqual(value & 15n, 0n)
    }))
  })
})
