/** Reads what nf_tables holds under flock's name. Pure. */
import { attrList, attrs, readText, type Received } from "../netlink/codec.ts"
import * as N from "./nft.ts"
import type { Table } from "./ruleset.ts"
import { commentsOf, TABLE } from "./ruleset.ts"

const NFT_TABLE_F_DORMANT = 1

const number32 = (bytes: Uint8Array | undefined): number | undefined =>
  bytes === undefined || bytes.length < 4 ? undefined : Buffer.from(bytes).readInt32BE()

const number64 = (bytes: Uint8Array | undefined): number =>
  bytes === undefined || bytes.length < 8 ? 0 : Number(Buffer.from(bytes).readBigUInt64BE())

/** The comment in a rule's user data, where there is one. */
const commentOf = (bytes: Uint8Array | undefined): string =>
  bytes === undefined || bytes[0] !== 0 ? "" : readText(bytes.subarray(2, 2 + (bytes[1] ?? 0)))

/** Whether a change in nf_tables is one of flock's tables: every message names its table first. */
export const isOurs = (message: Received): boolean =>
  readText(attrs(message.body, N.HEAD).get(N.NFTA_TABLE_NAME)) === TABLE

export interface Seen {
  readonly tables: ReadonlyArray<Received>
  readonly chains: ReadonlyArray<Received>
  readonly rules: ReadonlyArray<Received>
}

/** Whether the kernel has exactly this table's chains and rules, in force. */
export const holds = (table: Table, seen: Seen): boolean => {
  const found = seen.tables.map((message) => attrs(message.body, N.HEAD))
    .find((attributes) => readText(attributes.get(N.NFTA_TABLE_NAME)) === TABLE)
  if (found === undefined) return false
  if (((number32(found.get(N.NFTA_TABLE_FLAGS)) ?? 0) & NFT_TABLE_F_DORMANT) !== 0) return false
  const chains = new Map(
    seen.chains.filter(isOurs).map((message) => {
      const attributes = attrs(message.body, N.HEAD)
      const hook = attributes.get(N.NFTA_CHAIN_HOOK)
      return [readText(attributes.get(N.NFTA_CHAIN_NAME)), hook && attrs(hook, 0)]
    })
  )
  const hooked = table.chains.every(({ hook, name }) => {
    const there = chains.get(name)
    return hook === undefined
      ? chains.has(name)
      : number32(there?.get(N.NFTA_HOOK_HOOKNUM)) === hook.number &&
        number32(there?.get(N.NFTA_HOOK_PRIORITY)) === hook.priority
  })
  const comments = Map.groupBy(
    seen.rules.filter(isOurs).map((message) => attrs(message.body, N.HEAD)),
    (rule) => readText(rule.get(N.NFTA_RULE_CHAIN))
  )
  const ruled = [...commentsOf(table)].every(([chain, wanted]) => {
    const there = (comments.get(chain) ?? []).map((rule) => commentOf(rule.get(N.NFTA_RULE_USERDATA)))
    return there.length === wanted.length && there.every((comment, i) => comment === wanted[i])
  })
  return hooked && ruled
}

export interface Element {
  readonly key: Uint8Array
  readonly packets: number
  readonly bytes: number
}

const readElement = (bytes: Uint8Array): ReadonlyArray<Element> => {
  const attributes = attrs(bytes, 0)
  const key = attributes.get(N.NFTA_SET_ELEM_KEY)
  const value = key && attrs(key, 0).get(N.NFTA_DATA_VALUE)
  if (value === undefined) return []
  const each = attributes.get(N.NFTA_SET_ELEM_EXPR)
  const data = each && attrs(each, 0).get(N.NFTA_EXPR_DATA)
  const counter = data && attrs(data, 0)
  return [{
    key: value,
    packets: number64(counter?.get(N.NFTA_COUNTER_PACKETS)),
    bytes: number64(counter?.get(N.NFTA_COUNTER_BYTES))
  }]
}

/** Elements of a set, from NFT_MSG_NEWSETELEM messages. */
export const readElements = (messages: ReadonlyArray<Received>): ReadonlyArray<Element> =>
  messages.flatMap((message) =>
    attrList(attrs(message.body, N.HEAD).get(N.NFTA_SET_ELEM_LIST_ELEMENTS)).flatMap(readElement)
  )
