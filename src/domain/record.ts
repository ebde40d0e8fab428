/** The fields of a JSON object of unknown shape; of anything else (an array, null, a number) none. */
export const record = (u: unknown): Readonly<Record<string, unknown>> =>
  typeof u === "object" && u !== null && !Array.isArray(u) ? u as Record<string, unknown> : {}
