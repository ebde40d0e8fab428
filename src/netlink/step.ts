/** One request of a plan. */
import type { IpAddress } from "../domain/Ip.ts"
import type { Message, Received } from "./codec.ts"

export interface Step {
  readonly op: string
  readonly message: Message
  /** EEXIST is success. */
  readonly mayExist?: boolean
  /** Looks at what a successful request answered; `true` is taken as EEXIST. */
  readonly taken?: (answers: ReadonlyArray<Received>) => boolean
  /** Says what EEXIST means here, where the kernel does not. */
  readonly exists?: string
  /** The pod's address that EEXIST says is somebody else's. */
  readonly claims?: IpAddress
  /** Takes the step back, where that does not happen by itself with the link. */
  readonly undo?: Message
  /** An IPv6 address that the step makes. */
  readonly adds?: IpAddress
}
