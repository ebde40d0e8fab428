/**
 * Splits a byte stream into lines without copying a long line more than once: a watch event of a large Pod comes in many
 * chunks, and a busy watch brings many events in one.
 */
export interface Lines {
  /** The lines that `chunk` completes, without their line feeds; empty ones are left out. */
  readonly push: (chunk: Uint8Array) => ReadonlyArray<string>
  /** Bytes of the line begun and not ended. */
  readonly pending: () => number
}

const LINE_FEED = 10

export const make = (): Lines => {
  let begun: Array<Uint8Array> = []
  let size = 0
  return {
    pending: () => size,
    push: (chunk) => {
      const lines: Array<string> = []
      let start = 0
      for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, start)) {
        const line = Buffer.concat([...begun, chunk.subarray(start, end)]).toString("utf8")
        if (line.trim() !== "") lines.push(line)
        begun = []
        size = 0
        start = end + 1
      }
      if (start < chunk.length) {
        begun.push(chunk.subarray(start))
        size += chunk.length - start
      }
      return lines
    }
  }
}
