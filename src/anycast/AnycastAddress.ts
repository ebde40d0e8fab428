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

/** An address, and who has it. */
export interface HeldAddress {
  readonly address: string
  readonly holders: ReadonlyArray<AnycastHolder>
}

export const AnycastAddress = Schema.Struct({
  address: Schema.String,
  /**
   * `withdrawn`: no pod is to serve it, and no route is there. `pending`: kernel or BIRD do not have yet what the gate says.
   * `installed`: its route is in the kernel, and BIRD exports it to no Established session. `announced`: to one at least.
   */
  state: Schema.Literals(["withdrawn", "pending", "installed", "announced"]),
  /** Its route of protocol 201 is in the kernel. */
  installed: Schema.Boolean,
  /** Peers to whose Established session BIRD exports it. */
  exportedTo: Schema.Array(Schema.String),
  holders: Schema.Array(AnycastHolder)
})
export interface AnycastAddress extends Schema.Schema.Type<typeof AnycastAddress> {}
