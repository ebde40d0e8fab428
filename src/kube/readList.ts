/** A list read as it comes: object by object, bounded by time as a whole and between its parts. */
import { Effect, type Scope, Stream } from "effect"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import { ApiError } from "./access.ts"
import { ListReader, NotAList } from "./ListReader.ts"
import { broken, describe, noAnswer, type Request } from "./request.ts"

/** A list may be long; one that takes so many times as long as a request may is no answer. */
const LIST_TIMES = 30

/** Hands every object to `each`, and gives the rest of the list. */
export const makeReadList = ({ open, requestMillis, suspect }: {
  readonly open: (request: Request) => Effect.Effect<HttpClientResponse, ApiError, Scope.Scope>
  /** Run when the server lets the list hang. */
  readonly suspect: Effect.Effect<void>
  readonly requestMillis: number
}) =>
  Effect.fnUntraced(
    function*(
      request: Request,
      each: (object: unknown, head: () => unknown) => void
    ): Effect.fn.Return<unknown, ApiError, Scope.Scope> {
      const response = yield* open(request)
      const reader = new ListReader(each)
      const read = <A>(use: () => A) =>
        Effect.try({
          try: use,
          catch: (error) =>
            error instanceof NotAList
              ? noAnswer(request, error.message)
              : new ApiError({ message: `${describe(request)}: the answer is not JSON`, status: response.status })
        })
      yield* response.stream.pipe(
        Stream.mapError((error) => broken(request, error)),
        Stream.timeoutOrElse({
          duration: requestMillis,
          orElse: () =>
            Stream.unwrap(Effect.as(suspect, Stream.fail(noAnswer(request, `nothing more within ${requestMillis} ms`))))
        }),
        Stream.runForEach((chunk) => read(() => reader.push(chunk)))
      )
      return yield* read(() => reader.end())
    },
    (effect, request) =>
      Effect.timeoutOrElse(effect, {
        duration: requestMillis * LIST_TIMES,
        orElse: () => Effect.fail(noAnswer(request, `no end within ${requestMillis * LIST_TIMES} ms`))
      })
  )
