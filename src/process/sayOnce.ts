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

/** For what fails by events: says words that differ from those of the last call. Empty: all is well again, which is not said. */
export const sayChanges = (
  say: (message: string) => Effect.Effect<void>
): (message: string) => Effect.Effect<void> => {
  const said = { latest: "" }
  return (message) =>
    Effect.suspend(() => {
      if (said.latest === message) return Effect.void
      said.latest = message
      return message === "" ? Effect.void : say(message)
    })
}
