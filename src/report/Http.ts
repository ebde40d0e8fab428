/**
 * `/metrics`, `/healthz` and `/readyz`, on loopback unless told otherwise. Whoever reaches the port can ask as much as he
 * likes, and pods are served meanwhile: a connection has one request of bounded size and nothing more is read from it. A
 * server of Node's or Effect's parses what is pipelined before anybody can refuse it: with one, a pod's flood of 8 KB
 * connections kept ADD waiting for 2.5 s.
 */
import { Data, Effect, FiberSet, Ref, Result, type Scope } from "effect"
import { PrometheusMetrics } from "effect/observability"
import { STATUS_CODES } from "node:http"
import type { Socket } from "node:net"
import { oneLine } from "../domain/quote.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { keepListening, parseTarget, type Target } from "./listener.ts"
import { NodeReporter } from "./NodeReporter.ts"

export type { Target } from "./listener.ts"

export class BadHttpAddress extends Data.TaggedError("BadHttpAddress")<{ readonly address: string }> {
  override get message(): string {
    return `--http ${this.address}: must be HOST:PORT, such as 127.0.0.1:9476`
  }
}

export interface HttpOptions {
  readonly target: Target
  /** Brings further gauges up to date before they are read. */
  readonly beforeScrape: Effect.Effect<void>
  /** Series that come and go with pods, in Prometheus' text format. */
  readonly podMetrics: Effect.Effect<string>
  /** Milliseconds for which a scrape is the same. Default: {@link FRESH_MILLIS}. */
  readonly freshMillis?: number
}

export const FRESH_MILLIS = 1000
/** Bytes of a request line and its headers. */
export const MAX_HEAD = 8192

interface Answer {
  readonly status: number
  readonly text: string
  readonly type?: string
}

const line = (text: string, status = 200): Answer => ({ status, text: `${text}\n` })

const NOT_FOUND = line("not found: there are GET /metrics, /healthz and /readyz", 404)

const OPEN_METRICS = "text/plain; version=0.0.4; charset=utf-8"

/** The metrics as text, rendered at most once in `freshMillis`. */
const makeRender = Effect.fnUntraced(
  function*({ beforeScrape, freshMillis = FRESH_MILLIS, podMetrics }: HttpOptions) {
    const reporter = yield* NodeReporter
    const rendered = yield* Ref.make({ text: "", until: 0 })
    return Effect.gen(function*() {
      const now = yield* monotonicMillis
      const known = yield* Ref.get(rendered)
      if (now < known.until) return known.text
      yield* reporter.publish
      yield* beforeScrape
      const text = (yield* PrometheusMetrics.format()) + (yield* podMetrics)
      yield* Ref.set(rendered, { text, until: now + freshMillis })
      return text
    })
  }
)

const makeAnswer = Effect.fnUntraced(function*(options: HttpOptions) {
  const reporter = yield* NodeReporter
  const render = yield* makeRender(options)
  return (path: string): Effect.Effect<Answer> => {
    switch (path) {
      // Alive is: the event loop turns. What a router or an API server does is no reason to kill an agent.
      case "/healthz":
        return Effect.succeed(line("ok"))
      case "/readyz":
        return Effect.map(reporter.notReady, (reason) => reason === undefined ? line("ok") : line(oneLine(reason), 503))
      case "/metrics":
        return Effect.map(render, (text) => ({ status: 200, text, type: OPEN_METRICS }))
      default:
        return Effect.succeed(NOT_FOUND)
    }
  }
})

/** RFC 9112, section 3. */
const REQUEST_LINE = /^(GET|HEAD) ([^\s?]+)\S* HTTP\/1\.[01]\r?\n/

/** The head of the only request, without what follows it; undefined while it is not whole. */
const headOf = (text: string): string | undefined => /^[\s\S]*?\r?\n\r?\n/.exec(text)?.[0]

const reply = (socket: Socket, { status, text, type = "text/plain; charset=utf-8" }: Answer, body = true): void => {
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${type}`,
    `Content-Length: ${Buffer.byteLength(text)}`,
    "Connection: close"
  ]
  socket.end(`${head.join("\r\n")}\r\n\r\n${body ? text : ""}`, () => socket.destroy())
}

/** Reads one request's head, and stops reading. */
const readHead = (socket: Socket, then: (head: string | undefined) => void): void => {
  const read: { text: string } = { text: "" }
  const onData = (chunk: Buffer) => {
    read.text += chunk.toString("latin1")
    const head = headOf(read.text)
    if (head === undefined && read.text.length < MAX_HEAD) return
    socket.off("data", onData).pause()
    then(head)
  }
  socket.on("data", onData)
}

/** Of `HOST:PORT` or `[HOST]:PORT`. */
export const targetOf = (address: string): Result.Result<Target, BadHttpAddress> =>
  Result.fromNullishOr(parseTarget(address), () => new BadHttpAddress({ address }))

/** Answers for ever; a port that is taken is tried again. */
export const serve = Effect.fnUntraced(
  function*(options: HttpOptions): Effect.fn.Return<never, never, NodeReporter | Scope.Scope> {
    const answer = yield* makeAnswer(options)
    const run = yield* FiberSet.makeRuntime<never>()
    return yield* keepListening(options.target, (socket) =>
      readHead(socket, (head) => {
        const [, method, path] = REQUEST_LINE.exec(head ?? "") ?? []
        if (head === undefined) return reply(socket, line(`more than ${MAX_HEAD} bytes of headers`, 431))
        if (path === undefined) return reply(socket, NOT_FOUND)
        run(
          answer(path).pipe(
            Effect.catchCause((cause) =>
              Effect.as(Effect.logError(`HTTP ${path} failed`, cause), line("internal error", 500))
            ),
            Effect.map((given) => reply(socket, given, method === "GET"))
          )
        )
      }))
  }
)
