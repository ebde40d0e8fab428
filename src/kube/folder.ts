/** Watching a folder (inotify(7)) and reading files that somebody may be writing at the moment. */
import { Cause, Effect, Queue, Stream } from "effect"
import * as NodeFs from "node:fs"
import { basename } from "node:path"

/**
 * Names of directory entries that changed; `""` at first, and where the kernel did not say which: look at all. Fails if
 * there is no such folder, and when it goes: a watch follows the inode, not the name.
 */
export const changedNames = (path: string): Stream.Stream<string, Cause.UnknownError> =>
  Stream.callback((queue) =>
    Effect.acquireRelease(
      Effect.try({
        try: () => {
          const fail = (error: unknown) => Queue.failCauseUnsafe(queue, Cause.fail(new Cause.UnknownError(error)))
          const watcher = NodeFs.watch(path, { persistent: false }, (event, name) => {
            // libuv's words for IN_DELETE_SELF and IN_MOVE_SELF
            if (event === "rename" && name === basename(path)) fail(new Error(`${path} went away`))
            else Queue.offerUnsafe(queue, name ?? "")
          })
          watcher.on("error", fail)
          Queue.offerUnsafe(queue, "")
          return watcher
        },
        catch: (error) => new Cause.UnknownError(error)
      }),
      (watcher) => Effect.sync(() => watcher.close())
    )
  )

/** How long an editor may take between moving the old file away and having the new one in its place. */
export const SETTLE_MILLIS = 1000

/**
 * What is good is taken at once. What is missing or broken may be in the middle of being replaced: it counts only if it
 * is so a second later too.
 */
export const settled = <A, E, R>(look: Effect.Effect<A, E, R>, good: (found: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    look,
    (found) => good(found) ? Effect.succeed(found) : Effect.delay(look, SETTLE_MILLIS)
  )
