/** A report as JSON, for scripts and for eyes. */
import { escapeJson } from "../domain/quote.ts"

export const toJson = (value: unknown): string => escapeJson(JSON.stringify(value, undefined, 2))
