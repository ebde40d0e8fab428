/** What the API server refuses now, with its words: kept by verb and resource until the same is answered. */
import { Clock, Effect } from "effect"
import { monotonicMillis } from "../process/monotonic.ts"
import type { ApiError } from "./access.ts"
import type { Refusal } from "./apiHealth.ts"
import type { Request } from "./request.ts"

/** Milliseconds. What still matters is asked again sooner: what is not asked any more is not refused. */
const FORGET = 600_000

/** No answer, who are you, you may not, too busy, broken. A 404 or a 409 is an answer. */
const isRefusal = (status: number): boolean => [0, 401, 403, 429].includes(status) || status >= 500

export class Refusals {
  readonly #standing = new Map<string, Refusal & { readonly millis: number }>()

  answered({ resource, verb }: Request): Effect.Effect<void> {
    return Effect.sync(() => void this.#standing.delete(`${verb} ${resource}`))
  }

  failed(request: Request, { message, status }: ApiError): Effect.Effect<void> {
    if (!isRefusal(status)) return this.answered(request)
    const { resource, verb } = request
    return Effect.map(Effect.all([Clock.currentTimeMillis, monotonicMillis]), ([time, millis]) => {
      const at = new Date(time).toISOString()
      this.#standing.set(`${verb} ${resource}`, { verb, resource, status, message, at, millis })
    })
  }

  readonly list: Effect.Effect<ReadonlyArray<Refusal>> = Effect.map(
    monotonicMillis,
    (now) =>
      [...this.#standing.values()].filter(({ millis }) => now - millis < FORGET)
        .map(({ millis: _, ...refusal }) => refusal)
  )
}
