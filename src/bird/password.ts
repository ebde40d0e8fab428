/** TCP MD5 passwords (RFC 2385) as BIRD's strings. */
import { Redacted, Result } from "effect"

/** TCP_MD5SIG_MAXKEYLEN, linux/tcp.h, bytes. */
const MAXIMUM = 80

// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/

/**
 * BIRD's lexer knows no escapes: a string ends at the next quote and cannot hold a line break (`conf/cf-lex.l`), so a
 * password with either is refused. Messages never hold the password.
 */
export const birdString = (password: Redacted.Redacted): Result.Result<string, string> => {
  const text = Redacted.value(password)
  if (text === "") return Result.fail("the password is empty")
  if (/[\r\n]$/.test(text)) {
    return Result.fail("the password ends with a line break; write the Secret without one (printf, not echo)")
  }
  if (text.includes("\"")) return Result.fail("the password holds a double quote, which BIRD cannot take")
  if (CONTROL.test(text)) return Result.fail("the password holds a control character, which BIRD cannot take")
  const bytes = Buffer.byteLength(text)
  return bytes > MAXIMUM
    ? Result.fail(`the password has ${bytes} bytes; TCP MD5 takes ${MAXIMUM} at most`)
    : Result.succeed(`"${text}"`)
}
