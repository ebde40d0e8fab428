import { Effect } from "effect"

/**
 * For what is tried again and again: says a failure where its words differ from those of the last, until it succeeds. Each
 * effect made by it remembers its own.
 */
export const sayOnce =
  (say: (message: string) => Effect.Effect<void>) =>
  <A, E extends { readonly message: string }, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const said: { latest?: string } = {}
    return self.pipe(
      Effect.tap(() =>
        Effect.sync(() => {
          delete said.latest
        })
      ),
      Effect.tapError(({ message }) => {
        if (said.latest === message) return Effect.void
        said.latest = message
        return say(message)
      })
    )
  }
