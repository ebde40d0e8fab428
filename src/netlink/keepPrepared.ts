/** Keeps the node a router, and pods' links deaf, whatever links come and whoever else writes settings. */
import { Effect, Ref, Schedule, Stream } from "effect"
import { every } from "../process/tick.ts"
import { Netlink } from "./Netlink.ts"

/** For settings, whose changes the kernel does not tell. */
const TICK = "15 seconds"

export const keepPrepared = Effect.gen(function*() {
  const netlink = yield* Netlink
  const said = yield* Ref.make("")
  const prepare = netlink.prepareHost.pipe(
    Effect.catch((error) => Effect.succeed([error.message])),
    Effect.flatMap((problems) => {
      const news = problems.join("; ")
      return Effect.flatMap(Ref.getAndSet(said, news), (before) =>
        news === before
          ? Effect.void
          : news === ""
          ? Effect.logInfo("the node's settings are as they should be")
          : Effect.logWarning(news))
    })
  )
  const onLink = netlink.changes.pipe(
    Stream.filter(({ _tag }) => _tag === "LinkAdded" || _tag === "Overrun"),
    // A burst of links is one look.
    Stream.buffer({ capacity: 1, strategy: "sliding" }),
    Stream.runForEach(() => prepare),
    Effect.catch((error) => Effect.logWarning(`the watch of links failed and is opened again: ${error.message}`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )
  return yield* Effect.all([onLink, every(TICK)(prepare)], { concurrency: "unbounded", discard: true }).pipe(
    Effect.andThen(Effect.never)
  )
})
