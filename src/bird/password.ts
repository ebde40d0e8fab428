/** TCP MD5 passwords (RFC 2385) as BIRD's strings. */
import { Data, Redacted, Result } from "effect"

/** TCP_MD5SIG_MAXKEYLEN, linux/tcp.h, bytes. */
const MAXIMUM = 80

// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/

type Fault =
  | { readonly _tag: "Empty" | "Quote" | "ControlCharacter" }
  | { readonly _tag: "TooLong"; readonly bytes: number }

const inWords = (fault: Fault): string => {
  switch (fault._tag) {
    case "Empty":
      return "is empty"
    case "Quote":
      return "holds a double quote, which BIRD cannot take"
    case "ControlCharacter":
      return "holds a control character, which BIRD cannot take"
    case "TooLong":
      return `has ${fault.bytes} bytes; TCP MD5 takes ${MAXIMUM} at most`
  }
}

/** Never holds the password. */
export class PasswordUnusable extends Data.TaggedError("PasswordUnusable")<{ readonly fault: Fault }> {
  override get message(): string {
    return `the password ${inWords(this.fault)}`
  }
}

const faultOf = (text: string): Fault | undefined => {
  if (text === "") return { _tag: "Empty" }
  if (text.includes("\"")) return { _tag: "Quote" }
  if (CONTROL.test(text)) return { _tag: "ControlCharacter" }
  const bytes = Buffer.byteLength(text)
  return bytes > MAXIMUM ? { _tag: "TooLong", bytes } : undefined
}

/**
 * BIRD's lexer knows no escapes: a string ends at the next quote and cannot hold a line break (`conf/cf-lex.l`), so a
 * password with either is refused. Line breaks at the end are no part of it: `echo` and editors add them.
 */
export const birdString = (password: Redacted.Redacted): Result.Result<string, PasswordUnusable> => {
  const text = Redacted.value(password).replace(/[\r\n]+$/, "")
  const fault = faultOf(text)
  return fault === undefined ? Result.succeed(`"${text}"`) : Result.fail(new PasswordUnusable({ fault }))
}
