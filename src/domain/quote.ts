/**
 * Text of unknown origin (an annotation, a field of a NodeConfig) made fit for one line of an error message: JSON, with
 * everything outside printable ASCII escaped and cut after 80 characters, so that neither control bytes nor
 * right-to-left marks nor a megabyte reach a log, an Event or a terminal.
 */
const LONGEST = 80

const json = (value: unknown): string => {
  try {
    return JSON.stringify(typeof value === "string" ? value.slice(0, LONGEST + 1) : value) ?? String(value)
  } catch {
    return "a value that is not JSON"
  }
}

const escape = (c: string): string =>
  [...c].map((point) => {
    const code = (point.codePointAt(0) ?? 0).toString(16)
    return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`
  }).join("")

/** One line as a terminal shows it: a break is a space, and control, formatting and unassigned characters are escaped. */
export const oneLine = (text: string): string =>
  text.replace(/\s*[\n\v\f\r\u0085\u2028\u2029]\s*/g, " ").replace(/[\p{C}]/gu, escape)

/** The same in printable ASCII alone, so that it is as wide as it is long. */
export const ascii = (text: string): string => oneLine(text).replace(/[^\x20-\x7e]/gu, escape)

/**
 * JSON text in which nothing steers a terminal or turns its text round: escaped beyond what JSON demands, line breaks between
 * tokens kept. The value stays the same.
 */
export const escapeJson = (json: string): string =>
  json.replace(
    /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu,
    (c) => c.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")
  )

export const quote = (value: unknown): string => {
  const plain = json(value).slice(0, 2 * LONGEST)
    .replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)
  return plain.length > LONGEST ? `${plain.slice(0, LONGEST - 3)}...` : plain
}
