/** What is asked of the API server, as an HTTP request, and what it means when the answer is no. Pure. */
import type { HttpClientError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import { STATUS_CODES } from "node:http"
import { record, records } from "../domain/record.ts"
import { type Access, ApiError } from "./access.ts"
import type { Subject } from "./openWatches.ts"

export interface Request {
  /** The RBAC verb, for messages and the metric; decides the HTTP method. */
  readonly verb: "get" | "list" | "watch" | "create" | "patch"
  /** Such as `nodes/status`; for the metric. */
  readonly resource: string
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** Of the answer; default: JSON of the objects. */
  readonly accept?: string
  /** Of a list or a watch that is followed: an answer is a sign of life of it. */
  readonly subject?: Subject
  readonly body?: unknown
  /** Of a patch. */
  readonly patch?:
    | "application/strategic-merge-patch+json"
    | "application/merge-patch+json"
    | "application/apply-patch+yaml"
}

const METHOD = { get: "GET", list: "GET", watch: "GET", create: "POST", patch: "PATCH" } as const

/** However long the server asks to be left alone, a node must not be blind for longer. */
const MAX_RETRY_SECONDS = 60

export const describe = ({ path, verb }: Request): string => `${METHOD[verb]} ${path}`

export const httpRequest = (access: Access, request: Request): HttpClientRequest.HttpClientRequest => {
  const plain = HttpClientRequest.make(METHOD[request.verb])(access.server + request.path, {
    urlParams: request.query ?? {},
    headers: { ...access.headers, "User-Agent": "flock-agent", Accept: request.accept ?? "application/json" }
  })
  return request.body === undefined
    ? plain
    : HttpClientRequest.bodyText(plain, JSON.stringify(request.body), request.patch ?? "application/json")
}

/** The connection failed, or nothing came in time. */
export const noAnswer = (request: Request, why: string): ApiError =>
  new ApiError({ message: `${describe(request)}: no answer from the API server: ${why}`, status: 0 })

const causeOf = ({ reason }: HttpClientError): Error => reason.cause instanceof Error ? reason.cause : reason

export const broken = (request: Request, error: HttpClientError): ApiError => noAnswer(request, causeOf(error).message)

/** A pooled connection that the server had closed: nobody has seen the request. */
export const isReset = (error: HttpClientError): boolean =>
  error.reason._tag === "TransportError" && (causeOf(error) as NodeJS.ErrnoException).code === "ECONNRESET"

/** meta/v1 Status. */
const statusOf = (text: string): Readonly<Record<string, unknown>> => {
  try {
    return record(JSON.parse(text))
  } catch {
    // a proxy's page or nothing
    return {}
  }
}

/** meta/v1 StatusCause. */
const conflictsOf = (status: Readonly<Record<string, unknown>>): ReadonlyArray<string> =>
  records(record(status["details"])["causes"])
    .filter(({ reason }) => reason === "FieldManagerConflict")
    .map(({ field, message }) => `${String(field).replace(/^\./, "")}: ${String(message)}`)

/** An answer that is no success; `text` is its body. */
export const refusal = (request: Request, { headers, status }: HttpClientResponse, text: string): ApiError => {
  const seconds = Number(headers["retry-after"])
  const answer = statusOf(text)
  const detail = String(answer["message"] ?? STATUS_CODES[status] ?? "")
  const conflicts = conflictsOf(answer)
  return new ApiError({
    message: `${describe(request)}: the API server answered ${status}: ${detail.slice(0, 500)}`,
    status,
    ...(conflicts.length > 0 ? { conflicts } : {}),
    ...(Number.isFinite(seconds) && seconds > 0 ? { retryAfterSeconds: Math.min(seconds, MAX_RETRY_SECONDS) } : {})
  })
}
