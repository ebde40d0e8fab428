import { assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { attachmentKey } from "../../../src/domain/Allocation.ts"
import { formatAddress } from "../../../src/domain/Ip.ts"
import { Allocations } from "../../../src/state/Allocations.ts"
import { layerTest, TestDisk } from "../../../src/state/AllocationsTest.ts"
import { newerIn, newerInWords, newerProblem } from "../../../src/state/format.ts"
import { allocation } from "../fixtures.ts"

const one = allocation()
const two = allocation({ containerId: "c2", hostIfName: "flock00000002" })

/** As the next flock may write it: another version, other fields. */
const NEXT = JSON.stringify({
  version: 2,
  by: "0.3.0",
  hostIfName: "flock00000002",
  addresses: { primary: ["2001:db8:1::b", "10.42.1.3"], anycast: ["192.0.2.1"] },
  gateway4: "10.42.1.1",
  createdAt: "2027-01-01T00:00:00.000Z"
})

describe("the format of a file", () => {
  it.each<[string, string, number | undefined]>([
    ["this agent's", JSON.stringify({ version: 1 }), undefined],
    ["one without a version", JSON.stringify({ containerId: "c1" }), undefined],
    ["the next", NEXT, 2],
    ["one far ahead", JSON.stringify({ version: 1e9 }), 1e9],
    ["a version that is no number", JSON.stringify({ version: "2" }), undefined],
    ["a version that is no integer", JSON.stringify({ version: 2.5 }), undefined],
    ["a list", JSON.stringify([{ version: 2 }]), undefined],
    ["half a file", NEXT.slice(0, 14), undefined],
    ["an empty file", "", undefined]
  ])("%s", (_, text, version) => assert.strictEqual(newerIn("f", "c1/eth0", text)?.version, version))

  it("names link and addresses of a newer one, but for gateways and what may be several pods'", () => {
    const found = newerIn("f", "c1/eth0", NEXT)
    assert.strictEqual(found?.hostIfName, "flock00000002")
    assert.deepStrictEqual(found?.addresses.map(formatAddress), ["2001:db8:1::b", "10.42.1.3"])
  })

  it("says file, both versions and what to do", () => {
    const record = newerIn("/run/flock/allocations/c1@eth0.json", "c1/eth0", NEXT)
    const whole = newerIn("/run/flock/allocations/format", undefined, "{\"version\":3}")
    assert.isDefined(record)
    assert.isDefined(whole)
    if (record === undefined || whole === undefined) return
    for (const words of [newerInWords(record, "0.1.0"), newerProblem(record, "0.1.0")]) {
      assert.match(words, /is of format 2, and flock 0\.1\.0 knows 1: .*flock 0\.3\.0/)
    }
    assert.match(
      newerInWords(whole, "0.1.0"),
      /allocations\/format is of format 3.*no pod is added here.*drain the node/
    )
  })
})

const onDisk = <A>(
  files: Readonly<Record<string, string>>,
  use: (disk: TestDisk, allocations: Allocations["Service"]) => Effect.Effect<A, unknown>
) => {
  const disk = new TestDisk()
  for (const [name, text] of Object.entries(files)) disk.files.set(name, text)
  return Effect.flatMap(Allocations, (allocations) => use(disk, allocations)).pipe(Effect.provide(layerTest(disk)))
}

const written = (a: typeof one) =>
  onDisk(
    {},
    (disk, allocations) =>
      Effect.as(Effect.andThen(allocations.prepare(a), allocations.commit(a)), [...disk.files.values()][0] ?? "").pipe(
        Effect.map(() => [...disk.files.values()][0] ?? "")
      )
  )

describe("a newer record", () => {
  it.effect("stays as it is whatever is done, and the others are served", () =>
    Effect.gen(function*() {
      const files = {
        "c1@eth0.json": yield* written(one),
        "c2@eth0.json": NEXT,
        "c3@eth0.pending": NEXT,
        "c4@eth0.rebuilt": NEXT
      }
      yield* onDisk(files, (disk, allocations) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(allocations.newer.map(({ key }) => key), ["c2/eth0", "c3/eth0", "c4/eth0"])
          assert.deepStrictEqual([allocations.unreadable, allocations.interrupted], [0, []])
          assert.deepStrictEqual(yield* allocations.list, [one])
          // what take-over rebuilds from the kernel is in memory alone
          yield* allocations.adopt(two)
          assert.deepStrictEqual(yield* allocations.list, [one, two])
          assert.deepStrictEqual(yield* allocations.unwritten, [])
          for (const refused of [allocations.assertWritable("c2/eth0"), allocations.prepare(two)]) {
            assert.match((yield* Effect.flip(refused)).message, /c2@eth0\.json: it is of format 2/)
          }
          yield* allocations.remove(attachmentKey(two))
          assert.isTrue(Option.isNone(yield* allocations.get(attachmentKey(two))))
          assert.deepStrictEqual(Object.fromEntries(disk.files), files)
          yield* allocations.remove(attachmentKey(one))
          assert.isFalse(disk.files.has("c1@eth0.json"))
        }))
    }))

  it.effect("is read where it has no version: that is the first", () =>
    Effect.gen(function*() {
      const { version, ...rest } = JSON.parse(yield* written(one))
      assert.strictEqual(version, 1)
      yield* onDisk({ "c1@eth0.json": JSON.stringify(rest) }, (_, allocations) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* allocations.list, [one])
        }))
    }))
})

describe("a folder of a newer format", () => {
  it.effect("is not touched, and nothing is added", () =>
    Effect.gen(function*() {
      const files = {
        format: "{\"version\":2}",
        "c1@eth0.json": yield* written(one),
        "c5@eth0.json": "{",
        "c6@eth0.pending": "{",
        "c7@eth0.rebuilt": "{"
      }
      yield* onDisk(files, (disk, allocations) =>
        Effect.gen(function*() {
          assert.deepStrictEqual(allocations.newer.map(({ file }) => file), ["/allocations/format"])
          assert.deepStrictEqual(yield* allocations.list, [])
          assert.deepStrictEqual([allocations.unreadable, allocations.interrupted], [0, []])
          yield* allocations.adopt(one)
          yield* allocations.remove(attachmentKey(one))
          assert.match(
            (yield* Effect.flip(allocations.prepare(two))).message,
            /\/allocations\/format: it is of format 2/
          )
          assert.deepStrictEqual(Object.fromEntries(disk.files), files)
        }))
    }))

  it.effect("is one that says so in a file that can be read: another is no reason to refuse every pod", () =>
    Effect.gen(function*() {
      yield* onDisk(
        { format: "{\"version\":", "c1@eth0.json": yield* written(one) },
        (_, allocations) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(allocations.newer, [])
            assert.deepStrictEqual(yield* allocations.list, [one])
          })
      )
    }))
})
