/** `/metrics`, `/healthz` and `/readyz`, on loopback. */
import { Data, Effect } from "effect"
import { PrometheusMetrics } from "effect/observability"
import * as NodeHttp from "node:http"

export class HttpListenFailed extends Data.TaggedError("HttpListenFailed")<{
  readonly address: string
  readonly detail: string
}> {
  override get message(): string {
    return `cannot listen on ${this.address} (--http): ${this.detail}`
  }
}

export interface HttpOptions {
  /** `HOST:PORT` or `[HOST]:PORT`. */
  readonly address: string
  /** Why the agent is not ready; undefined if it is. */
  readonly notReady: Effect.Effect<string | undefined>
  /** Brings gauges up to date before they are read. */
  readonly beforeScrape: Effect.Effect<void>
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
}

const plain = (status: number, body: string): Answer => ({
  status,
  type: "text/plain; charset=utf-8",
  body: `${body}\n`
})

const parseAddress = (text: string): { readonly host: string; readonly port: number } | undefined => {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  return match === null ? undefined : { host: match[1] ?? match[2] ?? "", port: Number(match[3]) }
}

/** Serves for as long as the scope is open. */
export const serve = Effect.fn("Http.serve")(function*({ address, beforeScrape, notReady }: HttpOptions) {
  const target = parseAddress(address)
  if (target === undefined || target.port > 65535) {
    return yield* new HttpListenFailed({ address, detail: "must be HOST:PORT, such as 127.0.0.1:9476" })
  }

  const answer = Effect.fnUntraced(function*(path: string) {
    switch (path) {
      // Alive is: the event loop turns. What a router or an API server does is no reason to kill an agent.
      case "/healthz":
        return plain(200, "ok")
      case "/readyz": {
        const reason = yield* notReady
        return reason === undefined ? plain(200, "ok") : plain(503, reason)
      }
      case "/metrics":
        yield* beforeScrape
        return {
          status: 200,
          type: "text/plain; version=0.0.4; charset=utf-8",
          body: yield* PrometheusMetrics.format()
        }
      default:
        return plain(404, "not found: there are /metrics, /healthz and /readyz")
    }
  })

  const context = yield* Effect.context()
  const run = Effect.runForkWith(context)
  const server = NodeHttp.createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0] ?? "/"
    run(Effect.map(answer(path), ({ body, status, type }) => {
      response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) }).end(body)
    }))
  })
  yield* Effect.acquireRelease(
    Effect.callback<void, HttpListenFailed>((resume) => {
      server.on("error", (error) => resume(Effect.fail(new HttpListenFailed({ address, detail: error.message }))))
      server.listen(target.port, target.host, () => resume(Effect.void))
    }),
    () =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
})
