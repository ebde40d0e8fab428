/**
 * The agent's unix socket: one connection per call, one line in, one line out: a CNI call (`Wire.ts`) or a tool's question
 * (`Tools.ts`). Both on one socket: one file to mount, to guard and to find an agent by.
 *
 * On `node:net` and not on Effect's NodeSocketServer, which was measured with calls that do nothing (medians of 3): a call
 * 117 against 230 µs, 0.07 against 0.20 ms of processor a call when 100 come at once, 25 MB more memory after 8000 calls;
 * and while it waits for calls under way it still accepts new ones, only to drop them.
 */
import { Context, Data, Effect, FiberSet, FileSystem, Layer, Result, Schema, Scope } from "effect"
import * as Net from "node:net"
import { Cni } from "../cni/Cni.ts"
import { Code, NEWEST } from "../cni/spec.ts"
import { encodeError, RequestFromLine } from "../domain/Wire.ts"
import { answerLine } from "./answer.ts"
import { Introspection } from "./Introspection.ts"
import { readLine } from "./readLine.ts"
import { isQuestion } from "./Tools.ts"

export class ListenFailed extends Data.TaggedError("ListenFailed")<{ readonly path: string; readonly detail: string }> {
  override get message(): string {
    return `cannot listen on ${this.path}: ${this.detail}`
  }
}

/** Milliseconds until a caller is cut off that says nothing, or does not go once it has its reply. */
const SILENCE = 10_000

/** Connections that wait to be accepted (listen(2)); the kernel caps it at net.core.somaxconn. */
const BACKLOG = 4096

/** Fails if an agent serves there: two of them would undo each other's work. A socket file that nobody serves is no one's. */
export const assertUnserved = (path: string): Effect.Effect<void, ListenFailed> =>
  Effect.callback((resume) => {
    const connection = Net.connect(path, () => {
      connection.destroy()
      resume(Effect.fail(new ListenFailed({ path, detail: "another flock-agent serves there already" })))
    })
    connection.on("error", () => resume(Effect.void))
    return Effect.sync(() => connection.destroy())
  })

export interface Options {
  readonly path: string
  /** A connection was accepted; what it returns is called when that has ended. */
  readonly onCall: () => () => void
  /** Default: {@link SILENCE}. */
  readonly silence?: number
}

const decode = Schema.decodeUnknownResult(RequestFromLine)

const refusal = (message: string): string =>
  encodeError({ cniVersion: NEWEST, code: Code.DECODE_FAILURE, msg: message })

/** Listens while the scope is open. Closing it refuses new calls first, then waits for those under way. */
const listenWith = Effect.fnUntraced(function*(
  { onCall, path, silence = SILENCE }: Options,
  answer: (line: string) => Effect.Effect<string>
) {
  const fibers = yield* FiberSet.make<void>()
  yield* Effect.addFinalizer(() => FiberSet.awaitEmpty(fibers))
  const run = yield* FiberSet.runtime(fibers)()
  const onConnection = (socket: Net.Socket) => {
    socket.on("close", onCall())
    // A caller that went away gets no reply; what it asked for is done all the same.
    socket.on("error", () => socket.destroy())
    const reply = (line: string) => {
      socket.setTimeout(silence)
      socket.end(line)
    }
    readLine(
      socket,
      silence,
      (line) => run(Effect.map(answer(line), reply)),
      (problem) => reply(refusal(problem))
    )
  }
  yield* Effect.acquireRelease(
    Effect.callback<Net.Server, ListenFailed>((resume) => {
      const server = Net.createServer({ allowHalfOpen: true }, onConnection)
      server.on("error", ({ message }) => resume(Effect.fail(new ListenFailed({ path, detail: message }))))
      server.listen({ path, backlog: BACKLOG }, () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )
})

export class RpcServer extends Context.Service<RpcServer, {
  /** Listens. Returns when connections are accepted; the socket closes with the scope, calls under way first end. */
  readonly listen: Effect.Effect<void, ListenFailed>
}>()("flock/RpcServer") {
  static readonly layer = (
    options: Options
  ): Layer.Layer<RpcServer, never, Cni | FileSystem.FileSystem | Introspection> =>
    Layer.effect(
      RpcServer,
      Effect.gen(function*() {
        const cni = yield* Cni
        const fs = yield* FileSystem.FileSystem
        const introspection = yield* Introspection
        const scope = yield* Effect.scope

        const answer = (line: string): Effect.Effect<string> => {
          if (isQuestion(line)) return answerLine(introspection, line)
          const request = decode(line)
          return Result.isFailure(request)
            ? Effect.succeed(refusal(`the request is not valid: ${request.failure.message}`))
            : cni.handle(request.success)
        }

        const listen = Effect.gen(function*() {
          yield* fs.remove(options.path, { force: true })
          yield* listenWith(options, answer)
          yield* fs.chmod(options.path, 0o600)
        }).pipe(
          Effect.catchTag("PlatformError", ({ message }) =>
            Effect.fail(new ListenFailed({ path: options.path, detail: message }))),
          Effect.provideService(Scope.Scope, scope)
        )

        return RpcServer.of({ listen })
      })
    )
}
