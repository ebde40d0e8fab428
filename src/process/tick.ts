import { type Duration, Effect, Schedule } from "effect"

/** Runs now, and again `interval` after each end, for ever. A defect in one round is logged and is not the end. */
export const every =
  (interval: Duration.Input) => <A, R>(self: Effect.Effect<A, never, R>): Effect.Effect<never, never, R> =>
    self.pipe(
      Effect.catchDefect((defect) => Effect.logError("a periodic task failed", defect)),
      Effect.repeat(Schedule.spaced(interval)),
      Effect.andThen(Effect.never)
    )
