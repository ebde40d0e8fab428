/** A JSON object of unknown shape; no array and not null. */
export const isRecord = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === "object" && u !== null && !Array.isArray(u)

/** The fields of a JSON object of unknown shape; of anything else none. */
export const record = (u: unknown): Readonly<Record<string, unknown>> => isRecord(u) ? u : {}
