/**
 * Client of BIRD's control socket: one command at a time over one connection that is kept open, and opened again by
 * the next command after it broke.
 */
import { Data, Duration, Effect, type Scope, Semaphore } from "effect"
import { connect, type Socket } from "node:net"
import { messageOf, type Reply, ReplyParser } from "./reply.ts"

/** BIRD is not there, or does not answer as BIRD does. */
export class BirdUnavailable extends Data.TaggedError("BirdUnavailable")<{
  readonly socketPath: string
  readonly detail: string
}> {
  override get message(): string {
    return `BIRD's control socket ${this.socketPath}: ${this.detail}`
  }
}

/** BIRD's own refusal: reply codes 8xxx and 9xxx. */
export class BirdRefused extends Data.TaggedError("BirdRefused")<{
  readonly command: string
  readonly code: number
  /** In BIRD's words; for a configuration `FILE:LINE:COLUMN message`. */
  readonly detail: string
}> {
  override get message(): string {
    return this.detail
  }
}

export interface Control {
  /** Sends one line. Fails with {@link BirdRefused} on an error code. */
  readonly command: (line: string) => Effect.Effect<Reply, BirdUnavailable | BirdRefused>
  /** As the greeting of the open connection says, such as `2.0.12`; empty while there is none. */
  readonly version: Effect.Effect<string>
  /** Counts connections: a change means that BIRD may be another one. */
  readonly generation: Effect.Effect<number>
}

interface Connection {
  readonly socket: Socket
  readonly version: string
  /** Set while a command waits; called once. */
  waiting: ((outcome: Reply | string) => void) | undefined
  /** Why the connection is of no use any more. */
  broken: string | undefined
}

const GREETING = /^BIRD (.+?) ready\.?$/

const open = (path: string): Effect.Effect<Connection, string> =>
  Effect.callback<Connection, string>((resume) => {
    const parser = new ReplyParser()
    const socket = connect(path)
    let connection: Connection | undefined
    const fail = (reason: string) => {
      socket.destroy()
      if (connection === undefined) {
        resume(Effect.fail(reason))
        return
      }
      connection.broken ??= reason
      connection.waiting?.(reason)
    }
    const take = (reply: Reply) => {
      if (connection === undefined) {
        const version = GREETING.exec(messageOf(reply))?.[1]
        if (reply.code !== 1 || version === undefined) {
          fail(`greets with ${JSON.stringify(messageOf(reply).slice(0, 80))}, which is not BIRD's greeting`)
          return
        }
        connection = { socket, version, waiting: undefined, broken: undefined }
        resume(Effect.succeed(connection))
      } else if (connection.waiting === undefined) {
        fail("sent a reply that nothing asked for")
      } else {
        connection.waiting(reply)
      }
    }
    socket.on("data", (chunk) => {
      const { garbage, idle, replies: [reply, ...more] } = parser.feed(chunk)
      // Before the reply is handed on: who waits for it may ask the next thing at once.
      if (garbage !== undefined) fail(`sent what BIRD never sends: ${JSON.stringify(garbage.slice(0, 80))}`)
      else if (more.length > 0 || (reply !== undefined && !idle)) fail("sent more than was asked for")
      else if (reply !== undefined) take(reply)
    })
    socket.on("error", (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
    socket.on("close", () => fail("closed the connection"))
    return Effect.sync(() => {
      if (connection === undefined) socket.destroy()
    })
  })

const exchange = (connection: Connection, line: string): Effect.Effect<Reply, string> =>
  Effect.callback<Reply, string>((resume) => {
    connection.waiting = (outcome) => {
      connection.waiting = undefined
      resume(typeof outcome === "string" ? Effect.fail(outcome) : Effect.succeed(outcome))
    }
    connection.socket.write(`${line}\n`)
    return Effect.sync(() => {
      connection.waiting = undefined
    })
  })

/** Anything but a whole reply breaks the connection: a late reply must not answer the next command. */
export const makeControl = Effect.fn("Bird.makeControl")(function*(options: {
  readonly socketPath: string
  /** For connecting with greeting, and for each command. */
  readonly timeout: Duration.Input
}): Effect.fn.Return<Control, never, Scope.Scope> {
  const { socketPath } = options
  const lock = yield* Semaphore.make(1)
  let current: Connection | undefined
  let generation = 0
  const drop = Effect.sync(() => {
    current?.socket.destroy()
    current = undefined
  })
  yield* Effect.addFinalizer(() => drop)

  const within = <A>(effect: Effect.Effect<A, string>, what: string) =>
    effect.pipe(
      Effect.timeoutOrElse({
        duration: options.timeout,
        orElse: () => Effect.fail(`${what} within ${Duration.format(Duration.fromInputUnsafe(options.timeout))}`)
      }),
      Effect.mapError((detail) => new BirdUnavailable({ socketPath, detail }))
    )

  const connection = Effect.suspend(() => {
    if (current !== undefined && current.broken === undefined) return Effect.succeed(current)
    return within(open(socketPath), "no greeting").pipe(
      Effect.tap((opened) =>
        Effect.sync(() => {
          current = opened
          generation++
        })
      )
    )
  })

  const command = Effect.fnUntraced(function*(line: string) {
    const reply = yield* Effect.flatMap(
      connection,
      (open) => within(exchange(open, line), `no reply to "${line.split(" ")[0]}"`)
    ).pipe(Effect.onError(() => drop), lock.withPermit)
    if (reply.code >= 8000) {
      return yield* new BirdRefused({ command: line, code: reply.code, detail: messageOf(reply) })
    }
    return reply
  })

  return {
    command,
    version: Effect.sync(() => current?.broken === undefined ? current?.version ?? "" : ""),
    generation: Effect.sync(() => generation)
  }
})
