/**
 * Requests to the API server over `node:http(s)`, with deadlines, and watches as Streams that notice a server which has
 * gone silent. Every response is counted in `flock_kube_requests_total`.
 */
import { Cause, Clock, Effect, Metric, Stream } from "effect"
import * as http from "node:http"
import * as https from "node:https"
import { type Access, type Accesses, ApiError } from "./access.ts"
import * as Lines from "./lines.ts"

export interface Request {
  /** The RBAC verb, for messages and the metric; decides the HTTP method. */
  readonly verb: "get" | "list" | "watch" | "create" | "patch"
  /** Such as `nodes/status`; for the metric. */
  readonly resource: string
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** Of a patch. */
  readonly patch?: "application/strategic-merge-patch+json" | "application/merge-patch+json"
}

/** One line of a watch: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`. */
export interface WatchEvent {
  readonly type: string
  readonly object: unknown
}

export interface Client {
  /** The decoded JSON of a 2xx answer. */
  readonly request: (request: Request) => Effect.Effect<unknown, ApiError>
  /** Ends when the server ends the watch; fails when nothing came for `idleMillis`. */
  readonly watch: (request: Request) => Stream.Stream<WatchEvent, ApiError>
}

export interface Timing {
  /** A request without a complete answer in this time fails. */
  readonly requestMillis: number
  /**
   * A watch on which nothing came is taken for dead. Longer than any `timeoutSeconds` asked for: servers promise no
   * bookmarks on a resource that does not change. A cut network shows sooner by TCP keepalive (25 s), a server that
   * stopped by the first request that it lets hang (see `suspect`), such as the Node condition's patch every minute.
   */
  readonly idleMillis: number
}

export const timing: Timing = { requestMillis: 10_000, idleMillis: 510_000 }

/** A line longer than any object the API server stores (etcd: 1.5 MiB; 3 MiB for aggregated ones). */
const LINE_LIMIT = 32 * 1024 * 1024

/** However long the server asks to be left alone, a node must not be blind for longer. */
const MOST_RETRY_SECONDS = 60

const requests = Metric.counter("flock_kube_requests_total", {
  description: "Answers of the API server by verb, resource and status code (0: no answer)",
  incremental: true
})

const methodOf = { get: "GET", list: "GET", watch: "GET", create: "POST", patch: "PATCH" } as const

const urlOf = (access: Access, request: Request): URL => {
  const url = new URL(access.server + request.path)
  for (const [key, value] of Object.entries(request.query ?? {})) url.searchParams.set(key, value)
  return url
}

const what = (request: Request): string => `${methodOf[request.verb]} ${request.path}`

const silent = (request: Request, why: string) =>
  new ApiError({ message: `${what(request)}: no answer from the API server: ${why}`, status: 0 })

const refusal = (request: Request, response: http.IncomingMessage, text: string): ApiError => {
  const status = response.statusCode ?? 0
  const seconds = Number(response.headers["retry-after"])
  let detail = response.statusMessage ?? ""
  try {
    const body: unknown = JSON.parse(text)
    if (typeof body === "object" && body !== null && "message" in body) detail = String(body.message)
  } catch {
    // a proxy's page or nothing: the status line is all there is to say
  }
  return new ApiError({
    message: `${what(request)}: the API server answered ${status}: ${detail.slice(0, 500)}`,
    status,
    ...(Number.isFinite(seconds) && seconds > 0 ? { retryAfterSeconds: Math.min(seconds, MOST_RETRY_SECONDS) } : {})
  })
}

/** Sends; `onResponse` is called with the head of the answer. A pooled connection closed meanwhile is retried once. */
const send = (
  access: Access,
  request: Request,
  onResponse: (response: http.IncomingMessage) => void,
  onError: (error: ApiError) => void
): () => void => {
  const url = urlOf(access, request)
  const body = request.body === undefined ? undefined : Buffer.from(JSON.stringify(request.body))
  const headers: Record<string, unknown> = {
    ...access.options.headers,
    "User-Agent": "flock-agent",
    Accept: "application/json",
    ...(body === undefined
      ? {}
      : { "Content-Type": request.patch ?? "application/json", "Content-Length": body.length })
  }
  let current: http.ClientRequest
  const start = (again: boolean): http.ClientRequest => {
    const sent = (url.protocol === "https:" ? https : http).request(url, {
      ...access.options,
      headers: headers as http.OutgoingHttpHeaders,
      method: methodOf[request.verb]
    })
    let answered = false
    sent.setSocketKeepAlive(true, 15_000)
    sent.once("response", (response) => {
      answered = true
      onResponse(response)
    })
    sent.on("error", (e: NodeJS.ErrnoException) => {
      if (again && !answered && sent.reusedSocket && e.code === "ECONNRESET") current = start(false)
      else onError(silent(request, e.message))
    })
    return sent.end(body)
  }
  current = start(true)
  return () => current.destroy()
}

/** The whole answer as text. */
const exchange = (access: Access, request: Request): Effect.Effect<[http.IncomingMessage, string], ApiError> =>
  Effect.callback((resume) => {
    const fail = (error: ApiError) => resume(Effect.fail(error))
    const stop = send(access, request, (response) => {
      const chunks: Array<Buffer> = []
      response.on("data", (chunk: Buffer) => chunks.push(chunk))
      response.on("end", () => resume(Effect.succeed([response, Buffer.concat(chunks).toString("utf8")])))
      response.on("error", (e) => fail(silent(request, e.message)))
    }, fail)
    return Effect.sync(stop)
  })

const head = (access: Access, request: Request): Effect.Effect<http.IncomingMessage, ApiError> =>
  Effect.callback((resume) => {
    const stop = send(
      access,
      request,
      (response) => {
        // it may break while nobody reads, which must not be an uncaught exception: the next read finds it
        response.on("error", () => {})
        resume(Effect.succeed(response))
      },
      (error) => resume(Effect.fail(error))
    )
    return Effect.sync(stop)
  })

/** Whatever the response has buffered, as soon as there is something; done at its end. */
const chunkOf = (response: http.IncomingMessage, fail: (why: string) => ApiError) =>
  Effect.callback<Buffer, ApiError | Cause.Done>((resume) => {
    const off = () => {
      response.off("readable", take).off("end", ended).off("error", broken).off("close", closed)
    }
    const finish = (effect: Effect.Effect<Buffer, ApiError | Cause.Done>) => {
      off()
      resume(effect)
    }
    const take = () => {
      const chunk = response.read() as Buffer | null
      if (chunk !== null) finish(Effect.succeed(chunk))
    }
    const ended = () => finish(Cause.done())
    const broken = (e: Error) => finish(Effect.fail(fail(e.message)))
    const closed = () => response.readableEnded ? ended() : broken(response.errored ?? new Error("connection closed"))
    response.on("readable", take).on("end", ended).on("error", broken).on("close", closed)
    if (response.readableEnded || response.destroyed) closed()
    else take()
    return Effect.sync(off)
  })

const eventOf = (line: string): WatchEvent => JSON.parse(line) as WatchEvent

const count = (request: Request, status: number) =>
  Metric.update(
    Metric.withAttributes(requests, { verb: request.verb, resource: request.resource, code: String(status) }),
    1
  )

export const make = (accesses: Accesses, { idleMillis, requestMillis }: Timing = timing): Client => {
  /** Open watches, and when something last came on each. */
  const watches = new Map<http.IncomingMessage, number>()

  /** A server that lets a request hang is likely to have forgotten its watches too: those that are silent start anew. */
  const suspect = Effect.gen(function*() {
    yield* accesses.dropIdle
    const now = yield* Clock.currentTimeMillis
    for (const [response, last] of watches) {
      if (now - last >= requestMillis) response.destroy(new Error("the API server does not answer other requests"))
    }
  })

  const timed = <A>(request: Request, effect: Effect.Effect<A, ApiError>): Effect.Effect<A, ApiError> =>
    Effect.timeoutOrElse(effect, {
      duration: requestMillis,
      orElse: () => Effect.andThen(suspect, Effect.fail(silent(request, `none within ${requestMillis} ms`)))
    }).pipe(Effect.tapError((e) => e.status === 0 ? count(request, 0) : Effect.void))

  const attempt = Effect.fnUntraced(function*(request: Request) {
    const access = yield* accesses.get
    const [response, text] = yield* timed(request, exchange(access, request))
    const status = response.statusCode ?? 0
    yield* count(request, status)
    if (status < 200 || status > 299) return yield* refusal(request, response, text)
    return yield* Effect.try({
      try: () => JSON.parse(text) as unknown,
      catch: () => new ApiError({ message: `${what(request)}: the answer is not JSON`, status })
    })
  })

  const open = Effect.fnUntraced(function*(request: Request) {
    const access = yield* accesses.get
    const response = yield* Effect.acquireRelease(
      timed(request, head(access, request)),
      (response) => Effect.sync(() => response.destroy()),
      { interruptible: true }
    )
    const status = response.statusCode ?? 0
    yield* count(request, status)
    if (status === 200) return response
    const body = yield* chunkOf(response, (why) => silent(request, why)).pipe(
      Effect.timeout(requestMillis),
      Effect.orElseSucceed(() => Buffer.alloc(0))
    )
    return yield* refusal(request, response, body.toString("utf8"))
  })

  /** A token that was rotated, or a kubeconfig that was replaced: read again, try again, once. */
  const renewed = <A, R>(effect: Effect.Effect<A, ApiError, R>): Effect.Effect<A, ApiError, R> =>
    Effect.catchIf(effect, (e) => e.status === 401, () => Effect.andThen(accesses.renew, effect))

  const events = Effect.fnUntraced(function*(request: Request) {
    const response = yield* renewed(open(request))
    const lines = Lines.make()
    const seen = Effect.map(Clock.currentTimeMillis, (now) => watches.set(response, now))
    yield* Effect.acquireRelease(seen, () => Effect.sync(() => watches.delete(response)))
    const read = Effect.gen(function*() {
      while (true) {
        const chunk = yield* chunkOf(response, (why) => silent(request, why)).pipe(
          Effect.timeoutOrElse({
            duration: idleMillis,
            orElse: () => Effect.fail(silent(request, `the watch was silent for ${idleMillis} ms`))
          })
        )
        yield* seen
        const [first, ...rest] = lines.push(chunk)
        if (lines.pending() > LINE_LIMIT) return yield* silent(request, "an endless line")
        if (first === undefined) continue
        return yield* Effect.try({
          try: () => [eventOf(first), ...rest.map(eventOf)] as const,
          catch: () => silent(request, "a watch event that is not JSON")
        })
      }
    })
    return Stream.fromPull(Effect.succeed(read))
  })

  return {
    request: (request) => renewed(attempt(request)),
    watch: (request) => Stream.unwrap(events(request))
  }
}
