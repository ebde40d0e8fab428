/**
 * Replies of BIRD's control socket (`doc/reply_codes`): lines of a four-digit code, then `-` where more follows or a
 * space on the last, then text; a line that starts with a space goes on under the previous line's code.
 */
export interface ReplyLine {
  readonly code: number
  readonly text: string
}

export interface Reply {
  /** Of the last line: 0xxx done, 8xxx runtime error, 9xxx syntax error. */
  readonly code: number
  readonly lines: ReadonlyArray<ReplyLine>
}

/** Bytes of one reply that are kept at most. */
export const MAX_REPLY = 16 * 1024 * 1024

const LINE = /^(\d{4})([- ])(.*)$/s

/** Collects chunks as they come off the socket, cut anywhere. */
export class ReplyParser {
  #rest = ""
  #size = 0
  #lines: Array<ReplyLine> = []
  #decoder = new TextDecoder()

  /**
   * Replies completed by this chunk; `garbage` is a line that no BIRD sends, after which nothing can be trusted; `idle`:
   * no further reply has begun.
   */
  feed(
    chunk: Uint8Array
  ): { readonly replies: ReadonlyArray<Reply>; readonly idle: boolean; readonly garbage?: string } {
    const replies: Array<Reply> = []
    this.#size += chunk.length
    const pieces = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split("\n")
    this.#rest = pieces.pop() ?? ""
    for (const piece of pieces) {
      const line = piece.endsWith("\r") ? piece.slice(0, -1) : piece
      // Log messages that `echo` asks for (`cli_echo`, nest/cli.c).
      if (line.startsWith("+")) continue
      const previous = this.#lines.at(-1)
      if (line.startsWith(" ") && previous !== undefined) {
        this.#lines.push({ code: previous.code, text: line.slice(1) })
        continue
      }
      const [, code, mark, text = ""] = LINE.exec(line) ?? []
      if (code === undefined) return { replies, idle: false, garbage: line }
      this.#lines.push({ code: Number(code), text })
      if (mark === " ") {
        replies.push({ code: Number(code), lines: this.#lines })
        this.#lines = []
        this.#size = this.#rest.length
      }
    }
    const idle = this.#lines.length === 0 && this.#rest === ""
    return this.#size > MAX_REPLY ? { replies, idle, garbage: "a reply without end" } : { replies, idle }
  }
}

/** The last line's text, which for errors is BIRD's message. */
export const messageOf = (reply: Reply): string => reply.lines.at(-1)?.text.trim() ?? ""
