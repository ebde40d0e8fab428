import { assert, describe, it } from "@effect/vitest"
import { address, type IpAddress } from "../../../src/domain/Ip.ts"
import { limitWords, overLimit } from "../../../src/domain/limits.ts"
import { AnnouncedTable } from "../../../src/ipam/AnnouncedTable.ts"
import { nodeConfig } from "../fixtures.ts"

const some = (from: number, count: number): ReadonlyArray<IpAddress> =>
  Array.from({ length: count }, (_, i) => address(`192.0.2.${from + i}`))

const spec = (anycast: object) => nodeConfig({ cidr4: "10.42.1.0/24", anycast }).spec

const table = (...held: ReadonlyArray<readonly [namespace: string, addresses: ReadonlyArray<IpAddress>]>) => {
  const table = new AnnouncedTable()
  for (const [namespace, addresses] of held) for (const it of addresses) table.add(it, namespace)
  return table
}

const said = (...args: Parameters<typeof overLimit>) => {
  const over = overLimit(...args)
  return over && limitWords(over)
}

describe("overLimit", () => {
  it("has the defaults 8, 32 and 256, and takes the last place of each", () => {
    assert.isUndefined(said(some(1, 8), "a", spec({}), table()))
    assert.strictEqual(
      said(some(1, 9), "a", spec({}), table()),
      "the pod asks for 9 anycast and chosen addresses; spec.anycast.maxPerPod is 8"
    )
    assert.isUndefined(said(some(100, 8), "a", spec({}), table(["a", some(1, 24)])))
    assert.strictEqual(
      said(some(100, 8), "a", spec({}), table(["a", some(1, 25)])),
      "its namespace would have 33 anycast and chosen addresses on this node; spec.anycast.maxPerNamespace is 32"
    )
    const full = Array.from({ length: 8 }, (_, i) => [`n${i}`, some(1 + 31 * i, 31)] as const)
    assert.isUndefined(said([address("198.51.100.1")], "a", spec({}), table(...full)))
    assert.strictEqual(
      said(
        [
          ...some(250, 1),
          ...some(251, 4),
          ...some(255, 1),
          address("198.51.100.1"),
          address("198.51.100.2"),
          address("198.51.100.3")
        ],
        "a",
        spec({ maxPerPod: 64 }),
        table(...full)
      ),
      "this node would have 257 anycast and chosen addresses; spec.anycast.maxPerNode is 256"
    )
  })

  it("counts each address once, in a namespace and on the node", () => {
    const held = table(["a", some(1, 2)], ["a", some(1, 2)], ["b", some(2, 2)])
    assert.deepStrictEqual([held.count(), held.count("a"), held.count("b"), held.count("c")], [3, 2, 2, 0])
    assert.isUndefined(said(some(3, 1), "a", spec({ maxPerNamespace: 3, maxPerNode: 3 }), held))
    assert.match(said(some(4, 1), "a", spec({ maxPerNode: 3 }), held) ?? "", /would have 4 .*maxPerNode is 3$/)
  })

  it("refuses nothing that is announced already, whatever the limits are now", () => {
    const held = table(["a", some(1, 8)])
    const small = spec({ maxPerNamespace: 1, maxPerNode: 1 })
    assert.isUndefined(said(some(1, 8), "a", small, held))
    assert.match(said(some(1, 8), "b", small, held) ?? "", /would have 8 .*maxPerNamespace is 1$/)
    assert.match(said(some(8, 2), "a", small, held) ?? "", /maxPerNamespace is 1$/)
  })

  it("0 allows none", () => {
    assert.isUndefined(said([], "a", spec({ maxPerPod: 0, maxPerNode: 0, maxPerNamespace: 0 }), table()))
    assert.match(said(some(1, 1), "a", spec({ maxPerPod: 0 }), table()) ?? "", /maxPerPod is 0$/)
  })
})

describe("AnnouncedTable", () => {
  it("gives back a place when the last pod is gone, and no sooner", () => {
    const held = table(["a", some(1, 1)], ["a", some(1, 1)])
    held.delete(address("192.0.2.1"), "a")
    assert.isTrue(held.has(address("192.0.2.1"), "a"))
    held.delete(address("192.0.2.1"), "a")
    assert.deepStrictEqual([held.count(), held.count("a"), held.has(address("192.0.2.1"))], [0, 0, false])
    held.delete(address("192.0.2.1"), "a")
    assert.strictEqual(held.count(), 0)
  })
})
