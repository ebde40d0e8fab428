/** The agent's log: one JSON object a line. */
import { Cause, Logger, References } from "effect"

/** Keys that no annotation may take. */
const OWN = new Set(["timestamp", "level", "message", "cause"])

const textOf = (part: unknown): string => part instanceof Error ? part.message : String(part)

/**
 * `timestamp` (RFC 3339, UTC), `level` (DEBUG, INFO, WARN, ERROR), `message`; then what the line is about, each under a
 * key of its own, and `cause` where something failed unexpectedly.
 */
export const jsonLine = Logger.make(({ cause, date, fiber, logLevel, message }) => {
  const about = Object.entries(fiber.getRef(References.CurrentLogAnnotations)).filter(([key]) => !OWN.has(key))
  return JSON.stringify({
    timestamp: date.toISOString(),
    level: logLevel.toUpperCase(),
    message: (Array.isArray(message) ? message : [message]).map(textOf).join(" "),
    ...Object.fromEntries(about),
    ...(cause.reasons.length === 0 ? {} : { cause: Cause.pretty(cause) })
  })
})
