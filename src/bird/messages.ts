/** BIRD's log as it is written, over a control connection of its own. */
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { Effect, Queue, Stream } from "effect"
import * as Socket from "effect/socket/Socket"

/**
 * What peers cause, and errors. The ring of this many bytes is BIRD's (`cli_echo`, nest/cli.c): what does not fit is lost,
 * and BIRD waits for nobody.
 */
const ECHO = "echo { remote, error } 65536\n"
/** Beside `came`: this connection alone may break. */
const AGAIN = "5 seconds"

/**
 * Hands over messages, some at a time, forever. Each `came` says that BIRD has just come; `onLost` runs at the moment when the
 * connection ends.
 */
export const listen = (
  path: string,
  came: Queue.Dequeue<void>,
  onMessages: (messages: ReadonlyArray<string>) => Effect.Effect<void>,
  onLost: Effect.Effect<void>
): Effect.Effect<never> => {
  const once = Effect.gen(function*() {
    const socket = yield* NodeSocket.makeNet({ path })
    const pull = yield* Socket.readerBytes(socket)
    const writer = yield* socket.writer
    yield* writer.write(ECHO)
    // Other lines answer commands.
    yield* Stream.fromPull(Effect.succeed(pull)).pipe(
      Stream.decodeText,
      Stream.splitLines,
      Stream.filter((line) => line.startsWith("+")),
      Stream.map((line) => line.slice(1).trimEnd()),
      Stream.runForEachArray(onMessages),
      Effect.ensuring(onLost)
    )
  }).pipe(Effect.scoped, Effect.ignore)
  return Effect.race(Queue.take(came), Effect.sleep(AGAIN)).pipe(Effect.andThen(once), Effect.forever)
}
