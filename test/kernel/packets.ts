/** Packets as a hostile pod would send them, byte by byte, and a raw socket (packet(7)) to send and hear them with. */
import koffi from "koffi"
import { execFileSync } from "node:child_process"
import { closeSync, openSync } from "node:fs"
import { address, formatAddress, fromBytes, type IpAddress, toBytes } from "../../src/domain/Ip.ts"

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/[\s:]/g, ""), "hex"))
const u16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 255)
const u32 = (value: number): Uint8Array => Uint8Array.of(value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value)
const join = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => Uint8Array.from(Buffer.concat(parts))
const ip = (text: string | IpAddress): Uint8Array => toBytes(typeof text === "string" ? address(text) : text)

/** RFC 1071. */
const checksum = (...parts: ReadonlyArray<Uint8Array>): number => {
  const all = join(...parts)
  let sum = 0
  for (let i = 0; i < all.length; i += 2) sum += ((all[i] ?? 0) << 8) | (all[i + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

const withSum = (data: Uint8Array, at: number, pseudo: Uint8Array = new Uint8Array()): Uint8Array => {
  const copy = Uint8Array.from(data)
  copy.set(u16(checksum(pseudo, copy)), at)
  return copy
}

const ICMP = 1
const TCP = 6
const UDP = 17
const ICMPV6 = 58

const pseudo = (from: Uint8Array, to: Uint8Array, protocol: number, length: number): Uint8Array =>
  from.length === 4
    ? join(from, to, Uint8Array.of(0, protocol), u16(length))
    : join(from, to, u32(length), Uint8Array.of(0, 0, 0, protocol))

export interface Packet {
  readonly family: 4 | 6
  readonly bytes: Uint8Array
}

/** An IP packet of either family; `hops` is the TTL or hop limit. */
export const packet = (
  from: string,
  to: string,
  protocol: number,
  payload: Uint8Array,
  { hops = 64, options = new Uint8Array() }: { readonly hops?: number; readonly options?: Uint8Array } = {}
): Packet => {
  const [source, target] = [ip(from), ip(to)]
  if (source.length === 16) {
    const head = join(u32(0x6000_0000), u16(options.length + payload.length))
    const next = options.length > 0 ? 43 : protocol
    return { family: 6, bytes: join(head, Uint8Array.of(next, hops), source, target, options, payload) }
  }
  const words = 5 + options.length / 4
  const head = join(
    Uint8Array.of(0x40 | words, 0),
    u16(words * 4 + payload.length),
    u32(0x1234_0000),
    Uint8Array.of(hops, protocol, 0, 0),
    source,
    target,
    options
  )
  return { family: 4, bytes: join(withSum(head, 10), payload) }
}

export const udp = (from: string, to: string, port: number, text = "x", sourcePort = 4000): Packet => {
  const data = Uint8Array.from(Buffer.from(text))
  const length = 8 + data.length
  const body = join(u16(sourcePort), u16(port), u16(length), u16(0), data)
  return packet(from, to, UDP, withSum(body, 6, pseudo(ip(from), ip(to), UDP, length)))
}

/** A SYN. */
export const syn = (from: string, to: string, port: number, sourcePort = 4000): Packet => {
  const body = join(u16(sourcePort), u16(port), u32(1), u32(0), bytes("5002 ffff 0000 0000"))
  return packet(from, to, TCP, withSum(body, 16, pseudo(ip(from), ip(to), TCP, body.length)))
}

export const echo = (from: string, to: string): Packet => {
  const v6 = ip(from).length === 16
  const body = join(bytes(v6 ? "80 00 0000" : "08 00 0000"), u16(7), u16(1), bytes("6162636465666768"))
  return v6
    ? icmp6(from, to, body, 64)
    : packet(from, to, ICMP, withSum(body, 2))
}

const icmp6 = (from: string, to: string, body: Uint8Array, hops = 255): Packet =>
  packet(from, to, ICMPV6, withSum(body, 2, pseudo(ip(from), ip(to), ICMPV6, body.length)), { hops })

/**
 * A router advertisement (RFC 4861, 4.2; RFC 4191) at high preference, with a prefix on-link and for addresses of one's
 * own, and a route to it.
 */
export const routerAdvertisement = (from: string, prefix: string, length: number): Packet =>
  icmp6(
    from,
    "ff02::1",
    join(
      bytes("86 00 0000 40 08 ffff 00000000 00000000"),
      bytes("01 01"),
      bytes("02:00:00:00:00:66"),
      bytes("05 01 0000 00000500"),
      join(bytes("03 04"), Uint8Array.of(length, 0xc0), u32(0xffffffff), u32(0xffffffff), u32(0), ip(prefix)),
      join(bytes("18 03"), Uint8Array.of(length, 0x08), u32(0xffffffff), ip(prefix))
    )
  )

/** "Reach `target` by me" (RFC 4861, 4.5). */
export const redirect6 = (from: string, to: string, target: string, by: string): Packet =>
  icmp6(from, to, join(bytes("89 00 0000 00000000"), ip(by), ip(target), bytes("02 01 02:00:00:00:00:66")))

/** "Reach `target` by `by`" (RFC 792), about a packet that `to` is said to have sent. */
export const redirect4 = (from: string, to: string, target: string, by: string): Packet =>
  packet(from, to, ICMP, withSum(join(bytes("05 01 0000"), ip(by), udp(to, target, 53).bytes.subarray(0, 28)), 2))

/** A claim that `claimed` is at this MAC, unsolicited and with the override flag (RFC 4861, 4.4). */
export const neighbourAdvertisement = (from: string, to: string, claimed: string): Packet =>
  icmp6(from, to, join(bytes("88 00 0000 a0000000"), ip(claimed), bytes("02 01 02:00:00:00:00:66")))

/** "Who has `target`?" (RFC 4861, 4.3), with the asker's own MAC. */
export const neighbourSolicitation = (from: string, target: string): Packet =>
  icmp6(from, target, join(bytes("87 00 0000 00000000"), ip(target), bytes("01 01 02:00:00:00:00:66")))

/** Duplicate address detection for `wanted` (RFC 4862, 5.4.2). */
export const detectDuplicate = (wanted: string): Packet => {
  const last = ip(wanted).subarray(13)
  const group = `ff02::1:ff${Buffer.from(last).toString("hex").replace(/^(..)(....)$/, "$1:$2")}`
  return icmp6("::", group, join(bytes("87 00 0000 00000000"), ip(wanted)))
}

/** Loose source route by `via` (RFC 791), or routing header type 0 or 2 (RFC 8200, RFC 6275). */
export const sourceRouted = (from: string, via: string, to: string, type = 0): Packet => {
  if (ip(from).length === 16) {
    const header = join(Uint8Array.of(UDP, 2, type, 1), u32(0), ip(to))
    const inner = udp(from, to, 53).bytes.subarray(40)
    return packet(from, via, UDP, inner, { options: header })
  }
  const options = join(bytes("83 07 04"), ip(to), bytes("01"))
  return packet(from, via, UDP, udp(from, to, 53).bytes.subarray(20), { options })
}

/** The source address that a packet bears. */
export const sourceOf = ({ bytes, family }: Packet): string =>
  formatAddress(fromBytes(family === 4 ? bytes.subarray(12, 16) : bytes.subarray(8, 24)))

/** An Ethernet frame with any type and payload. */
export interface Frame {
  readonly type: number
  readonly bytes: Uint8Array
}

/** "`claimed` is at this MAC": a request (1) or a reply (2) of ARP (RFC 826). */
export const arp = (operation: 1 | 2, claimed: string, target: string): Frame => ({
  type: 0x0806,
  bytes: join(
    bytes("0001 0800 06 04"),
    u16(operation),
    bytes("02:00:00:00:00:66"),
    ip(claimed),
    bytes("000000000000"),
    ip(target)
  )
})

export const frame = ({ bytes, family }: Packet): Frame => ({ type: family === 4 ? 0x0800 : 0x86dd, bytes })

const libc = koffi.load(null)
const socket = libc.func("int socket(int, int, int)")
const bind = libc.func("int bind(int, void *, unsigned int)")
const send = libc.func("long send(int, void *, size_t, int)")
const recv = libc.func("long recv(int, void *, size_t, int)")
const setns = libc.func("int setns(int, int)")

const AF_PACKET = 17
const SOCK_RAW = 3
const SOCK_CLOEXEC = 0x80000
const ETH_P_ALL = 3
const MSG_DONTWAIT = 0x40

const HOST_MAC = bytes("ee:ee:ee:ee:ee:ee")
const EVERYBODY = bytes("ff:ff:ff:ff:ff:ff")

export interface RawLink {
  readonly send: (what: Packet | Frame, options?: { readonly everybody?: boolean }) => void
  /** IP packets (without their Ethernet header) that came from the other end since the last call. */
  readonly heard: () => ReadonlyArray<Packet>
  /** Whether one came that holds `text`. */
  readonly heardText: (text: string) => boolean
  readonly close: () => void
}

/** Opens an interface in a namespace. The thread is in that namespace only while this runs. */
export const openRaw = (netns: string, ifName: string): RawLink => {
  const [{ address: mac, ifindex }] = JSON.parse(
    execFileSync("ip", ["-n", netns, "-j", "link", "show", "dev", ifName], { encoding: "utf8" })
  )
  const home = openSync("/proc/thread-self/ns/net", "r")
  const there = openSync(`/run/netns/${netns}`, "r")
  setns(there, 0)
  const fd: number = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, u16(ETH_P_ALL)[1]! << 8)
  setns(home, 0)
  closeSync(home)
  closeSync(there)
  const sll = new DataView(new ArrayBuffer(20))
  sll.setUint16(0, AF_PACKET, true)
  sll.setUint16(2, ETH_P_ALL)
  sll.setInt32(4, ifindex, true)
  if (fd < 0 || bind(fd, new Uint8Array(sll.buffer), 20) !== 0) throw new Error(`cannot open ${ifName} in ${netns}`)
  const own = bytes(mac)
  const heard = (): ReadonlyArray<Packet> => {
    const found: Array<Packet> = []
    const buffer = new Uint8Array(65536)
    for (;;) {
      const length: number = recv(fd, buffer, buffer.length, MSG_DONTWAIT)
      if (length < 0) return found
      if (buffer.subarray(6, 12).every((byte, i) => byte === own[i])) continue
      const type = ((buffer[12] ?? 0) << 8) | (buffer[13] ?? 0)
      if (type === 0x0800) found.push({ family: 4, bytes: buffer.slice(14, length) })
      if (type === 0x86dd) found.push({ family: 6, bytes: buffer.slice(14, length) })
    }
  }
  return {
    send: (what, { everybody = false } = {}) => {
      const { bytes: body, type } = "family" in what ? frame(what) : what
      const whole = join(everybody ? EVERYBODY : HOST_MAC, own, u16(type), body)
      if (send(fd, whole, whole.length, 0) !== whole.length) throw new Error(`cannot send in ${netns}`)
    },
    heard,
    heardText: (text) => heard().some((one) => Buffer.from(one.bytes).includes(text)),
    close: () => closeSync(fd)
  }
}
