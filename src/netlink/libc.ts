/**
 * The few system calls that Node does not offer, through `koffi`. Symbols come from the running process itself
 * (`dlopen(NULL)`), so this works with glibc and musl alike. Constants are the same on x86_64 and arm64.
 *
 * Functions ending in `Async` run on libuv's thread pool: whatever may wait for the kernel's RTNL lock.
 */
import koffi from "koffi"
import { closeSync, fstatSync } from "node:fs"
import { constants } from "node:os"
import { errnoName } from "./codec.ts"

const libc = koffi.load(null)

/**
 * At most fourteen threads of the pool wait for the kernel here (the host's requests, two pods', eight removals, two dumps,
 * a look at host ends); of the default four, files would get none. libuv reads this when the pool is first used.
 */
process.env["UV_THREADPOOL_SIZE"] ??= "16"

const socketCall = libc.func("int socket(int, int, int)")
const bindCall = libc.func("int bind(int, void *, unsigned int)")
const setsockoptCall = libc.func("int setsockopt(int, int, int, void *, unsigned int)")
const FilterProgram = koffi.struct("sock_fprog", { length: "uint16_t", filter: "uint8_t *" })
const setFilterCall = libc.func("setsockopt", "int", [
  "int",
  "int",
  "int",
  koffi.pointer(FilterProgram),
  "unsigned int"
])
const getsockoptCall = libc.func("int getsockopt(int, int, int, void *, void *)")
const openatCall = libc.func("int openat(int, str, int)")
const setnsCall = libc.func("int setns(int, int)")
const unshareCall = libc.func("int unshare(int)")
const sendCall = libc.func("long send(int, void *, size_t, int)")
const recvCall = libc.func("long recv(int, void *, size_t, int)")

const AF_INET = 2
const AF_INET6 = 10
const AF_NETLINK = 16
const SOCK_DGRAM = 2
const SOCK_RAW = 3
const SOCK_CLOEXEC = 0x80000
const SOL_SOCKET = 1
const SO_RCVBUFFORCE = 33
const SO_ATTACH_FILTER = 26
const SOL_NETLINK = 270
const NETLINK_ADD_MEMBERSHIP = 1
const NETLINK_DROP_MEMBERSHIP = 2
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12
const O_CLOEXEC = 0x80000
const CLONE_NEWNET = 0x40000000
const MSG_TRUNC = 0x20
const MSG_DONTWAIT = 0x40

/** A system call failed; `errno` is symbolic, such as `EPERM`. */
export class SystemCallError extends Error {
  readonly errno: string
  constructor(call: string, code: number) {
    super(`${call}: ${errnoName(code)}`)
    this.errno = errnoName(code)
  }
}

const check = (call: string, result: number): number => {
  if (result < 0) throw new SystemCallError(call, koffi.errno())
  return result
}

const setOption = (fd: number, level: number, option: number, value: number): boolean =>
  setsockoptCall(fd, level, option, Int32Array.of(value), 4) === 0

/** NETLINK_ROUTE and NETLINK_NETFILTER (linux/netlink.h). */
export type Protocol = 0 | 12

/**
 * A netlink socket in the calling thread's network namespace, bound to the multicast groups in the mask `groups`.
 * Options that an older kernel lacks are done without (strict checking: Linux 4.20).
 */
export const openSocket = (protocol: Protocol, groups: number, receiveBytes: number): number => {
  const fd = check("socket", socketCall(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol))
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, receiveBytes)
  for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
    setOption(fd, SOL_NETLINK, option, 1)
  }
  const address = new DataView(new ArrayBuffer(12))
  address.setUint16(0, AF_NETLINK, true)
  address.setUint32(8, groups, true)
  check("bind", bindCall(fd, new Uint8Array(address.buffer), 12))
  return fd
}

/** A socket that is asked and told, and sends nothing. */
export interface OptionSocket {
  /** getsockopt(2): what the kernel reads of `value` it finds there, and writes its answer over it. */
  readonly get: (level: number, option: number, value: DataView) => void
  readonly close: () => void
}

/** In the calling thread's network namespace. */
export const openOptionSocket = (family: 4 | 6): OptionSocket => {
  const fd = check("socket", socketCall(family === 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0))
  return {
    get: (level, option, value) => {
      const bytes = new Uint8Array(value.buffer)
      check("getsockopt", getsockoptCall(fd, level, option, bytes, Uint32Array.of(bytes.length)))
    },
    close: () => closeSync(fd)
  }
}

export const openRouteSocket = (groups: number, receiveBytes: number): number => openSocket(0, groups, receiveBytes)

/** Joins or leaves one multicast group (`RTNLGRP_…`, `NFNLGRP_…`). */
export const setMembership = (fd: number, group: number, member: boolean): boolean =>
  setOption(fd, SOL_NETLINK, member ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, group)

/** Puts a classic BPF program (linux/filter.h, 8 bytes an instruction) before a socket: what it drops is never received. */
export const attachFilter = (fd: number, program: Uint8Array): void => {
  const length = program.length / 8
  check("setsockopt", setFilterCall(fd, SOL_SOCKET, SO_ATTACH_FILTER, { length, filter: program }, 16))
}

/** openat(2) of what exists; `flags`: `O_RDONLY`, `O_WRONLY`. */
export const openAt = (folder: number, path: string, flags: number): number =>
  check("openat", openatCall(folder, path, flags | O_CLOEXEC))

/** Moves the calling thread, and only it, into a network namespace. EINVAL: `fd` is something else. */
export const enterNetns = (fd: number): void => {
  check("setns", setnsCall(fd, CLONE_NEWNET))
}

/** Moves the calling thread, and only it, into a new network namespace. */
export const enterNewNetns = (): void => {
  check("unshare", unshareCall(CLONE_NEWNET))
}

/** Buffers that a thread of the pool works with: koffi keeps the callback of an asynchronous call, not its arguments. */
const lent = new Set<Uint8Array>()

/** Sends one buffer; the kernel works on its requests before this completes. Calls back with 0 or an errno. */
export const sendAsync = (fd: number, bytes: Uint8Array, done: (errno: number) => void): void => {
  lent.add(bytes)
  sendCall.async(fd, bytes, bytes.length, 0, (error: unknown, result: number) => {
    const errno = error ? -1 : result < 0 ? koffi.errno() : 0
    lent.delete(bytes)
    done(errno)
  })
}

/** Bytes of the next datagram that is there already, or a negated errno (`-EAGAIN`: none). */
export const recvNow = (fd: number, into: Uint8Array): number => {
  const length: number = recvCall(fd, into, into.length, MSG_DONTWAIT | MSG_TRUNC)
  return length < 0 ? -koffi.errno() : length
}

/** Waits for the next datagram; its length (above `into.length` if cut off), or a negated errno. */
export const recvAsync = (fd: number, into: Uint8Array, done: (length: number) => void): void => {
  lent.add(into)
  recvCall.async(fd, into, into.length, MSG_TRUNC, (error: unknown, length: number) => {
    const result = error ? -1 : length < 0 ? -koffi.errno() : length
    lent.delete(into)
    done(result)
  })
}

/** Descriptors that {@link watchReadable} watches. */
const watched = new Set<number>()

/**
 * Calls back whenever `fd` is readable or has an error: in libuv's own epoll set, so without a thread and without
 * polling. libuv stops watching after an error (a netlink socket's ENOBUFS is one), hence the new start. `pauseMillis`:
 * for so long after a call what comes is left to gather, and is one call then.
 *
 * Throws EBADF and EEXIST: koffi 3.3.4 ends the whole process where libuv refuses a descriptor, and where a closed handle
 * is started. What its callback throws, it would throw at whoever calls koffi next.
 */
export const watchReadable = (
  fd: number,
  wake: () => void,
  pauseMillis = 0
): { readonly close: () => void } => {
  fstatSync(fd)
  if (watched.has(fd)) throw new SystemCallError("poll", constants.errno.EEXIST)
  const state = { open: true }
  const start = () => {
    if (state.open) handle.start({ readable: true }, onEvent)
  }
  const timer = pauseMillis > 0 ? setTimeout(start, pauseMillis).unref() : undefined
  const onEvent = (...[status]: ReadonlyArray<unknown>) => {
    if (timer !== undefined) {
      handle.stop()
      timer.refresh()
    } else if (typeof status === "number" && status < 0) start()
    try {
      wake()
    } catch (error) {
      setImmediate(() => {
        throw error
      })
    }
  }
  const handle = koffi.node.poll(fd, { readable: true }, onEvent)
  watched.add(fd)
  return {
    close: () => {
      if (!state.open) return
      state.open = false
      watched.delete(fd)
      clearTimeout(timer)
      handle.close()
    }
  }
}
