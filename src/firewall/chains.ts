/** The chains of nf_tables, everybody's: what forwards, drops, serves Services or enforces policies here. Pure. */
import { attrs, readText, type Received } from "../netlink/codec.ts"
import * as N from "./nft.ts"

export interface Chain {
  /** `NFPROTO_…` (linux/netfilter.h): 1 inet, 2 IPv4, 10 IPv6. */
  readonly family: number
  readonly table: string
  readonly name: string
  /** `NF_INET_…`; only of a base chain. */
  readonly hook?: number
  /** `drop`: what no rule accepts; only of a base chain. */
  readonly policy?: "accept" | "drop"
}

const NF_DROP = 0

const number = (bytes: Uint8Array | undefined): number | undefined =>
  bytes === undefined || bytes.length < 4 ? undefined : Buffer.from(bytes).readUInt32BE()

/** Of NFT_MSG_NEWCHAIN messages. */
export const readChains = (messages: ReadonlyArray<Received>): ReadonlyArray<Chain> =>
  messages.map(({ body }) => {
    const chain = attrs(body, N.HEAD)
    const hook = chain.get(N.NFTA_CHAIN_HOOK)
    const hooked = hook && number(attrs(hook, 0).get(N.NFTA_HOOK_HOOKNUM))
    const policy = number(chain.get(N.NFTA_CHAIN_POLICY))
    return {
      family: body[0] ?? 0,
      table: readText(chain.get(N.NFTA_CHAIN_TABLE)),
      name: readText(chain.get(N.NFTA_CHAIN_NAME)),
      ...(hooked === undefined ? {} : { hook: hooked }),
      ...(policy === undefined ? {} : { policy: policy === NF_DROP ? "drop" as const : "accept" as const })
    }
  })
