import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { ListReader, MAX_OBJECT } from "../../../src/kube/ListReader.ts"

/** Reads `text` in pieces of the given sizes. */
const read = (text: string, sizes: ReadonlyArray<number> = [1 << 20]) => {
  const items: Array<unknown> = []
  const reader = new ListReader((item) => items.push(item))
  const bytes = Buffer.from(text)
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = Math.max(1, sizes[i % sizes.length] ?? 1)
    reader.push(bytes.subarray(at, at + size))
    at += size
  }
  return { items, rest: reader.end() }
}

describe("a list that is read object by object", () => {
  it("is what JSON.parse makes of it, however it is cut into pieces", () => {
    const object = fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue())
    const list = fc.record({
      kind: fc.constant("PodList"),
      metadata: fc.record({
        continue: fc.string({ unit: "binary" }),
        resourceVersion: fc.string(),
        items: fc.jsonValue()
      }),
      items: fc.array(object),
      more: fc.jsonValue()
    })
    const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 })
    fc.assert(
      fc.property(list, pieces, fc.constantFrom(undefined, 2), (value, sizes, indent) => {
        const { items, rest } = read(JSON.stringify(value, null, indent), sizes)
        assert.deepStrictEqual(JSON.stringify({ ...value, items: [] }), JSON.stringify(rest))
        assert.strictEqual(JSON.stringify(items), JSON.stringify(value.items))
      }),
      { numRuns: 100 }
    )
  })

  it.each([
    ["{\"items\":[{\"a\":\"]}\\\\\\\"\"},{}],\"metadata\":{}}", 2],
    ["{\"metadata\":{\"items\":[1,{}]},\"items\":[{}]}", 1],
    ["{\"x\":\"\\\"items\\\":\",\"y\":[{}],\"items\":[]}", 0],
    ["{\"items\":null,\"metadata\":{}}", 0]
  ])("finds the objects of %s", (text, count) => {
    assert.strictEqual(read(text).items.length, count)
    assert.deepStrictEqual(read(text, [1]), read(text, [3]))
  })

  it.each(["", "{", "{\"items\":[{}", "{\"items\":[{}]", "<html></html>", "[]]", "nothing", "{\"items\":[{,}]}"])(
    "refuses %s",
    (text) => assert.throws(() => read(text))
  )

  it("is a Table's rows too, each with what came before them", () => {
    const table = {
      kind: "Table",
      metadata: { resourceVersion: "7" },
      columnDefinitions: [{ name: "Name" }, { name: "Ready" }],
      rows: [{ cells: ["a", "True"], object: null }, { cells: ["b", "{[\"rows\":["] }]
    }
    const heads: Array<unknown> = []
    const rows: Array<unknown> = []
    const reader = new ListReader((row, head) => {
      rows.push(row)
      heads.push(head())
    })
    for (const byte of Buffer.from(JSON.stringify(table))) reader.push(Uint8Array.of(byte))
    assert.deepStrictEqual(rows, table.rows)
    assert.deepStrictEqual(reader.end(), { ...table, rows: [] })
    assert.deepStrictEqual(heads, rows.map(() => ({ ...table, rows: [] })))
  })

  it("refuses what has no end", () => {
    const reader = new ListReader(() => undefined)
    reader.push(Buffer.from("{\"items\":[{\"a\":\""))
    const piece = Buffer.alloc(1 << 20, "x")
    assert.throws(() => {
      for (let i = 0; i <= MAX_OBJECT / piece.length; i++) reader.push(piece)
    }, /an object of more than/)
    const beside = new ListReader(() => undefined)
    assert.throws(() => {
      for (let i = 0; i < 3; i++) beside.push(piece)
    }, /beside the list's objects/)
  })
})
