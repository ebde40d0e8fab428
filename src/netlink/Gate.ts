/** Lets operations begin until it is closed, and is closed when the last of them is done. */
import { Effect } from "effect"
import { NetlinkError } from "./Netlink.ts"

/** More than any operation takes by itself. */
const PATIENCE = "15 seconds"

export class Gate {
  #closed = false
  #running = 0
  #onIdle: (() => void) | undefined

  /** `effect`, or EBADF once the gate is closed. `op`: as in {@link NetlinkError}. */
  readonly pass = <A, E, R>(op: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | NetlinkError, R> =>
    Effect.suspend((): Effect.Effect<A, E | NetlinkError, R> => {
      if (this.#closed) return Effect.fail(new NetlinkError({ op, errno: "EBADF", detail: "this agent is ending" }))
      this.#running++
      return Effect.ensuring(
        effect,
        Effect.sync(() => {
          if (--this.#running === 0) this.#onIdle?.()
        })
      )
    })

  /** Nothing begins any more; completes when nothing runs, or after {@link PATIENCE}. */
  readonly close: Effect.Effect<void> = Effect.callback<void>((resume) => {
    this.#closed = true
    if (this.#running === 0) resume(Effect.void)
    else this.#onIdle = () => resume(Effect.void)
  }).pipe(Effect.timeoutOption(PATIENCE), Effect.asVoid)
}
