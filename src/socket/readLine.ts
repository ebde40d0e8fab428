/** The first line of a connection. */
import type * as Net from "node:net"
import { MAX_LINE } from "../domain/Wire.ts"

/**
 * Calls one of the two, once: `onLine` with the line, its newline taken off, or `onBad` with what is wrong. A caller that
 * is silent for `silence` milliseconds before its line has ended is cut off, and hears neither.
 */
export const readLine = (
  socket: Net.Socket,
  silence: number,
  onLine: (line: string) => void,
  onBad: (problem: string) => void
): void => {
  const chunks: Array<Buffer> = []
  let length = 0
  const done = () => {
    socket.removeListener("data", onData)
    socket.removeListener("end", onEnd)
    socket.setTimeout(0)
    // Without a reader the stream must still flow, or the peer's end is never seen.
    socket.resume()
  }
  const onData = (chunk: Buffer) => {
    const newline = chunk.indexOf(10)
    const part = newline < 0 ? chunk : chunk.subarray(0, newline)
    chunks.push(part)
    length += part.length
    if (length >= MAX_LINE) {
      done()
      onBad(`the request is longer than ${MAX_LINE} bytes`)
    } else if (newline >= 0) {
      done()
      onLine(Buffer.concat(chunks).toString("utf8"))
    }
  }
  const onEnd = () => {
    done()
    onBad("the request ended before its line did")
  }
  socket.on("data", onData)
  socket.on("end", onEnd)
  socket.setTimeout(silence, () => socket.destroy())
}
