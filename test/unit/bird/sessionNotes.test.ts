import { assert, describe, it } from "@effect/vitest"
import { Effect, Queue } from "effect"
import { unreachableOf } from "../../../src/bird/learned.ts"
import { listen } from "../../../src/bird/messages.ts"
import { heard, isNotification, type Notes, seen, unusableOf } from "../../../src/bird/sessionNotes.ts"
import { fakeBird } from "./fakeBird.ts"

const P = "peer_2001_db8_ffff__1"
const NONE: Notes = new Map()
const hear = (...lines: ReadonlyArray<string>): Notes =>
  lines.reduce(
    (notes, line) => heard(notes, `${P}: ${line}`, "then", (prefix) => prefix.startsWith("2001:db8:e:")),
    NONE
  )
const session = (state: string, lastError = "") => [{ protocol: P, state, lastError }]
const look = (notes: Notes, state: string, lastError = "", learned: ReadonlyArray<string> = []) =>
  seen(notes, session(state, lastError), new Map([[P, new Set(learned)]]), "now")

describe("what BIRD says once of a session", () => {
  it.each(
    [
      [
        "Received: Maximum number of prefixes reached: 00020100000001",
        "received",
        "Maximum number of prefixes reached"
      ],
      ["Received: Administrative shutdown", "received", "Administrative shutdown"],
      ["Error: Hold timer expired", "sent", "Hold timer expired"],
      ["Error: Bad peer AS: fde8", "sent", "Bad peer AS"]
    ] as const
  )("is a NOTIFICATION: %s", (line, direction, message) => {
    assert.deepStrictEqual(hear(line).get(P)?.notification, { direction, message, at: "then" })
    assert.isTrue(isNotification(`${P}: ${line}`))
  })

  it.each(["Invalid route 2001:db8:e:1::/64 withdrawn", "Neighbor lost", ""])("is none: %s", (line) => {
    assert.isUndefined(hear(line).get(P)?.notification)
    assert.isFalse(isNotification(`${P}: ${line}`))
  })

  it("stays when the session has other errors, and when it is up again", () => {
    const notes = hear("Received: Maximum number of prefixes reached: 00020100000001")
    for (const after of [look(notes, "Active", "Socket: Connection reset by peer"), look(notes, "Established")]) {
      assert.strictEqual(after.get(P)?.notification?.at, "then")
    }
    assert.strictEqual(seen(notes, [], new Map(), "now").size, 0, "the peer is not configured any more")
  })

  it("is taken from the last error where the log was not heard, once", () => {
    const first = look(NONE, "Active", "BGP Error: Bad peer AS")
    assert.deepStrictEqual(first.get(P)?.notification, { direction: "sent", message: "Bad peer AS", at: "now" })
    const again = seen(first, session("Idle", "BGP Error: Bad peer AS"), new Map(), "later")
    assert.strictEqual(again.get(P)?.notification?.at, "now")
    assert.strictEqual(look(NONE, "Active", "Socket: Connection closed").size, 0)
  })

  it("names dropped routes that may be learned, until BIRD has them or the session ends", () => {
    const complaint = "Invalid NEXT_HOP attribute - address 2001:db8:dead::1 not directly reachable"
    const notes = hear(
      complaint,
      ...["2001:db8:e:1::/64", "2001:db8:e:2::/64", "2001:db8:e:2::/64", "2001:db8:100::/64"].map((prefix) =>
        `Invalid route ${prefix} withdrawn`
      )
    )
    const of = (now: Notes) => unusableOf(now.get(P), [])
    const both = { count: 2, reason: complaint, examples: ["2001:db8:e:1::/64", "2001:db8:e:2::/64"] }
    assert.deepStrictEqual(of(look(notes, "Established")), both)
    assert.strictEqual(of(look(notes, "Established", "", ["2001:db8:e:1::/64"]))?.count, 1)
    assert.isUndefined(of(look(notes, "Active")))
    assert.strictEqual(unusableOf(undefined, ["2001:db8:e:9::/64"])?.reason.includes("not reachable"), true)
  })

  it("is kept of a thousand routes and no more", () => {
    const lines = Array.from({ length: 1200 }, (_, i) => `Invalid route 2001:db8:e:${i.toString(16)}::/64 withdrawn`)
    const unusable = unusableOf(look(hear(...lines), "Established").get(P), [])
    assert.deepStrictEqual([unusable?.count, unusable?.examples.length], [1000, 3])
  })

  it.live("is heard as BIRD logs it, cut anywhere, and again after BIRD was gone", () =>
    Effect.gen(function*() {
      const bird = yield* fakeBird((line, socket) => {
        if (!line.startsWith("echo ")) return undefined
        setTimeout(() => socket.write("ase\n+x: y\n"), 20)
        return "0000 \n+peer_1: Received: Ce"
      })
      const came = yield* Queue.sliding<void>(1)
      const told = yield* Queue.unbounded<string>()
      const lost = yield* Queue.unbounded<void>()
      yield* Effect.forkScoped(
        listen(bird.socketPath, came, (messages) => Queue.offerAll(told, messages), Queue.offer(lost, undefined))
      )
      for (const _ of [1, 2]) {
        yield* Queue.offer(came, undefined)
        assert.deepStrictEqual(yield* Queue.takeN(told, 2), ["peer_1: Received: Cease", "x: y"])
        bird.closeAll()
        yield* Queue.take(lost)
      }
    }).pipe(Effect.scoped))
})

it("finds routes that lead nowhere, by session", () => {
  const lines = [
    "Table master6:",
    "2001:db8:e:1::/64    unreachable [peer_a 22:38:00.821 from 2001:db8:9::9] * (100) [AS65000i]",
    "                     unreachable [peer_b 22:38:00.821 from 2001:db8:9::9] (100) [AS65000i]",
    "2001:db8:e:2::/64    unreachable [peer_a 22:38:00.821 from 2001:db8:9::9] * (100) [AS65000i]",
    "2001:db8:e:3::/64    unicast [peer_a 22:38:00.821] * (100) [AS65000i]",
    ""
  ].map((text) => ({ code: 1007, text }))
  assert.deepStrictEqual([...unreachableOf({ code: 0, lines })], [
    ["peer_a", ["2001:db8:e:1::/64", "2001:db8:e:2::/64"]],
    ["peer_b", ["2001:db8:e:1::/64"]]
  ])
})
