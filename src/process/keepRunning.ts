import { Cause, Effect, Metric, Schedule } from "effect"

const failures = Metric.counter("flock_loop_failures_total", {
  description: "Parts of the agent that failed and were started again",
  incremental: true
})

const failuresOf = (loop: string) => Metric.withAttributes(failures, { loop })

/** 1 s, twice as long each time, at most a minute. */
const backOff = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")])

/**
 * Runs for ever: whatever ends it, its failure and its defect included, is logged and counted, and it is started again.
 * One part of the agent must not end the others.
 */
export const keepRunning = (name: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<never, never, R> =>
  Metric.value(failuresOf(name)).pipe(
    Effect.andThen(self),
    Effect.andThen(Effect.die(new Error("it ended"))),
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.andThen(
          Metric.update(failuresOf(name), 1),
          Effect.logError(`${name} failed and is started again`, cause)
        )
    ),
    Effect.sandbox,
    Effect.retry({ schedule: backOff, while: (cause) => !Cause.hasInterruptsOnly(cause) }),
    Effect.orDie
  )
