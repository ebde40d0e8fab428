/**
 * nf_tables by netlink (linux/netfilter/nf_tables.h): requests as pure values. Numbers in attributes are in network order.
 * What rules are made of is in `expressions.ts`.
 */
import { attr, be32, concat, type Message, nested, text, u8 } from "../netlink/codec.ts"
import { NLM_F_CREATE, NLM_F_EXCL } from "../netlink/constants.ts"

export const NETLINK_NETFILTER = 12
/** Multicast group of changes to tables. */
export const NFNLGRP_NFTABLES = 7
export const NFPROTO_UNSPEC = 0
export const NFPROTO_INET = 1
export const NFPROTO_ARP = 3

const NFNL_SUBSYS_NFTABLES = 10
const NFNL_MSG_BATCH_BEGIN = 16
const NFNL_MSG_BATCH_END = 17

const typeOf = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message

export const NFT_MSG_NEWTABLE = typeOf(0)
export const NFT_MSG_GETTABLE = typeOf(1)
export const NFT_MSG_DELTABLE = typeOf(2)
export const NFT_MSG_NEWCHAIN = typeOf(3)
export const NFT_MSG_GETCHAIN = typeOf(4)
export const NFT_MSG_DELCHAIN = typeOf(5)
export const NFT_MSG_NEWRULE = typeOf(6)
export const NFT_MSG_GETRULE = typeOf(7)
export const NFT_MSG_DELRULE = typeOf(8)
export const NFT_MSG_NEWSET = typeOf(9)
export const NFT_MSG_NEWSETELEM = typeOf(12)
export const NFT_MSG_GETSETELEM = typeOf(13)
export const NFT_MSG_DELSETELEM = typeOf(14)

/** struct nfgenmsg. */
const head = (family: number, resource = 0): Uint8Array => Uint8Array.of(family, 0, resource >> 8, resource & 255)

/** Length of struct nfgenmsg, before the attributes. */
export const HEAD = 4

export const message = (type: number, flags: number, family: number, ...attrs: ReadonlyArray<Uint8Array>): Message => ({
  type,
  flags,
  body: concat([head(family), ...attrs])
})

/** One transaction: all of it or nothing. */
export const batch = (messages: ReadonlyArray<Message>): ReadonlyArray<Message> => [
  { type: NFNL_MSG_BATCH_BEGIN, flags: 0, body: head(0, NFNL_SUBSYS_NFTABLES) },
  ...messages,
  { type: NFNL_MSG_BATCH_END, flags: 0, body: head(0, NFNL_SUBSYS_NFTABLES) }
]

export const NFTA_TABLE_NAME = 1
export const NFTA_TABLE_FLAGS = 2
export const NFTA_CHAIN_TABLE = 1
export const NFTA_CHAIN_NAME = 3
export const NFTA_CHAIN_HOOK = 4
export const NFTA_CHAIN_POLICY = 5
const NFTA_CHAIN_TYPE = 7
export const NFTA_HOOK_HOOKNUM = 1
export const NFTA_HOOK_PRIORITY = 2
export const NFTA_RULE_TABLE = 1
export const NFTA_RULE_CHAIN = 2
const NFTA_RULE_EXPRESSIONS = 4
export const NFTA_RULE_USERDATA = 7
const NFTA_SET_TABLE = 1
const NFTA_SET_NAME = 2
const NFTA_SET_FLAGS = 3
const NFTA_SET_KEY_TYPE = 4
const NFTA_SET_KEY_LEN = 5
const NFTA_SET_DESC = 9
const NFTA_SET_ID = 10
const NFTA_SET_USERDATA = 13
const NFTA_SET_DESC_SIZE = 1
const NFTA_SET_ELEM_LIST_TABLE = 1
const NFTA_SET_ELEM_LIST_SET = 2
export const NFTA_SET_ELEM_LIST_ELEMENTS = 3
export const NFTA_SET_ELEM_KEY = 1
export const NFTA_SET_ELEM_EXPR = 7
export const NFTA_DATA_VALUE = 1
const NFTA_LIST_ELEM = 1
export const NFTA_EXPR_DATA = 2
export const NFTA_COUNTER_BYTES = 1
export const NFTA_COUNTER_PACKETS = 2

/** A set that packets themselves fill. */
export const NFT_SET_EVAL = 0x20

/** `nft`'s own numbers of types, six bits each in a concatenation; the kernel keeps them for whoever lists the set. */
const DATATYPE = { ipv4_addr: 7, ipv6_addr: 8, ifname: 41 } as const
export type KeyPart = keyof typeof DATATYPE
const BYTES: Readonly<Record<KeyPart, number>> = { ipv4_addr: 4, ipv6_addr: 16, ifname: 16 }

/** Linux's IFNAMSIZ, padded with zeros. */
export const ifName = (name: string): Uint8Array => {
  const bytes = new Uint8Array(16)
  bytes.set(Buffer.from(name).subarray(0, 15))
  return bytes
}

export const newTable = (family: number, name: string): Message =>
  message(NFT_MSG_NEWTABLE, NLM_F_CREATE, family, attr(NFTA_TABLE_NAME, text(name)))

export const deleteTable = (family: number, name: string): Message =>
  message(NFT_MSG_DELTABLE, 0, family, attr(NFTA_TABLE_NAME, text(name)))

export interface Hook {
  /** `NF_INET_PRE_ROUTING` … (linux/netfilter.h), or `NF_ARP_IN` (linux/netfilter_arp.h). */
  readonly number: number
  readonly priority: number
}

const NF_ACCEPT = 1

export const newChain = (family: number, table: string, name: string, hook?: Hook): Message =>
  message(
    NFT_MSG_NEWCHAIN,
    NLM_F_CREATE,
    family,
    attr(NFTA_CHAIN_TABLE, text(table)),
    attr(NFTA_CHAIN_NAME, text(name)),
    ...(hook === undefined ? [] : [
      nested(
        NFTA_CHAIN_HOOK,
        attr(NFTA_HOOK_HOOKNUM, be32(hook.number)),
        attr(NFTA_HOOK_PRIORITY, be32(hook.priority))
      ),
      attr(NFTA_CHAIN_POLICY, be32(NF_ACCEPT)),
      attr(NFTA_CHAIN_TYPE, text("filter"))
    ])
  )

/** `NFTNL_UDATA_SET_KEYBYTEORDER`: without it `nft list` shows names as empty. */
const HOST_ORDER = Uint8Array.of(0, 4, 1, 0, 0, 0)

export interface SetSpec {
  readonly name: string
  readonly key: ReadonlyArray<KeyPart>
  readonly flags: number
  /** Elements, at most; 0: no limit. */
  readonly size: number
}

export const newSet = (family: number, table: string, id: number, set: SetSpec): Message =>
  message(
    NFT_MSG_NEWSET,
    NLM_F_CREATE | NLM_F_EXCL,
    family,
    attr(NFTA_SET_TABLE, text(table)),
    attr(NFTA_SET_NAME, text(set.name)),
    attr(NFTA_SET_FLAGS, be32(set.flags)),
    attr(NFTA_SET_KEY_TYPE, be32(set.key.reduce((type, part) => (type << 6) | DATATYPE[part], 0))),
    attr(NFTA_SET_KEY_LEN, be32(set.key.reduce((bytes, part) => bytes + BYTES[part], 0))),
    attr(NFTA_SET_ID, be32(id)),
    ...(set.key.length === 1 ? [attr(NFTA_SET_USERDATA, HOST_ORDER)] : []),
    ...(set.size === 0 ? [] : [nested(NFTA_SET_DESC, attr(NFTA_SET_DESC_SIZE, be32(set.size)))])
  )

const elements =
  (type: number, flags: number) =>
  (family: number, table: string, set: string, keys: ReadonlyArray<Uint8Array>): Message =>
    message(
      type,
      flags,
      family,
      attr(NFTA_SET_ELEM_LIST_TABLE, text(table)),
      attr(NFTA_SET_ELEM_LIST_SET, text(set)),
      nested(
        NFTA_SET_ELEM_LIST_ELEMENTS,
        ...keys.map((key) => nested(NFTA_LIST_ELEM, nested(NFTA_SET_ELEM_KEY, attr(NFTA_DATA_VALUE, key))))
      )
    )

export const addElements = elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE)
export const deleteElements = elements(NFT_MSG_DELSETELEM, 0)

export const getElements = (family: number, table: string, set: string): Message =>
  message(
    NFT_MSG_GETSETELEM,
    0,
    family,
    attr(NFTA_SET_ELEM_LIST_TABLE, text(table)),
    attr(NFTA_SET_ELEM_LIST_SET, text(set))
  )

export const getTables = (family: number): Message => message(NFT_MSG_GETTABLE, 0, family)
export const getChains = (family: number): Message => message(NFT_MSG_GETCHAIN, 0, family)
export const getRules = (family: number, table: string): Message =>
  message(NFT_MSG_GETRULE, 0, family, attr(NFTA_RULE_TABLE, text(table)))

const NLM_F_APPEND = 0x800

/** Comment of a rule, as `nft` writes one (`NFTNL_UDATA_RULE_COMMENT`). */
const userdata = (comment: string): Uint8Array => {
  const value = text(comment)
  return concat([u8(0), u8(value.length), value])
}

export const newRule = (
  family: number,
  table: string,
  chain: string,
  expressions: ReadonlyArray<Uint8Array>,
  comment: string
): Message =>
  message(
    NFT_MSG_NEWRULE,
    NLM_F_CREATE | NLM_F_APPEND,
    family,
    attr(NFTA_RULE_TABLE, text(table)),
    attr(NFTA_RULE_CHAIN, text(chain)),
    nested(NFTA_RULE_EXPRESSIONS, ...expressions.map((one) => nested(NFTA_LIST_ELEM, one))),
    attr(NFTA_RULE_USERDATA, userdata(comment))
  )
