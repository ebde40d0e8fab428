/**
 * Client of BIRD's control socket: one command at a time over one connection that is kept open, and opened again by
 * the next command after it broke.
 */
import { Duration, Effect, Exit, Ref, Scope, Semaphore } from "effect"
import { type Connection, open } from "./connection.ts"
import { BirdRefused, BirdUnavailable } from "./controlErrors.ts"
import { messageOf, type Reply } from "./reply.ts"

export interface Control {
  /** Sends one line. Fails with {@link BirdRefused} on an error code. */
  readonly command: (line: string) => Effect.Effect<Reply, BirdUnavailable | BirdRefused>
  /** As the greeting of the open connection says, such as `2.0.12`; empty while there is none. */
  readonly version: Effect.Effect<string>
  /** Counts connections: a change means that BIRD may be another one. */
  readonly generation: Effect.Effect<number>
}

interface State {
  readonly connection: { readonly scope: Scope.Closeable; readonly to: Connection } | undefined
  readonly generation: number
}

export const makeControl = Effect.fn("Bird.makeControl")(function*(options: {
  readonly socketPath: string
  /** For connecting with greeting, and for each command. */
  readonly timeout: Duration.Input
}): Effect.fn.Return<Control, never, Scope.Scope> {
  const { socketPath, timeout } = options
  const limit = Duration.format(Duration.fromInputUnsafe(timeout))
  const lock = yield* Semaphore.make(1)
  const parent = yield* Effect.scope
  const state = yield* Ref.make<State>({ connection: undefined, generation: 0 })

  const within = <A>(effect: Effect.Effect<A, BirdUnavailable>, awaited: string) =>
    Effect.timeoutOrElse(effect, {
      duration: timeout,
      orElse: () => Effect.fail(new BirdUnavailable({ socketPath, reason: { _tag: "Silent", awaited, limit } }))
    })

  const drop = Effect.gen(function*() {
    const { connection } = yield* Ref.getAndUpdate(state, (now) => ({ ...now, connection: undefined }))
    if (connection !== undefined) yield* Scope.close(connection.scope, Exit.void)
  })

  const opened = Effect.gen(function*() {
    const { connection } = yield* Ref.get(state)
    return connection !== undefined && (yield* connection.to.isOpen) ? connection.to : undefined
  })

  const connected = Effect.gen(function*() {
    const present = yield* opened
    if (present !== undefined && (yield* present.isClean)) return present
    yield* drop
    const scope = yield* Scope.fork(parent)
    const to = yield* within(Scope.provide(open(socketPath), scope), "greeting").pipe(
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    yield* Ref.update(state, ({ generation }) => ({ connection: { scope, to }, generation: generation + 1 }))
    return to
  })

  // Anything but a whole reply breaks the connection: a late reply must not answer the next command.
  const command = Effect.fnUntraced(function*(line: string) {
    const reply = yield* Effect.flatMap(
      connected,
      ({ exchange }) => within(exchange(line), `reply to "${line.split(" ")[0]}"`)
    ).pipe(Effect.onError(() => drop), lock.withPermit)
    if (reply.code >= 8000) {
      return yield* new BirdRefused({ command: line, code: reply.code, detail: messageOf(reply) })
    }
    return reply
  })

  return {
    command,
    version: Effect.map(opened, (connection) => connection?.version ?? ""),
    generation: Effect.map(Ref.get(state), ({ generation }) => generation)
  }
})
