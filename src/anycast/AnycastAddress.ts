/** What the agent says of its anycast and chosen addresses. */
import type { Gate } from "./gate.ts"

export interface AnycastHolder {
  /** `attachmentKey` of the allocation. */
  readonly owner: string
  readonly namespace: string
  readonly pod: string
  readonly hostIfName: string
  readonly kind: "anycast" | "chosen"
  readonly gate: Gate
}

export interface AnycastAddress {
  readonly address: string
  /** `pending`: the kernel does not have yet what the gate says. */
  readonly state: "announced" | "withdrawn" | "pending"
  readonly holders: ReadonlyArray<AnycastHolder>
}
