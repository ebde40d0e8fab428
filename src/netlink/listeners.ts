/** Who listens on a TCP port in this network namespace, from proc(5). */
import { Effect, FileSystem, Option, type PlatformError } from "effect"
import { join } from "node:path"
import { formatAddress, fromBytes } from "../domain/Ip.ts"

/** A TCP socket that listens (`/proc/net/tcp`, `/proc/net/tcp6`). */
export interface Listener {
  readonly address: string
  readonly port: number
  /** Of the socket: `/proc/PID/fd/N` of its process is a link to `socket:[INODE]`. */
  readonly inode: string
}

/** A process that holds a listening socket. */
export interface PortOwner {
  readonly pid: number
  /** `/proc/PID/comm`. */
  readonly name: string
}

const LISTEN = "0A"

/** The kernel prints addresses as 32-bit words of the machine's byte order; both of our architectures are little-endian. */
export const addressOfWords = (hex: string) => {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))
  return fromBytes(bytes.map((_, i) => bytes[(i & ~3) + 3 - (i & 3)] ?? 0))
}

/** Lines that are not understood are left out. */
export const parseListeners = (text: string): ReadonlyArray<Listener> =>
  text.split("\n").slice(1).flatMap((line) => {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/)
    const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(local)
    if (match === null || state !== LISTEN) return []
    return [{
      address: formatAddress(addressOfWords(match[1] ?? "")),
      port: Number.parseInt(match[2] ?? "", 16),
      inode
    }]
  })

const orElse = <A, R>(read: Effect.Effect<A, PlatformError.PlatformError, R>, nothing: A) =>
  Effect.orElseSucceed(read, () => nothing)

const CHUNK = 64 << 10

/** The kernel lists those that listen before all connections (`tcp_seq_start`): what follows those is not read. */
const readHead = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const open = yield* fs.open(file)
  const decoder = new TextDecoder()
  let text = ""
  while (true) {
    const chunk = yield* open.readAlloc(CHUNK)
    if (Option.isNone(chunk)) return text
    text += decoder.decode(chunk.value, { stream: true })
    const last = text.slice(0, text.lastIndexOf("\n")).split("\n").at(-1)?.trim().split(/\s+/)
    if (last?.[3] !== LISTEN && last?.[3] !== "st") return text
  }
}, Effect.scoped)

/** All of this namespace. */
export const listeners = Effect.fn("netlink.listeners")(function*(proc: string) {
  const read = (file: string) => orElse(readHead(join(proc, "net", file)), "")
  return [...parseListeners(yield* read("tcp")), ...parseListeners(yield* read("tcp6"))]
})

/** Tells whether others listen on `port` than before. */
export const portSockets = Effect.fn("netlink.portSockets")(function*(proc: string, port: number) {
  const all = yield* listeners(proc)
  return all.filter((it) => it.port === port).map(({ inode }) => inode).toSorted().join(" ")
})

/**
 * The processes that listen on `port`, as far as they can be seen: a container without `hostPID` sees its own only. Reads
 * every open file of every process, so it is for those who look for a fault.
 */
export const portOwners = Effect.fn("netlink.portOwners")(function*(proc: string, port: number) {
  const fs = yield* FileSystem.FileSystem
  const sockets = new Set(
    (yield* listeners(proc)).filter((it) => it.port === port).map(({ inode }) => `socket:[${inode}]`)
  )
  if (sockets.size === 0) return []
  const owner = Effect.fnUntraced(function*(pid: string) {
    const folder = join(proc, pid, "fd")
    for (const fd of yield* orElse(fs.readDirectory(folder), [])) {
      if (!sockets.has(yield* orElse(fs.readLink(join(folder, fd)), ""))) continue
      const name = (yield* orElse(fs.readFileString(join(proc, pid, "comm")), "?")).trim()
      return [{ pid: Number(pid), name } satisfies PortOwner]
    }
    return []
  })
  const pids = (yield* orElse(fs.readDirectory(proc), [])).filter((name) => /^\d+$/.test(name))
  return (yield* Effect.forEach(pids, owner, { concurrency: 4 })).flat()
})

/** Ends the sentence "port N is taken by …"; undefined: nobody listens there. */
export const portOwnerWords = Effect.fn("netlink.portOwnerWords")(function*(proc: string, port: number) {
  const owners = yield* portOwners(proc, port)
  if (owners.length > 0) return owners.map(({ name, pid }) => `${name} (process ${pid})`).join(", ")
  const at = (yield* listeners(proc)).filter((it) => it.port === port).map(({ address }) => address)
  return at.length === 0
    ? undefined
    : `a process that cannot be seen from here, on ${at.join(", ")} (on the node: ss -ltnp sport = :${port})`
})
