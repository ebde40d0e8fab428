import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as fc from "fast-check"
import { watchEvents } from "../../../src/kube/watchEvents.ts"

const events = (chunks: Iterable<Uint8Array>, limit?: number) =>
  Effect.runPromise(
    Stream.fromIterable(chunks).pipe(
      watchEvents((why) => why, limit),
      Stream.runCollect,
      Effect.match({
        onFailure: (why) => why,
        onSuccess: (all) => all.map(({ object }) => object)
      })
    )
  )

const line = (object: unknown) => `${JSON.stringify({ type: "ADDED", object })}\n`

function* cut(bytes: Uint8Array, sizes: ReadonlyArray<number>) {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1
    yield bytes.subarray(at, at + size)
    at += size
  }
}

describe("a watch's body", () => {
  it("gives whole events however its bytes are cut", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "grapheme", maxLength: 20 })),
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }),
        async (objects, sizes) => {
          const bytes = Buffer.from(objects.map(line).join("\n"))
          assert.deepStrictEqual(await events(cut(bytes, sizes)), objects)
        }
      ),
      { numRuns: 50 }
    ))

  it("is given up when a line does not end, and not when many lines come", async () => {
    const long = Buffer.from(line("x".repeat(200)))
    assert.strictEqual(await events(cut(long, [50]), 150), "a line of more than 150 bytes")
    const many = Buffer.from(Array.from({ length: 50 }, () => line("y".repeat(50))).join(""))
    assert.strictEqual((await events(cut(many, [7]), 150)).length, 50)
  })

  it("has lines of 32 MiB at most", async () => {
    const piece = Buffer.alloc(1 << 20, "x")
    assert.strictEqual(await events(Array.from({ length: 33 }, () => piece)), "a line of more than 33554432 bytes")
  })

  it("is no event when it is not JSON", async () => {
    assert.strictEqual(await events([Buffer.from("<html>\n")]), "a watch event that is not JSON")
  })
})
