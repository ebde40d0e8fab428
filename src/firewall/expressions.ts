/**
 * What a rule of nf_tables does (linux/netfilter/nf_tables.h): one expression after another, as pure values. Registers hold
 * what the packet or the kernel has, in its order of bytes.
 */
import { attr, be32, concat, nested, text } from "../netlink/codec.ts"
import { NFTA_DATA_VALUE, NFTA_EXPR_DATA } from "./nft.ts"

const NFTA_EXPR_NAME = 1
const NFTA_DATA_VERDICT = 2
const NFTA_VERDICT_CODE = 1
const NFTA_VERDICT_CHAIN = 2

/** One expression of a rule. */
export type Expression = Uint8Array

const expression = (name: string, ...data: ReadonlyArray<Uint8Array>): Expression =>
  concat([attr(NFTA_EXPR_NAME, text(name)), nested(NFTA_EXPR_DATA, ...data)])

/** A 16-byte register: 1 to 4; what is wider goes on in the next one. */
export type Register = 1 | 2 | 3 | 4

const META = { iifname: 6, nfproto: 15, l4proto: 16 } as const

export const meta = (key: keyof typeof META, to: Register): Expression =>
  expression("meta", attr(1, be32(to)), attr(2, be32(META[key])))

const BASE = { network: 1, transport: 2 } as const

/** Bytes of the packet, from the start of the network or transport header. */
export const payload = (base: keyof typeof BASE, offset: number, length: number, to: Register): Expression =>
  expression("payload", attr(1, be32(to)), attr(2, be32(BASE[base])), attr(3, be32(offset)), attr(4, be32(length)))

const OPERATOR = { "==": 0, "!=": 1, "<=": 3, ">=": 5 } as const

/** The rule ends here, without effect, unless this holds. */
export const compare = (from: Register, operator: keyof typeof OPERATOR, value: Uint8Array): Expression =>
  expression("cmp", attr(1, be32(from)), attr(2, be32(OPERATOR[operator])), nested(3, attr(NFTA_DATA_VALUE, value)))

/** `register &= mask`. */
export const mask = (register: Register, bits: Uint8Array): Expression =>
  expression(
    "bitwise",
    attr(1, be32(register)),
    attr(2, be32(register)),
    attr(3, be32(bits.length)),
    nested(4, attr(NFTA_DATA_VALUE, bits)),
    nested(5, attr(NFTA_DATA_VALUE, new Uint8Array(bits.length)))
  )

/** The rule ends here unless the set holds what the register has. */
export const lookup = (set: string, from: Register): Expression =>
  expression("lookup", attr(1, text(set)), attr(2, be32(from)))

const NFT_FIB_RESULT_OIF = 1
const NFT_FIB_RESULT_ADDRTYPE = 3
const NFTA_FIB_F_SADDR = 1
const NFTA_FIB_F_DADDR = 2
const NFTA_FIB_F_IIF = 8

const fib = (result: number, flags: number, to: Register): Expression =>
  expression("fib", attr(1, be32(to)), attr(2, be32(result)), attr(3, be32(flags)))

/** `fib saddr . iif oif`: the link that the packet came by, if it is one that the source is routed to; else 0. */
export const wayBack = (to: Register): Expression => fib(NFT_FIB_RESULT_OIF, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF, to)

/** `fib daddr type`: `RTN_…` of linux/rtnetlink.h, in host order. */
export const destinationType = (to: Register): Expression => fib(NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR, to)

const counter: Expression = expression("counter")

const NFT_DYNSET_OP_UPDATE = 1

const update = (set: string, from: Register, each: Expression): Expression =>
  expression("dynset", attr(1, text(set)), attr(3, be32(NFT_DYNSET_OP_UPDATE)), attr(4, be32(from)), nested(7, each))

/** Counts the packet at the set's element for what the register has. A full set ends the rule, so nothing may follow. */
export const countIn = (set: string, from: Register): Expression => update(set, from, counter)

const be64 = (value: number): Uint8Array => concat([be32(0), be32(value)])
const NFT_LIMIT_F_INV = 1

/** The rule goes on only for what comes faster than `perSecond`, after `burst` packets, by what the register has. */
export const above = (set: string, from: Register, perSecond: number, burst: number): Expression =>
  update(
    set,
    from,
    expression(
      "limit",
      attr(1, be64(perSecond)),
      attr(2, be64(1)),
      attr(3, be32(burst)),
      attr(4, be32(0)),
      attr(5, be32(NFT_LIMIT_F_INV))
    )
  )

const VERDICT = { drop: 0, jump: -3, goto: -4, return: -5 } as const

export const verdict = (code: keyof typeof VERDICT, chain?: string): Expression =>
  expression(
    "immediate",
    attr(1, be32(0)),
    nested(
      2,
      nested(
        NFTA_DATA_VERDICT,
        attr(NFTA_VERDICT_CODE, be32(VERDICT[code])),
        ...(chain === undefined ? [] : [attr(NFTA_VERDICT_CHAIN, text(chain))])
      )
    )
  )
