/** Why nf_tables could not be used. */
import { Data } from "effect"
import { errorCode } from "../netlink/namespace.ts"

export class FirewallError extends Data.TaggedError("FirewallError")<{
  /** What was tried. */
  readonly op: string
  /** Symbolic errno. */
  readonly errno: string
}> {
  override get message(): string {
    const why = this.errno === "EPERM"
      ? "the agent lacks CAP_NET_ADMIN"
      : `${this.errno}: this kernel needs CONFIG_NF_TABLES_INET, CONFIG_NF_TABLES_ARP and CONFIG_NFT_FIB_INET`
    return `${this.op}: ${why}`
  }
}

/** For what was thrown while `op` was tried. */
export const failed = (op: string) => (error: unknown) => new FirewallError({ op, errno: errorCode(error) })
