/** Times how long a flip takes to leave through BIRD, by sampling: one address at a time, so BIRD is never loaded. */
import { Clock, Effect, Metric, Queue } from "effect"
import { Bird } from "../bird/Bird.ts"
import type { Cidr } from "../domain/Ip.ts"
import { exportSeconds } from "./metrics.ts"

export interface Flip {
  readonly destination: Cidr
  /** What BIRD should come to say. */
  readonly exported: boolean
  /** When the agent saw the transition, nanoseconds. */
  readonly since: bigint
}

export interface ExportProbe {
  /** Follows this flip unless another is being followed. */
  readonly offer: (flip: Flip) => Effect.Effect<void>
  readonly run: Effect.Effect<never>
}

/** Milliseconds before each further question; after the last the sample is given up. */
const WAITS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]

/** `stillWanted` ends a sample whose destination has flipped back meanwhile. */
export const make = Effect.fnUntraced(function*(stillWanted: (flip: Flip) => Effect.Effect<boolean>) {
  const bird = yield* Bird
  const flips = yield* Queue.dropping<Flip>(1)

  const follow = Effect.fnUntraced(function*(flip: Flip) {
    const peers = (yield* bird.lastStatus).peers
    const peer = peers.find((p) => p.state === "Established")
    if (peer === undefined) return
    for (const wait of WAITS) {
      if (!(yield* stillWanted(flip))) return
      if ((yield* bird.exportedTo(flip.destination, peer.protocol)) === flip.exported) {
        const now = yield* Clock.monotonicTimeNanos
        return yield* Metric.update(exportSeconds, Number(now - flip.since) / 1e9)
      }
      yield* Effect.sleep(wait)
    }
  })

  const run = Queue.take(flips).pipe(
    Effect.flatMap(follow),
    Effect.catchCause((cause) => Effect.logWarning("anycast: could not ask BIRD what it exports", cause)),
    // What came meanwhile has waited here, which is not to be timed.
    Effect.andThen(Queue.clear(flips)),
    Effect.forever
  )

  return { offer: (flip) => Effect.asVoid(Queue.offer(flips, flip)), run } satisfies ExportProbe
})
