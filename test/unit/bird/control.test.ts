import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { makeControl } from "../../../src/bird/control.ts"
import { messageOf } from "../../../src/bird/reply.ts"
import { type Answer, fakeBird } from "./fakeBird.ts"

const open = Effect.fnUntraced(function*(answer: Answer, greeting?: Parameters<typeof fakeBird>[1]) {
  const bird = yield* fakeBird(answer, greeting)
  const control = yield* makeControl({ socketPath: bird.socketPath, timeout: "5 seconds" })
  return { bird, control }
})

const status: Answer = () => "1000-BIRD 2.0.12\n1011-Router ID is 192.0.2.2\n Hostname is vm\n0013 Daemon is up\n"

describe("the control socket client", () => {
  it.effect("reads the version, and replies with continuation, over one connection", () =>
    Effect.gen(function*() {
      const { bird, control } = yield* open(status)
      assert.strictEqual(yield* control.version, "")
      for (let i = 0; i < 3; i++) {
        const reply = yield* control.command("show status")
        assert.deepStrictEqual(reply.lines.map(({ code }) => code), [1000, 1011, 1011, 13])
        assert.strictEqual(reply.lines[2]?.text, "Hostname is vm")
      }
      assert.strictEqual(yield* control.version, "2.0.12")
      assert.strictEqual(yield* control.generation, 1)
      assert.strictEqual(bird.connections(), 1)
    }))

  it.effect("gives BIRD's own words on an error code, and keeps the connection", () =>
    Effect.gen(function*() {
      const { bird, control } = yield* open((line) =>
        line.startsWith("configure")
          ? "0002-Reading configuration from /x/bird.conf.new\n8002 /x/bird.conf.new:7:13 syntax error\n"
          : "0000 \n"
      )
      const error = yield* Effect.flip(control.command("configure check \"/x/bird.conf.new\""))
      assert.deepInclude(error, { _tag: "BirdRefused", code: 8002, detail: "/x/bird.conf.new:7:13 syntax error" })
      yield* control.command("show status")
      assert.strictEqual(bird.connections(), 1)
    }))

  it.effect("keeps commands that are asked at once apart", () =>
    Effect.gen(function*() {
      const { control } = yield* open((line) => `0023 ${line}\n`)
      const lines = Array.from({ length: 20 }, (_, i) => `eval ${i}`)
      const replies = yield* Effect.all(lines.map((line) => control.command(line)), { concurrency: "unbounded" })
      assert.deepStrictEqual(replies.map(messageOf), lines)
    }))

  it.effect("puts a reply together that comes byte by byte", () =>
    Effect.gen(function*() {
      const { control } = yield* open((line, socket) => {
        const bytes = Buffer.from(`0002-${line} ünï\n0023 end\n`)
        const next = (i: number): void => {
          if (i < bytes.length) socket.write(bytes.subarray(i, i + 1), () => setImmediate(() => next(i + 1)))
        }
        next(0)
        return undefined
      })
      const reply = yield* control.command("x")
      assert.deepStrictEqual(reply.lines.map(({ text }) => text), ["x ünï", "end"])
    }))

  it.effect("gives a stalled command up, and never takes its late reply for the next one's", () =>
    Effect.gen(function*() {
      let late: (() => void) | undefined
      const { bird, control } = yield* open((line, socket) => {
        if (line !== "stall") return `0023 ${line}\n`
        socket.write("0002-half a re")
        late = () => void socket.write("ply\n0023 stall\n")
        return undefined
      })
      const stalled = yield* Effect.forkChild(Effect.flip(control.command("stall")))
      yield* bird.received((line) => line === "stall")
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(stalled)
      assert.strictEqual(error._tag, "BirdUnavailable")
      assert.include(error.message, "no reply to \"stall\" within 5s")
      late?.()
      assert.strictEqual(messageOf(yield* control.command("next")), "next")
      assert.strictEqual(bird.connections(), 2)
      assert.strictEqual(yield* control.generation, 2)
    }))

  it.effect("gives up on a socket that never greets", () =>
    Effect.gen(function*() {
      let greeted: (() => void) | undefined
      const waiting = new Promise<void>((resolve) => greeted = resolve)
      const { control } = yield* open(() => undefined, () => greeted?.())
      const fiber = yield* Effect.forkChild(Effect.flip(control.command("x")))
      yield* Effect.promise(() => waiting)
      yield* TestClock.adjust("5 seconds")
      assert.include((yield* Fiber.join(fiber)).message, "no greeting within 5s")
    }))

  it.effect.each<[string, string, string]>([
    ["another greeting", "220 smtp ready\n", "never sends"],
    ["a refusal for greeting", "0016 Access restricted\n", "which is not BIRD's greeting"]
  ])("refuses %s", ([, text, message]) =>
    Effect.gen(function*() {
      const { control } = yield* open(() => undefined, (socket) => void socket.write(text))
      const error = yield* Effect.flip(control.command("x"))
      assert.include(error.message, message)
    }))

  it.effect("fails a command when the connection closes in the middle of a line, and opens another", () =>
    Effect.gen(function*() {
      const { bird, control } = yield* open((line, socket) => {
        if (line !== "cut") return "0000 \n"
        socket.end("0002-Reading conf")
        return undefined
      })
      const error = yield* Effect.flip(control.command("cut"))
      assert.include(error.message, "closed the connection")
      yield* control.command("next")
      assert.strictEqual(bird.connections(), 2)
    }))

  it.effect("does not trust a connection after garbage or an unasked reply", () =>
    Effect.gen(function*() {
      const { bird, control } = yield* open((line) =>
        line === "garbage" ? "\u0000\u0007nonsense\n" : line === "twice" ? "0000 \n0000 \n" : `0023 ${line}\n`
      )
      assert.include((yield* Effect.flip(control.command("garbage"))).message, "never sends")
      assert.include((yield* Effect.flip(control.command("twice"))).message, "sent more than was asked for")
      assert.strictEqual(messageOf(yield* control.command("next")), "next")
      assert.strictEqual(bird.connections(), 3)
    }))

  it.effect("does not collect a reply without end, and opens another connection", () =>
    Effect.gen(function*() {
      const { bird, control } = yield* open((line) =>
        line === "endless" ? `1007-${"x".repeat(17 << 20)}` : `0023 ${line}\n`
      )
      assert.include((yield* Effect.flip(control.command("endless"))).message, "a reply without end")
      assert.strictEqual(messageOf(yield* control.command("next")), "next")
      assert.strictEqual(bird.connections(), 2)
    }))

  it.effect("drops a connection that brought a reply while nothing was asked", () =>
    Effect.gen(function*() {
      let speak: (() => void) | undefined
      const { bird, control } = yield* open((line, socket) => {
        speak = () => void socket.write("0023 unasked\n")
        return `0023 ${line}\n`
      })
      yield* control.command("one")
      speak?.()
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 50)))
      assert.strictEqual(messageOf(yield* control.command("two")), "two")
      assert.strictEqual(bird.connections(), 2)
    }))

  it.effect("says the version all the while that commands are under way", () =>
    Effect.gen(function*() {
      const { control } = yield* open((line) => `0023 ${line}\n`)
      yield* control.command("one")
      const asking = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 200 }, (_, i) => `${i}`), (line) => control.command(line))
      )
      const versions = new Set<string>()
      while (asking.pollUnsafe() === undefined) {
        versions.add(yield* control.version)
        yield* Effect.yieldNow
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      assert.deepStrictEqual((yield* Fiber.join(asking)).map(messageOf), Array.from({ length: 200 }, (_, i) => `${i}`))
      assert.deepStrictEqual([...versions], ["2.0.12"])
    }))

  it.effect("survives a close while nothing is asked", () =>
    Effect.gen(function*() {
      const { bird, control } = yield* open(() => "0000 \n")
      yield* control.command("one")
      bird.closeAll()
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      // The close may still be on its way: then the first command finds out.
      yield* Effect.retry(control.command("two"), { times: 1 })
      assert.strictEqual(bird.connections(), 2)
    }))

  it.effect("says that there is no socket", () =>
    Effect.gen(function*() {
      const control = yield* makeControl({ socketPath: "/nonexistent/bird.ctl", timeout: "5 seconds" })
      const error = yield* Effect.flip(control.command("x"))
      assert.strictEqual(error.message, "BIRD's control socket /nonexistent/bird.ctl: ENOENT")
      assert.deepInclude(error, { _tag: "BirdUnavailable", reason: { _tag: "System", errno: "ENOENT" } })
    }))
})
