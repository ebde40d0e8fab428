import { Clock, Effect } from "effect"

/**
 * Milliseconds since some moment, never set back or forward: for everything that is waited for, limited or forgotten. The
 * time of day, `Clock.currentTimeMillis`, jumps when an operator or NTP sets it, and is only for people to read.
 */
export const monotonicMillis: Effect.Effect<number> = Effect.map(
  Clock.monotonicTimeNanos,
  (nanoseconds) => Number(nanoseconds) / 1e6
)
