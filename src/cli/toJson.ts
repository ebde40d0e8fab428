/**
 * A report as JSON for scripts and for eyes. What may steer a terminal or turn its text round is escaped, beyond what
 * JSON demands: the value stays the same.
 */
export const toJson = (value: unknown): string =>
  JSON.stringify(value, undefined, 2).replace(
    /[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu,
    (c) => c.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("")
  )
