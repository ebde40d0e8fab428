import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { ApiError } from "../../../src/kube/access.ts"
import { type Client, WatchSilent } from "../../../src/kube/client.ts"
import { OpenWatches } from "../../../src/kube/openWatches.ts"
import { listAndWatch, type Signal } from "../../../src/kube/reflector.ts"
import { backOff, delayOf } from "../../../src/kube/reflectorState.ts"
import type { Request } from "../../../src/kube/request.ts"
import type { WatchEvent } from "../../../src/kube/watchEvents.ts"

type Reply = ApiError | { readonly list: { readonly items: ReadonlyArray<unknown> } } | {
  readonly watch: ReadonlyArray<WatchEvent>
  readonly fails?: ApiError | WatchSilent
}

const item = (name: string, resourceVersion: string) => ({ metadata: { name, resourceVersion } })
const listed = (resourceVersion: string, names: ReadonlyArray<string>, more = "") => ({
  list: { metadata: { resourceVersion, continue: more }, items: names.map((name) => item(name, "1")) }
})
const event = (type: string, name: string, version: string): WatchEvent => ({ type, object: item(name, version) })
const gone: WatchEvent = { type: "ERROR", object: { kind: "Status", code: 410 } }
const failure = (status: number, retryAfterSeconds?: number) =>
  new ApiError({ message: `answered ${status}`, status, ...(retryAfterSeconds ? { retryAfterSeconds } : {}) })

/** Answers requests from a script, in order; at its end a request waits for ever. */
const scripted = Effect.fnUntraced(function*(script: ReadonlyArray<Reply>) {
  const asked: Array<string> = []
  const ended = yield* Deferred.make<void>()
  let next = 0
  const reply = (request: Request) =>
    Effect.suspend(() => {
      const { continue: token, resourceVersion } = request.query ?? {}
      asked.push(`${request.verb} ${token ? `continue=${token}` : `from=${resourceVersion ?? "etcd"}`}`)
      const answer = script[next++]
      if (answer === undefined) return Effect.andThen(Deferred.succeed(ended, undefined), Effect.never)
      return answer instanceof ApiError ? Effect.fail(answer) : Effect.succeed(answer)
    })
  const client: Client = {
    watches: new OpenWatches(),
    outage: { end: () => Effect.void },
    latency: Effect.succeed(0),
    health: Effect.succeed({ watches: [], refused: [] }),
    request: () => Effect.die("lists and watches only"),
    list: (request, each) =>
      Effect.map(reply(request), (r) => {
        if (!("list" in r)) return assert.fail("a list was asked for")
        const { items, ...rest } = r.list
        for (const item of items) each(item, () => rest)
        return rest
      }),
    watch: (request) =>
      Stream.unwrap(Effect.map(reply(request), (r) => {
        if (!("watch" in r)) return assert.fail("a watch was asked for")
        const events = Stream.fromIterable(r.watch)
        return r.fails === undefined ? events : Stream.concat(events, Stream.fail(r.fails))
      }))
  }
  return { asked, client, ended }
})

const resource = {
  name: "things",
  path: "/apis/x/v1/things",
  fieldSelector: "metadata.name=a",
  decode: (object: unknown) => (object as { readonly metadata: { readonly name: string } }).metadata.name
}

const text = (signal: Signal<string>): string =>
  signal._tag === "Listed"
    ? `Listed ${signal.items.join(" ")}`
    : signal._tag === "Failed"
    ? `Failed ${signal.error.status}`
    : signal._tag === "Resumed"
    ? "Resumed"
    : `${signal._tag} ${signal.item}`

/** Everything that comes out while the script lasts; the clock runs a minute whenever all wait. */
const play = Effect.fnUntraced(function*(script: ReadonlyArray<Reply>, step: `${number} seconds` = "60 seconds") {
  const { asked, client, ended } = yield* scripted(script)
  const out = yield* Queue.unbounded<string>()
  const fiber = yield* Effect.forkChild(
    Stream.runForEach(listAndWatch(client, resource), (signal) => Queue.offer(out, text(signal)))
  )
  while (!(yield* Deferred.isDone(ended))) yield* TestClock.adjust(step)
  yield* Fiber.interrupt(fiber)
  return { asked, out: yield* Queue.clear(out) }
})

describe("a list and watch", () => {
  it.effect("lists from the server's cache, watches from there, and resumes where the watch ended", () =>
    Effect.gen(function*() {
      const { asked, out } = yield* play([
        listed("10", ["a"]),
        { watch: [event("ADDED", "b", "11"), event("MODIFIED", "b", "12"), event("DELETED", "a", "13")] },
        { watch: [event("BOOKMARK", "", "40")] },
        { watch: [], fails: failure(0) }
      ])
      assert.deepStrictEqual(asked, ["list from=0", "watch from=10", "watch from=13", "watch from=40", "watch from=40"])
      assert.deepStrictEqual(out, ["Listed a", "Changed b", "Changed b", "Removed a", "Failed 0"])
    }))

  it.effect("opens a silent watch anew from its version, at once, without a list and without a failure", () =>
    Effect.gen(function*() {
      const silent = { watch: [], fails: new WatchSilent({ millis: 130_000 }) }
      const { asked, out } = yield* play([listed("10", ["a"]), silent, silent, silent], "1 seconds")
      assert.deepStrictEqual(asked, ["list from=0", ...Array.from({ length: 4 }, () => "watch from=10")])
      assert.deepStrictEqual(out, ["Listed a"])
    }))

  it.effect("says that it is heard again, by a bookmark where nothing else comes", () =>
    Effect.gen(function*() {
      const { out } = yield* play([
        listed("10", ["a"]),
        { watch: [event("BOOKMARK", "", "20")], fails: failure(0) },
        { watch: [event("BOOKMARK", "", "30"), event("BOOKMARK", "", "40")], fails: failure(503) },
        { watch: [event("MODIFIED", "b", "50")] }
      ])
      assert.deepStrictEqual(out, ["Listed a", "Failed 0", "Resumed", "Failed 503", "Changed b"])
    }))

  it.effect("lists anew, no older than it was, when its version is forgotten: as an answer and as an event", () =>
    Effect.gen(function*() {
      const { asked, out } = yield* play([
        listed("10", ["a"]),
        { watch: [event("ADDED", "b", "11"), gone, event("ADDED", "never", "12")] },
        listed("20", ["b"]),
        failure(410),
        listed("30", ["c"]),
        failure(500)
      ])
      assert.deepStrictEqual(asked, [
        "list from=0",
        "watch from=10",
        "list from=11",
        "watch from=20",
        "list from=20",
        "watch from=30",
        "watch from=30"
      ])
      assert.deepStrictEqual(out, ["Listed a", "Changed b", "Listed b", "Failed 410", "Listed c", "Failed 500"])
    }))

  it.effect("lists anew, no older than it was, when a watch is refused; from etcd when its version is in the future", () =>
    Effect.gen(function*() {
      const { asked } = yield* play([listed("10", []), failure(403), failure(504), listed("5", []), { watch: [] }])
      assert.deepStrictEqual(asked, [
        "list from=0",
        "watch from=10",
        "list from=10",
        "list from=etcd",
        "watch from=5",
        "watch from=5"
      ])
    }))

  it.effect("asks for no list older than the last event, and comes back at once after a watch that worked", () =>
    Effect.gen(function*() {
      const { asked } = yield* play([listed("10", []), { watch: [event("ADDED", "b", "15")], fails: failure(403) }])
      assert.deepStrictEqual(asked, ["list from=0", "watch from=10", "list from=15"])

      const worn = yield* scripted([
        ...Array.from({ length: 12 }, () => failure(0)),
        listed("10", []),
        { watch: [event("ADDED", "b", "11")], fails: failure(0) }
      ])
      yield* Effect.forkChild(Stream.runDrain(listAndWatch(worn.client, resource)))
      for (let i = 0; i < 6000 && worn.asked.length < 14; i++) yield* TestClock.adjust("50 millis")
      assert.strictEqual(worn.asked.length, 14)
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(worn.asked.length, 15, "the back-off began anew")
    }))

  it.effect("reads a list page by page", () =>
    Effect.gen(function*() {
      const { asked, out } = yield* play([listed("10", ["a"], "T1"), listed("10", ["b"], "T2"), listed("10", ["c"])])
      assert.deepStrictEqual(asked, ["list from=0", "list continue=T1", "list continue=T2", "watch from=10"])
      assert.deepStrictEqual(out, ["Listed a b c"])
    }))

  it.effect("does not ask in a loop: after failures, after watches that end at once, and as Retry-After says", () =>
    Effect.gen(function*() {
      const { asked, client } = yield* scripted([
        listed("10", []),
        ...Array.from({ length: 500 }, (): Reply => ({ watch: [] }))
      ])
      yield* Effect.forkChild(Stream.runDrain(listAndWatch(client, resource)))
      yield* TestClock.adjust("2 minutes")
      assert.isBelow(asked.length, 20)

      const busy = yield* scripted([failure(429, 50), listed("10", [])])
      yield* Effect.forkChild(Stream.runDrain(listAndWatch(busy.client, resource)))
      yield* TestClock.adjust("49 seconds")
      assert.deepStrictEqual(busy.asked, ["list from=0"])
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(busy.asked, ["list from=0", "list from=0", "watch from=10"])
    }))

  it("backs off exponentially within bounds, half of it random", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (attempt, random) => {
          const delay = delayOf(attempt, random)
          const full = Math.min(backOff.most, backOff.first * 2 ** (attempt - 1))
          assert.isAtLeast(delay, full / 2)
          assert.isAtMost(delay, full)
        }
      )
    )
  })
})
