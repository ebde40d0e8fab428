/**
 * What BIRD says of a session once and then forgets, kept. Its last error is overwritten by the next one within a second,
 * and that is seldom the one that matters: a router says "Maximum number of prefixes reached", and then only closes the
 * socket. Pure.
 */
import { Schema } from "effect"

/** A NOTIFICATION (RFC 4271, section 4.5). */
export const Notification = Schema.Struct({
  direction: Schema.Literals(["received", "sent"]),
  /** Code and subcode in BIRD's words. */
  message: Schema.String,
  /** When it was heard of, RFC 3339. */
  at: Schema.String
})
export interface Notification extends Schema.Schema.Type<typeof Notification> {}

/** Learned routes that are allowed and of no use. */
export const Unusable = Schema.Struct({
  count: Schema.Number,
  /** In BIRD's words. */
  reason: Schema.String,
  /** Three of them at most, in prefix notation. */
  examples: Schema.Array(Schema.String)
})
export interface Unusable extends Schema.Schema.Type<typeof Unusable> {}

export interface Note {
  readonly notification: Notification | undefined
  /** BIRD's last complaint of an attribute: it comes before the routes that it is about. */
  readonly complaint: string
  /** Routes that were dropped since the session came up, in prefix notation. */
  readonly dropped: ReadonlySet<string>
}

/** By BIRD's protocol name. */
export type Notes = ReadonlyMap<string, Note>

const NOTHING: Note = { notification: undefined, complaint: "", dropped: new Set() }

/** What is kept of one session at most: a router may announce the whole internet with a next hop of another's. */
const MOST_DROPPED = 1000
const MOST_EXAMPLES = 3

const MESSAGE = /^(\w+): (.*)$/
/** `bgp_log_error`: `Received` or `Error`, the meaning, and data that BIRD does not understand in hexadecimal. */
const NOTIFICATION = /^(Received|Error): (.*?)(?:: [0-9a-f]{2,})?$/
const COMPLAINT = /^(?:Invalid|Missing) .*(?:attribute|NEXT_HOP)/
const DROPPED = /^Invalid route (\S+) withdrawn$/

const noted = (notes: Notes, protocol: string, change: Partial<Note>): Notes =>
  new Map(notes).set(protocol, { ...NOTHING, ...notes.get(protocol), ...change })

/** BIRD logs this line. `allowed`: whether a prefix may be learned. */
export const heard = (notes: Notes, line: string, at: string, allowed: (prefix: string) => boolean): Notes => {
  const [, protocol = "", text = ""] = MESSAGE.exec(line) ?? []
  if (protocol === "") return notes
  const [, kind, message = ""] = NOTIFICATION.exec(text) ?? []
  if (kind !== undefined) {
    return noted(notes, protocol, {
      notification: { direction: kind === "Received" ? "received" : "sent", message, at }
    })
  }
  const [, prefix] = DROPPED.exec(text) ?? []
  if (prefix === undefined) return COMPLAINT.test(text) ? noted(notes, protocol, { complaint: text }) : notes
  const dropped = notes.get(protocol)?.dropped ?? NOTHING.dropped
  if (dropped.size >= MOST_DROPPED || dropped.has(prefix) || !allowed(prefix)) return notes
  return noted(notes, protocol, { dropped: new Set([...dropped, prefix]) })
}

export const isNotification = (line: string): boolean => NOTIFICATION.test(MESSAGE.exec(line)?.[2] ?? "")

interface Seen {
  readonly protocol: string
  readonly state: string
  readonly lastError: string
}

const LAST_ERROR = /^(Received|BGP Error): (.*)$/

/** A NOTIFICATION that only the last error tells of: the log is not heard before this agent's start. */
const fromLastError = ({ lastError }: Seen, note: Note | undefined, at: string): Partial<Note> => {
  const [, kind, message = ""] = LAST_ERROR.exec(lastError) ?? []
  const direction = kind === "Received" ? "received" : "sent"
  const known = note?.notification
  return kind === undefined || (known?.direction === direction && known.message === message)
    ? {}
    : { notification: { direction, message, at } }
}

/** BIRD says these sessions. `learned`: what it has learned, by protocol, where something was dropped. */
export const seen = (
  notes: Notes,
  sessions: ReadonlyArray<Seen>,
  learned: ReadonlyMap<string, ReadonlySet<string>>,
  at: string
): Notes =>
  new Map(sessions.flatMap((session): ReadonlyArray<readonly [string, Note]> => {
    const note = notes.get(session.protocol)
    const has = learned.get(session.protocol)
    const next = { ...NOTHING, ...note, ...fromLastError(session, note, at) }
    if (next.notification === undefined && next.dropped.size === 0 && next.complaint === "") return []
    const dropped = session.state === "Established"
      ? new Set([...next.dropped].filter((prefix) => has?.has(prefix) !== true))
      : NOTHING.dropped
    return [[session.protocol, { ...next, dropped }]]
  }))

const UNRESOLVED = "the next hop is not reachable: it is not in the node's own routes"

/** `unreachable`: routes of a session that BIRD keeps and cannot resolve. */
export const unusableOf = (note: Note | undefined, unreachable: ReadonlyArray<string>): Unusable | undefined => {
  const all = [...unreachable, ...note?.dropped ?? []]
  return all.length === 0 ? undefined : {
    count: all.length,
    reason: unreachable.length > 0 ? UNRESOLVED : note?.complaint ?? "",
    examples: all.slice(0, MOST_EXAMPLES)
  }
}
