/** What can go wrong when BIRD is asked. */
import { Data } from "effect"

/** Why a control connection cannot be had, or is of no use any more. */
export type Unusable =
  /** The system's refusal, such as `ENOENT` or `ECONNREFUSED`. */
  | { readonly _tag: "System"; readonly errno: string }
  | { readonly _tag: "Closed" }
  /** What came is not what BIRD sends; `detail` ends the sentence "the peer …". */
  | { readonly _tag: "NotBird"; readonly detail: string }
  /** `awaited`: "greeting", or "reply to …". `limit`: in words, such as `5s`. */
  | { readonly _tag: "Silent"; readonly awaited: string; readonly limit: string }

const inWords = (reason: Unusable): string => {
  switch (reason._tag) {
    case "System":
      return reason.errno
    case "Closed":
      return "closed the connection"
    case "NotBird":
      return reason.detail
    case "Silent":
      return `no ${reason.awaited} within ${reason.limit}`
  }
}

/** BIRD is not there, or does not answer as BIRD does. */
export class BirdUnavailable extends Data.TaggedError("BirdUnavailable")<{
  readonly socketPath: string
  readonly reason: Unusable
}> {
  override get message(): string {
    return `BIRD's control socket ${this.socketPath}: ${inWords(this.reason)}`
  }
}

/** BIRD's own refusal: reply codes 8xxx and 9xxx. */
export class BirdRefused extends Data.TaggedError("BirdRefused")<{
  readonly command: string
  readonly code: number
  /** In BIRD's words; for a configuration `FILE:LINE:COLUMN message`. */
  readonly detail: string
}> {
  override get message(): string {
    return this.detail
  }
}
