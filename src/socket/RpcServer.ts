/**
 * The agent's unix socket: one connection per call, one line in, one line out: a CNI call (`Wire.ts`) or a tool's question
 * (`Tools.ts`). Both on one socket: one file to mount, to guard and to find an agent by.
 */
import { Context, Data, Effect, FiberSet, FileSystem, Layer, Result, Schema, Scope } from "effect"
import * as Net from "node:net"
import { Cni } from "../cni/Cni.ts"
import { Code, NEWEST } from "../cni/spec.ts"
import { encodeError, MAX_LINE, RequestFromLine } from "../domain/Wire.ts"
import { answerLine } from "./answer.ts"
import { Introspection } from "./Introspection.ts"
import { isQuestion } from "./Tools.ts"

export class ListenFailed extends Data.TaggedError("ListenFailed")<{ readonly path: string; readonly detail: string }> {
  override get message(): string {
    return `cannot listen on ${this.path}: ${this.detail}`
  }
}

/** A caller that connects and does not finish its line is cut off after this many milliseconds of silence. */
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

export class RpcServer extends Context.Service<RpcServer, {
  /** Listens. Returns when connections are accepted; the socket closes with the scope, calls under way first end. */
  readonly listen: Effect.Effect<void, ListenFailed>
}>()("flock/RpcServer") {}

const decode = Schema.decodeUnknownResult(RequestFromLine)

const refusal = (message: string): string =>
  encodeError({ cniVersion: NEWEST, code: Code.DECODE_FAILURE, msg: message })

/** Calls `onLine` with the first line, or `onBad` with what is wrong, once. */
const readLine = (socket: Net.Socket, onLine: (line: string) => void, onBad: (message: string) => void): void => {
  const chunks: Array<Buffer> = []
  let length = 0
  const done = () => {
    socket.removeListener("data", onData)
    socket.removeListener("end", onEnd)
    socket.setTimeout(0)
    // Without a reader the stream must still flow, or the peer's end is never seen.
    socket.resume()
  }
  const onData = (chunk: Buffer) => {
    const newline = chunk.indexOf(10)
    const part = newline < 0 ? chunk : chunk.subarray(0, newline)
    chunks.push(part)
    length += part.length
    if (length >= MAX_LINE) {
      done()
      onBad(`the request is longer than ${MAX_LINE} bytes`)
    } else if (newline >= 0) {
      done()
      onLine(Buffer.concat(chunks).toString("utf8"))
    }
  }
  const onEnd = () => {
    done()
    onBad("the request ended before its line did")
  }
  socket.on("data", onData)
  socket.on("end", onEnd)
  socket.setTimeout(SILENCE, () => socket.destroy())
}

export const layer = (options: { readonly path: string; readonly onCall: () => void }) =>
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

      const onConnection = (run: (effect: Effect.Effect<void>) => unknown) => (socket: Net.Socket) => {
        // A caller that went away gets no reply; what it asked for is done all the same.
        options.onCall()
        socket.on("error", () => socket.destroy())
        const reply = (line: string) => socket.end(line)
        readLine(
          socket,
          (line) => run(Effect.map(answer(line), reply)),
          (message) => reply(refusal(message))
        )
      }

      const listen = Effect.gen(function*() {
        // Calls under way end before the layers they use do.
        const fibers = yield* FiberSet.make<void>()
        yield* Effect.addFinalizer(() => FiberSet.awaitEmpty(fibers))
        const run = yield* FiberSet.runtime(fibers)()
        yield* fs.remove(options.path, { force: true }).pipe(
          Effect.mapError((error) => new ListenFailed({ path: options.path, detail: error.message }))
        )
        yield* Effect.acquireRelease(
          Effect.callback<Net.Server, ListenFailed>((resume) => {
            const server = Net.createServer({ allowHalfOpen: true }, onConnection(run))
            server.on(
              "error",
              (error) => resume(Effect.fail(new ListenFailed({ path: options.path, detail: error.message })))
            )
            server.listen({ path: options.path, backlog: BACKLOG }, () => resume(Effect.succeed(server)))
          }),
          (server) => Effect.sync(() => server.close())
        )
        yield* fs.chmod(options.path, 0o600).pipe(
          Effect.mapError((error) => new ListenFailed({ path: options.path, detail: error.message }))
        )
      }).pipe(Effect.provideService(Scope.Scope, scope))

      return RpcServer.of({ listen })
    })
  )
