import { Data } from "effect"

/** Why a pod cannot have the addresses that it asked for; `annotation` names what to change, where that is the cause. */
export class AddressError extends Data.TaggedError("AddressError")<{
  readonly reason:
    | "Exhausted"
    | "PoolConflict"
    | "NotAllowed"
    | "OverLimit"
    | "InUse"
    | "Invalid"
    | "NoFamily"
    | "Disjoint"
  readonly message: string
  readonly annotation?: string
}> {}
