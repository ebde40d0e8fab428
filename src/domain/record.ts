/** A JSON object of unknown shape; no array and not null. */
export const isRecord = (u: unknown): u is Readonly<Record<string, unknown>> =>
  typeof u === "object" && u !== null && !Array.isArray(u)

/** The fields of a JSON object of unknown shape; of anything else none. */
export const record = (u: unknown): Readonly<Record<string, unknown>> => isRecord(u) ? u : {}

/** The items of a JSON array of unknown shape; of anything else none. */
export const items = (u: unknown): ReadonlyArray<unknown> => Array.isArray(u) ? u : []

/** Those items as objects. */
export const records = (u: unknown): ReadonlyArray<Readonly<Record<string, unknown>>> => items(u).map(record)
