import { Data } from "effect"

export const AddressErrorReasons = [
  "Exhausted",
  "PoolConflict",
  "NotAllowed",
  "OverLimit",
  "InUse",
  "Invalid",
  "NoFamily",
  "Disjoint"
] as const

/** Why a pod cannot have the addresses that it asked for; `annotation` names what to change, where that is the cause. */
export class AddressError extends Data.TaggedError("AddressError")<{
  readonly reason: typeof AddressErrorReasons[number]
  readonly message: string
  readonly annotation?: string
}> {}
