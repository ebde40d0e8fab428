/** What the agent says of its anycast and chosen addresses. */
import { Schema } from "effect"
import { GATES } from "../domain/announcement.ts"

export const AnycastHolder = Schema.Struct({
  /** `attachmentKey` of the allocation. */
  owner: Schema.String,
  namespace: Schema.String,
  pod: Schema.String,
  hostIfName: Schema.String,
  kind: Schema.Literals(["anycast", "chosen"]),
  gate: Schema.Literals(GATES)
})
export interface AnycastHolder extends Schema.Schema.Type<typeof AnycastHolder> {}

export const AnycastAddress = Schema.Struct({
  address: Schema.String,
  /** `pending`: the kernel does not have yet what the gate says. */
  state: Schema.Literals(["announced", "withdrawn", "pending"]),
  holders: Schema.Array(AnycastHolder)
})
export interface AnycastAddress extends Schema.Schema.Type<typeof AnycastAddress> {}
