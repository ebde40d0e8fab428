/**
 * A list of the API server, read object by object from the bytes as they come: 150 Pods of 1.4 MB are a body of 210 MB,
 * and in memory there is one of them. Pages would not do: a list from the server's cache (`resourceVersion=0`) may
 * ignore `limit`.
 */
import { Data } from "effect"

/** Bytes of one object: more than any that the API server stores (etcd: 1.5 MiB; 3 MiB for aggregated ones). */
export const MAX_OBJECT = 32 * 1024 * 1024
/** Bytes of everything of a list but its objects. */
const MAX_REST = 1024 * 1024

export class NotAList extends Data.TaggedError("NotAList")<{ readonly message: string }> {}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

/** JSON (RFC 8259) nests by these four bytes outside of strings; in UTF-8 none of them is part of another character. */
export class ListReader {
  readonly #each: (object: unknown, head: () => unknown) => void
  /** Of the object that has begun, or of the rest of the list. */
  #item: Array<Uint8Array> = []
  #itemBytes = 0
  readonly #rest: Array<Uint8Array> = []
  #restBytes = 0
  #depth = 0
  #inString = false
  #escaped = false
  /** Between the brackets of the list's `items` or `rows`. */
  #inItems = false

  /**
   * `each` gets every object of the list, or every row of a Table (meta.k8s.io/v1), in order; and what of the list came before them.
   */
  constructor(each: (object: unknown, head: () => unknown) => void) {
    this.#each = each
  }

  /** Throws {@link NotAList}, and SyntaxError where an object is not JSON. */
  push(chunk: Uint8Array): void {
    let start = 0
    for (let at = 0; at < chunk.length; at++) {
      if (this.#inString) {
        at = this.#skipString(chunk, at)
        continue
      }
      const byte = chunk[at]
      if (byte === QUOTE) {
        this.#inString = true
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (this.#inItems && this.#depth === 2) start = at
        this.#depth++
        if (byte === OPEN_BRACKET && this.#depth === 2 && !this.#inItems) {
          this.#take(chunk.subarray(start, at + 1))
          start = at + 1
          this.#inItems = /"(items|rows)"\s*:\s*\[$/.test(this.#restText())
        }
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#depth--
        if (this.#inItems && this.#depth === 2) {
          this.#take(chunk.subarray(start, at + 1))
          start = at + 1
          this.#emit()
        } else if (this.#inItems && this.#depth === 1) {
          this.#inItems = false
          start = at
        }
      }
    }
    // Between two objects of the list there are only commas.
    if (!this.#inItems || this.#depth > 2) this.#take(chunk.subarray(start))
  }

  /** The list without its objects. */
  end(): unknown {
    if (this.#depth !== 0 || this.#restBytes === 0) throw new NotAList({ message: "the list is cut short" })
    return JSON.parse(this.#restText())
  }

  /** Index of the last byte that belongs to the string, or of the chunk. */
  #skipString(chunk: Uint8Array, from: number): number {
    for (let at = from; at < chunk.length; at++) {
      if (this.#escaped) this.#escaped = false
      else if (chunk[at] === BACKSLASH) this.#escaped = true
      else if (chunk[at] === QUOTE) {
        this.#inString = false
        return at
      }
    }
    return chunk.length
  }

  #take(bytes: Uint8Array): void {
    if (this.#inItems) {
      this.#item.push(bytes)
      this.#itemBytes += bytes.length
    } else {
      this.#rest.push(bytes)
      this.#restBytes += bytes.length
    }
    if (this.#itemBytes > MAX_OBJECT) throw new NotAList({ message: `an object of more than ${MAX_OBJECT} bytes` })
    if (this.#restBytes > MAX_REST) {
      throw new NotAList({ message: `more than ${MAX_REST} bytes beside the list's objects` })
    }
  }

  #emit(): void {
    const text = Buffer.concat(this.#item).toString("utf8")
    this.#item = []
    this.#itemBytes = 0
    this.#each(JSON.parse(text), () => JSON.parse(`${this.#restText()}]}`))
  }

  #restText(): string {
    return Buffer.concat(this.#rest).toString("utf8")
  }
}
