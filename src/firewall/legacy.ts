/**
 * What iptables-legacy does with forwarded packets that none of its rules takes: the policy of its chain FORWARD, which is in
 * no dump of nf_tables. Read as iptables reads it (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h).
 */
import { Result } from "effect"
import type { Family } from "../domain/Ip.ts"
import { openOptionSocket, type OptionSocket, SystemCallError } from "../netlink/libc.ts"
import type { Namespaces } from "../netlink/namespace.ts"

export type Policy = "accept" | "drop"

const IPPROTO_IP = 0
const IPPROTO_IPV6 = 41
/** `IPT_SO_GET_INFO`, `IP6T_SO_GET_INFO`. */
const SO_GET_INFO = 64
/** `IPT_SO_GET_ENTRIES`, `IP6T_SO_GET_ENTRIES`. */
const SO_GET_ENTRIES = 65

const NF_INET_FORWARD = 2
/** struct ipt_getinfo: name, valid hooks, where each hook's rules begin and its policy is, number and bytes of entries. */
const INFO = { length: 84, underflow: 56, size: 80 } as const
/** struct ipt_get_entries, before the entries. */
const HEAD = 40
/** Offset of a rule's target in struct ipt_entry and struct ip6t_entry. */
const TARGET_OFFSET: Readonly<Record<Family, number>> = { 4: 88, 6: 140 }
/** Of the verdict in struct xt_standard_target. */
const VERDICT = 32
/** A standard verdict is `-NF_… - 1` (linux/netfilter/x_tables.h). */
const DROP = -1

/** Bytes of a table that are read, at most: some 100,000 rules. */
const MOST = 32 << 20
/** The table may change between the two questions; the kernel says EAGAIN then. */
const TRIES = 3

const named = (length: number): DataView => {
  const view = new DataView(new ArrayBuffer(length))
  for (const [i, byte] of Buffer.from("filter").entries()) view.setUint8(i, byte)
  return view
}

/** The policy of a chain is the verdict of its last rule. undefined: it is none that iptables would write. */
export const policyAt = (family: Family, entries: DataView, rule: number): Policy | undefined => {
  const target = rule + TARGET_OFFSET[family]
  if (target + 2 > entries.byteLength) return undefined
  const verdict = rule + entries.getUint16(target, true) + VERDICT
  if (verdict + 4 > entries.byteLength) return undefined
  return entries.getInt32(verdict, true) === DROP ? "drop" : "accept"
}

const read = (socket: OptionSocket, family: Family): Policy | undefined => {
  const level = family === 4 ? IPPROTO_IP : IPPROTO_IPV6
  const info = named(INFO.length)
  socket.get(level, SO_GET_INFO, info)
  const size = info.getUint32(INFO.size, true)
  if (size > MOST) return undefined
  const entries = named(HEAD + size)
  entries.setUint32(32, size, true)
  socket.get(level, SO_GET_ENTRIES, entries)
  const rule = info.getUint32(INFO.underflow + 4 * NF_INET_FORWARD, true)
  return policyAt(family, new DataView(entries.buffer, HEAD), rule)
}

/**
 * Only where the table is there already: the kernel makes one for whoever asks. undefined: it cannot be read.
 */
export const legacyForward = (namespaces: Namespaces, family: Family): Policy | undefined => {
  const tried = Result.try(() => {
    const socket = namespaces.visit(namespaces.host, () => openOptionSocket(family))
    try {
      for (let tries = 1;; tries++) {
        try {
          return read(socket, family)
        } catch (error) {
          if (tries === TRIES || !(error instanceof SystemCallError) || error.errno !== "EAGAIN") throw error
        }
      }
    } finally {
      socket.close()
    }
  })
  return Result.getOrUndefined(tried)
}
