import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, FileSystem, Layer, Queue, Scope } from "effect"
import { createServer } from "node:net"
import { Cni } from "../../../src/cni/Cni.ts"
import { encodeRequest, encodeResult, MAX_LINE, type Request } from "../../../src/domain/Wire.ts"
import { ask } from "../../../src/socket/ask.ts"
import { callCni } from "../../../src/socket/exchange.ts"
import { Introspection } from "../../../src/socket/Introspection.ts"
import { assertUnserved, RpcServer } from "../../../src/socket/RpcServer.ts"
import { Refused } from "../../../src/socket/Tools.ts"
import { say } from "./connection.ts"

const STATUS = encodeRequest({ op: "STATUS", args: "ü" })

interface Answers {
  readonly cni?: (request: Request) => Effect.Effect<string>
  readonly tools?: Partial<Introspection["Service"]>
  /** Milliseconds. */
  readonly silence?: number
  readonly onCall?: () => () => void
}

const echo = (request: Request) => Effect.succeed(encodeResult({ echo: request.args }))

const place = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  return `${yield* fs.makeTempDirectoryScoped()}/agent.sock`
})

/** Listens in `scope`. */
const listenAt = (
  path: string,
  scope: Scope.Scope,
  { cni = echo, onCall = () => () => {}, silence, tools = {} }: Answers = {}
) =>
  Effect.gen(function*() {
    const layer = RpcServer.layer({ path, onCall, ...(silence === undefined ? {} : { silence }) })
    const services = yield* Layer.build(layer.pipe(
      Layer.provide([Layer.mock(Cni, { handle: cni }), Introspection.layerTest(tools)])
    ))
    yield* Effect.flatMap(RpcServer, ({ listen }) => listen).pipe(Effect.provide(services))
  }).pipe(Scope.provide(scope))

const serve = Effect.fnUntraced(function*(answers: Answers = {}) {
  const path = yield* place
  yield* listenAt(path, yield* Effect.scope, answers)
  return path
})

const run = <A, E>(effect: Effect.Effect<A, E, FileSystem.FileSystem | Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("a call", () => {
  it.live("is answered once its line has ended, also to a caller that has closed its own half", () =>
    run(Effect.gen(function*() {
      const path = yield* serve()
      const reply = { text: "{\"result\":{\"echo\":\"ü\"}}\n" }
      assert.deepStrictEqual(yield* Effect.promise(() => say(path, [STATUS])), reply)
      assert.deepStrictEqual(yield* Effect.promise(() => say(path, [STATUS], { keepOpen: true })), reply)
      const bytes = [...Buffer.from(STATUS)].map((byte) => Buffer.of(byte))
      assert.deepStrictEqual(yield* Effect.promise(() => say(path, bytes)), reply, "byte by byte")
      assert.deepStrictEqual(yield* Effect.promise(() => say(path, [STATUS, STATUS])), reply, "the first line counts")
    })))

  it.live.each<[string, string, RegExp]>([
    ["nothing", "", /ended before its line did/],
    ["half a line", STATUS.slice(0, -1), /ended before its line did/],
    ["an empty line", "\n", /is not valid/],
    ["no JSON", "hello\n", /is not valid/],
    ["JSON of another kind", "{\"verb\":\"ADD\"}\n", /is not valid[^]*op/],
    ["a line that is one byte too long", `${"x".repeat(MAX_LINE)}\n`, /longer than 1048576 bytes/],
    ["3 MiB and no line", "x".repeat(3 * MAX_LINE), /longer than 1048576 bytes/]
  ])("that is %s gets a CNI error", ([, text, words]) =>
    run(Effect.gen(function*() {
      const path = yield* serve()
      const said = yield* Effect.promise(() => say(path, [text]))
      assert.isUndefined(said.error)
      const { error } = JSON.parse(said.text)
      assert.deepInclude(error, { cniVersion: "1.1.0", code: 6 })
      assert.match(error.msg, words)
    })))

  it.live("is said to begin, and to end, whatever came of it", () =>
    run(Effect.gen(function*() {
      const ends = yield* Queue.unbounded<void>()
      const said: Array<string> = []
      const path = yield* serve({
        onCall: () => {
          said.push("begin")
          return () => {
            said.push("end")
            Queue.offerUnsafe(ends, undefined)
          }
        }
      })
      for (const text of [STATUS, "", "hello\n"]) {
        yield* Effect.promise(() => say(path, [text]))
        yield* Queue.take(ends)
      }
      assert.deepStrictEqual(said, ["begin", "end", "begin", "end", "begin", "end"])
    })))

  it.live("may be as long as a line may be", () =>
    run(Effect.gen(function*() {
      const path = yield* serve({ cni: ({ config }) => Effect.succeed(encodeResult(config.length)) })
      const room = MAX_LINE - encodeRequest({ op: "ADD" }).length
      const { text } = yield* Effect.promise(() => say(path, [encodeRequest({ op: "ADD", config: "x".repeat(room) })]))
      assert.strictEqual(text, encodeResult(room))
    })))

  it.live("of a caller that went away is done all the same", () =>
    run(Effect.gen(function*() {
      const done = yield* Queue.unbounded<string>()
      const go = yield* Deferred.make<void>()
      const path = yield* serve({
        cni: ({ op }) => Deferred.await(go).pipe(Effect.andThen(Queue.offer(done, op)), Effect.as(encodeResult(null)))
      })
      const { connect } = yield* Effect.promise(() => import("node:net"))
      yield* Effect.callback<void>((resume) => {
        const connection = connect(path, () =>
          connection.write(encodeRequest({ op: "ADD" }), () => {
            setTimeout(() => {
              connection.destroy()
              resume(Effect.void)
            }, 50)
          }))
      })
      yield* Deferred.succeed(go, undefined)
      assert.strictEqual(yield* Queue.take(done), "ADD")
      assert.strictEqual((yield* Effect.promise(() => say(path, [STATUS]))).error, undefined, "others are still served")
    })))

  it.live("that is never made is cut off, and holds up nobody", () =>
    run(Effect.gen(function*() {
      const path = yield* serve({ silence: 200 })
      const silent = Effect.promise(() => say(path, ["{\"op\":"], { keepOpen: true }))
      const [cut, served] = yield* Effect.all([silent, Effect.promise(() => say(path, [STATUS]))], {
        concurrency: "unbounded"
      })
      assert.strictEqual(cut.text, "")
      assert.match(served.text, /echo/)
    })).pipe(Effect.timeout("5 seconds")))

  it.live("is one of 500 at once", () =>
    run(Effect.gen(function*() {
      const path = yield* serve({ cni: (request) => Effect.delay(echo(request), "20 millis") })
      const lines = Array.from({ length: 500 }, (_, i) => encodeRequest({ op: "ADD", args: String(i) }))
      const replies = yield* Effect.promise(() => Promise.all(lines.map((line) => say(path, [line]))))
      assert.deepStrictEqual(replies, lines.map((_, i) => ({ text: encodeResult({ echo: String(i) }) })))
    })))
})

describe("the socket", () => {
  it.live("is root's, replaces a file that nobody serves, and is one agent's", () =>
    run(Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* place
      yield* fs.writeFileString(path, "left by an agent that was killed")
      yield* assertUnserved(path)
      yield* listenAt(path, yield* Effect.scope)
      assert.strictEqual((yield* fs.stat(path)).mode & 0o777, 0o600)
      assert.match((yield* Effect.flip(assertUnserved(path))).message, /another flock-agent serves there already/)
    })))

  it.live("in a folder that is not there is refused in a sentence", () =>
    run(Effect.gen(function*() {
      const error = yield* Effect.flip(listenAt("/nonexistent/agent.sock", yield* Effect.scope))
      assert.match(error.message, /^cannot listen on \/nonexistent\/agent\.sock: .*(ENOENT|EACCES)/)
    })))

  it.live("closes to new calls first, and then waits for those under way", () =>
    run(Effect.gen(function*() {
      const path = yield* place
      const scope = yield* Scope.make()
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      yield* listenAt(path, scope, {
        cni: (request) =>
          Deferred.succeed(begun, undefined).pipe(Effect.andThen(Deferred.await(go)), Effect.andThen(echo(request)))
      })
      const call = say(path, [STATUS])
      yield* Deferred.await(begun)
      // The handler is still on the stack that resumed this test.
      yield* Effect.yieldNow
      let closed = false
      const closing = Scope.close(scope, Exit.void).pipe(Effect.andThen(Effect.sync(() => closed = true)))
      const late = Effect.gen(function*() {
        yield* Effect.sleep("50 millis")
        assert.match((yield* Effect.promise(() => say(path, [STATUS]))).error ?? "", /ENOENT|ECONNREFUSED/)
        assert.isFalse(closed, "a call is still under way")
        yield* Deferred.succeed(go, undefined)
      })
      yield* Effect.all([closing, late], { concurrency: "unbounded" })
      assert.match((yield* Effect.promise(() => call)).text, /echo/)
    })))
})

describe("a tool", () => {
  it.live("is answered on the same socket, and is told why not in a sentence", () =>
    run(Effect.gen(function*() {
      const path = yield* serve({
        tools: {
          withdraw: (now) => Effect.succeed([`peer_1: disabled ${now}`]),
          restore: Effect.fail(new Refused({ message: "BIRD does not answer" }))
        }
      })
      assert.deepStrictEqual(yield* ask(path, { ask: "withdraw" }), ["peer_1: disabled false"])
      assert.deepStrictEqual(yield* ask(path, { ask: "withdraw", now: true }), ["peer_1: disabled true"])
      const error = yield* Effect.flip(ask(path, { ask: "restore" }))
      assert.deepInclude({ ...error }, { _tag: "Refused" })
      assert.strictEqual(error.message, "BIRD does not answer")
    })))

  it.live("of another version hears that from an agent of either age", () =>
    run(Effect.gen(function*() {
      const path = yield* serve()
      const { text } = yield* Effect.promise(() => say(path, ["{\"ask\":\"frobnicate\"}\n"]))
      assert.match(JSON.parse(text).refused, /the agent is flock .* "frobnicate" is not among/)
      const older = `${path}.older`
      const server = createServer((socket) =>
        socket.end("{\"error\":{\"cniVersion\":\"1.1.0\",\"code\":6,\"msg\":\"?\"}}\n")
      )
      yield* Effect.callback<void>((resume) => void server.listen(older, () => resume(Effect.void)))
      const error = yield* Effect.flip(ask(older, { ask: "status" }))
      server.close()
      assert.match(error.message, /^the agent on .*older is not of this tool's version, flock .*; use the agent's own/)
    })))

  it.live("without an agent, or with one that says nothing, hears that", () =>
    run(Effect.gen(function*() {
      const path = yield* place
      assert.match((yield* Effect.flip(ask(path, { ask: "status" }))).message, /no agent answers on .*--socket.*ENOENT/)
      const server = createServer((socket) => socket.destroy())
      yield* Effect.callback<void>((resume) => void server.listen(path, () => resume(Effect.void)))
      const error = yield* Effect.flip(ask(path, { ask: "status" }))
      server.close()
      assert.notStrictEqual(error.message, "")
    })))

  it.live("does not collect an answer without end", () =>
    run(Effect.gen(function*() {
      const path = yield* place
      const piece = Buffer.alloc(1 << 20, "x")
      let sent = 0
      const server = createServer((socket) => {
        const more = () => {
          while (!socket.destroyed && socket.write(piece)) sent += piece.length
          sent += piece.length
        }
        socket.on("drain", more).on("error", () => undefined)
        more()
      })
      yield* Effect.callback<void>((resume) => void server.listen(path, () => resume(Effect.void)))
      const error = yield* Effect.flip(ask(path, { ask: "status" }))
      server.close()
      assert.match(error.message, /its answer has more than 67108864 bytes$/)
      assert.isBelow(sent, 80 << 20)
    })))

  it.live("install-cni asks as the plugin does", () =>
    run(Effect.gen(function*() {
      const error = { cniVersion: "1.1.0", code: 50, msg: "this node has no NodeConfig" }
      const path = yield* serve({
        cni: ({ op }) => Effect.succeed(op === "STATUS" ? `${JSON.stringify({ error })}\n` : encodeResult(null))
      })
      yield* callCni(path, { op: "VERSION" })
      assert.strictEqual((yield* Effect.flip(callCni(path, { op: "STATUS" }))).message, error.msg)
    })))
})
