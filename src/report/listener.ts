/**
 * A TCP listener that others may flood: what it takes of the event loop has a bound, whatever comes. Where connections come
 * faster than that, it closes for a second, and the kernel refuses them without a word to this process.
 */
import { Data, Effect } from "effect"
import * as Net from "node:net"
import { full, type Limit, take, type TokenBucket } from "../process/tokenBucket.ts"

export class ListenFailed extends Data.TaggedError("ListenFailed")<{
  readonly target: Target
  readonly detail: string
}> {
  override get message(): string {
    const { host, port } = this.target
    return `cannot listen on ${host.includes(":") ? `[${host}]` : host}:${port} (--http): ${this.detail}`
  }
}

/** At one time. */
export const MAX_CONNECTIONS = 32
/** New ones; a scraper and a probe need one in some seconds. */
export const CONNECTION_LIMIT: Limit = { burst: 64, perSecond: 20 }
/** Milliseconds that one may last, whatever is sent on it. */
export const CONNECTION_MILLIS = 10_000
/** Those that wait to be accepted (listen(2)). */
const BACKLOG = 64
const PAUSE = "1 second"
/** Milliseconds between tries to listen: the first wait, and the longest. */
const RETRY = { first: 1000, most: 30_000 }

export interface Target {
  readonly host: string
  readonly port: number
}

/** Of `HOST:PORT` or `[HOST]:PORT`. */
export const parseTarget = (text: string): Target | undefined => {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  return match === null || port > 65535 ? undefined : { host: match[1] ?? match[2] ?? "", port }
}

/** The connections of one listener, over all times that it opens. */
class Connections {
  readonly #open = new Set<Net.Socket>()
  #bucket: TokenBucket = full(CONNECTION_LIMIT, performance.now())

  /** Whether there is room for this one. */
  admit(socket: Net.Socket): boolean {
    const [taken, left] = take(this.#bucket, CONNECTION_LIMIT, performance.now())
    this.#bucket = left
    if (!taken || this.#open.size >= MAX_CONNECTIONS) {
      socket.destroy()
      return taken
    }
    this.#open.add(socket)
    const end = setTimeout(() => socket.destroy(), CONNECTION_MILLIS)
    socket.on("close", () => {
      clearTimeout(end)
      this.#open.delete(socket)
    })
    return true
  }

  closeAll(): void {
    for (const socket of this.#open) socket.destroy()
  }
}

/** Listens until too many come at once. `onListening` is done once connections are accepted. */
const listen = (
  target: Target,
  connections: Connections,
  onConnection: (socket: Net.Socket) => void,
  onListening: () => void
): Effect.Effect<void, ListenFailed> =>
  Effect.callback((resume) => {
    const server = Net.createServer((socket) => {
      socket.on("error", () => socket.destroy())
      if (!connections.admit(socket)) {
        server.close()
        resume(Effect.void)
      } else if (!socket.destroyed) {
        onConnection(socket)
      }
    })
    // Accepting fails too, where file descriptors run out: that is no reason to close.
    server.on("error", ({ message }) => {
      if (!server.listening) resume(Effect.fail(new ListenFailed({ target, detail: message })))
    })
    server.listen({ ...target, backlog: BACKLOG }, onListening)
    return Effect.sync(() => server.close())
  })

/**
 * Hands on the connections to `target`, for ever. Where the port is taken it is said once, and tried again until it is
 * free. Closes all connections with the scope.
 */
export const keepListening = Effect.fnUntraced(function*(
  target: Target,
  onConnection: (socket: Net.Socket) => void
) {
  const connections = new Connections()
  const tried: { failures: number; said?: string } = { failures: 0 }
  yield* Effect.addFinalizer(() => Effect.sync(() => connections.closeAll()))
  const again = Effect.fnUntraced(function*(error: ListenFailed) {
    const wait = Math.min(RETRY.most, RETRY.first * 2 ** Math.min(tried.failures++, 20))
    if (tried.said !== error.message) yield* Effect.logError(`${error.message}; will be tried again, pods are served`)
    tried.said = error.message
    yield* Effect.sleep(wait)
  })
  const onListening = () => {
    tried.failures = 0
    delete tried.said
  }
  return yield* listen(target, connections, onConnection, onListening).pipe(
    Effect.andThen(Effect.sleep(PAUSE)),
    Effect.catch(again),
    Effect.forever
  )
})
