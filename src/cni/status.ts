/** STATUS: can ADD be served? (CNI spec 1.1.0, section 4: codes 50 and 51) */
import { existingAffected, type Facts, newAffected } from "../report/health.ts"
import { CniFailure, Code } from "./spec.ts"

/** undefined: available. */
export const statusFailure = (facts: Facts): CniFailure | undefined => {
  const existing = existingAffected(facts)
  const fresh = newAffected(facts)
  const message = [fresh, existing].filter((text) => text !== undefined).join("; ")
  if (message === "") return undefined
  return new CniFailure({ code: existing === undefined ? Code.NOT_AVAILABLE : Code.NOT_AVAILABLE_LIMITED, message })
}
