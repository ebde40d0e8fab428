/** Raw ends of a unix socket: what a caller of the agent writes and reads, byte by byte. */
import * as Net from "node:net"

export interface Said {
  readonly text: string
  /** The connection ended with an error instead of an end. */
  readonly error?: string
}

/** Connects, writes the pieces with a pause between each, closes its own half unless told not to, reads to the end. */
export const say = (
  path: string,
  pieces: ReadonlyArray<string | Uint8Array>,
  options: { readonly keepOpen?: boolean } = {}
): Promise<Said> =>
  new Promise((done) => {
    const chunks: Array<Buffer> = []
    const text = () => Buffer.concat(chunks).toString("utf8")
    const connection = Net.connect({ path, allowHalfOpen: true }, async () => {
      for (const piece of pieces) {
        connection.write(piece)
        if (pieces.length > 1) await new Promise((next) => setTimeout(next, 5))
      }
      if (!options.keepOpen) connection.end()
    })
    connection.on("data", (chunk) => chunks.push(chunk))
    connection.on("end", () => {
      connection.destroy()
      done({ text: text() })
    })
    connection.on("error", (error) => done({ text: text(), error: error.message }))
  })
