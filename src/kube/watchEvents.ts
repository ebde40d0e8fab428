/** The body of a watch, one JSON object a line, as events. */
import { Effect, Stream } from "effect"

/** One line of a watch: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`. */
export interface WatchEvent {
  readonly type: string
  readonly object: unknown
}

/** Bytes of a line: more than any object that the API server stores (etcd: 1.5 MiB; 3 MiB for aggregated ones). */
const LINE_LIMIT = 32 * 1024 * 1024

const LINE_FEED = 10

/** Bytes of the line that has begun and not ended. */
class OpenLine {
  #bytes = 0
  add(chunk: Uint8Array): number {
    const end = chunk.lastIndexOf(LINE_FEED)
    this.#bytes = end < 0 ? this.#bytes + chunk.length : chunk.length - end - 1
    return this.#bytes
  }
}

/** `fail` makes an error out of what is wrong with the body. */
export const watchEvents =
  <E>(fail: (why: string) => E, limit = LINE_LIMIT) =>
  <E2, R>(body: Stream.Stream<Uint8Array, E2, R>): Stream.Stream<WatchEvent, E | E2, R> =>
    Stream.suspend(() => {
      const openLine = new OpenLine()
      return body.pipe(
        Stream.mapArrayEffect((chunks) =>
          chunks.some((chunk) => openLine.add(chunk) > limit)
            ? Effect.fail(fail(`a line of more than ${limit} bytes`))
            : Effect.succeed(chunks)
        ),
        Stream.decodeText(),
        Stream.splitLines,
        Stream.filter((line) => line !== ""),
        Stream.mapArrayEffect((lines) =>
          Effect.try({
            try: () => lines.map((line) => JSON.parse(line) as WatchEvent) as [WatchEvent, ...Array<WatchEvent>],
            catch: () => fail("a watch event that is not JSON")
          })
        )
      )
    })
