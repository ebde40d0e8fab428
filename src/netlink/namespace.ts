/**
 * Short visits to other network namespaces. setns(2) moves only the calling thread, which is JavaScript's; a visit is
 * synchronous from entry to return, so no other code ever runs in the wrong namespace.
 */
import {
  closeSync,
  constants as flags,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeSync
} from "node:fs"
import { constants } from "node:os"
import { enterNetns, enterNewNetns, openAt, SystemCallError } from "./libc.ts"

/** An open network namespace. */
export interface Netns {
  readonly fd: number
  /** Device and inode: the same for two descriptors of one namespace. */
  readonly identity: string
}

const codeOf = (error: unknown): string =>
  error instanceof SystemCallError
    ? error.errno
    : error instanceof Error && "code" in error
    ? String(error.code)
    : String(error)

/** Opens any path that leads to a network namespace; throws what open(2) gives. */
export const openNetns = (path: string): Netns => {
  const fd = openSync(path, flags.O_RDONLY | flags.O_NONBLOCK)
  const { dev, ino } = fstatSync(fd)
  return { fd, identity: `${dev}:${ino}` }
}

export const closeNetns = (netns: Netns): void => closeSync(netns.fd)

export class Namespaces {
  /** The process's own. */
  readonly #home: Netns
  /** The node's: where host ends, host routes and sockets are. */
  readonly host: Netns
  #closed = false

  /** `hostPath`: the node's namespace if that is not the process's own (tests). */
  constructor(hostPath?: string) {
    this.#home = openNetns("/proc/thread-self/ns/net")
    this.host = hostPath === undefined ? this.#home : openNetns(hostPath)
  }

  /**
   * Runs `visit` inside `netns`. Whatever happens, the thread is back home afterwards, or the process ends. EBADF once
   * closed: there would be no way back.
   */
  visit<A>(netns: Netns, visit: () => A): A {
    if (this.#closed) throw new SystemCallError("setns", constants.errno.EBADF)
    return netns.identity === this.#home.identity ? visit() : this.#away(() => enterNetns(netns.fd), visit)
  }

  /** A new one with nothing in it, which goes with its last descriptor, socket and process. */
  create(): Netns {
    if (this.#closed) throw new SystemCallError("unshare", constants.errno.EBADF)
    return this.#away(enterNewNetns, () => openNetns("/proc/thread-self/ns/net"))
  }

  #away<A>(leave: () => void, visit: () => A): A {
    leave()
    try {
      return visit()
    } finally {
      try {
        enterNetns(this.#home.fd)
      } catch (error) {
        writeSync(2, `cannot return to the host's network namespace (${codeOf(error)}): stopping\n`)
        process.abort()
      }
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.host !== this.#home) closeNetns(this.host)
    closeNetns(this.#home)
  }
}

/**
 * In a container that is not privileged `/proc/sys` is read-only. Its manifest mounts the host's `/proc/sys/net` elsewhere
 * and says where; like every procfs mount, that one shows the namespace of the thread that looks.
 */
const root = process.env["FLOCK_PROC_SYS_NET"] ?? "/proc/sys/net"

/** Entries of a directory below `/proc/sys/net` (`ipv4/conf`) in the calling thread's namespace. */
export const listSysctls = (name: string): ReadonlyArray<string> => {
  try {
    return readdirSync(`${root}/${name}`)
  } catch {
    return []
  }
}

/** Value of a sysctl (`ipv4/ip_forward`) in the calling thread's namespace; undefined where there is none. */
export const readSysctl = (name: string): string | undefined => {
  try {
    return readFileSync(`${root}/${name}`, "utf8").trim()
  } catch {
    return undefined
  }
}

/**
 * Opens a sysctl of the calling thread's namespace for writing: the descriptor stays tied to that namespace. Writes to
 * `disable_ipv6` and `forwarding` spin on the RTNL lock, so they are made on the thread pool with this descriptor.
 */
export const openSysctl = (name: string): number => openSync(`${root}/${name}`, flags.O_WRONLY)

/**
 * A folder below `/proc/sys/net` (`ipv6/conf`) of the namespace that it was opened in, whoever uses it. On the way from the
 * root the kernel passes the entries of all namespaces, which have the same names: with 300 pods seven writes took 0.35 ms by
 * their paths, and take 0.04 from here.
 */
export class SysctlFolder {
  readonly #fd: number

  constructor(name: string) {
    this.#fd = openSync(`${root}/${name}`, flags.O_RDONLY | flags.O_DIRECTORY)
  }

  /** For writing, by somebody else: see {@link openSysctl}. */
  open(path: string): number {
    return openAt(this.#fd, path, flags.O_WRONLY)
  }

  /** Writes a sysctl that takes no lock. */
  write(path: string, value: string): void {
    const fd = this.open(path)
    try {
      writeSync(fd, value)
    } finally {
      closeSync(fd)
    }
  }

  /** undefined where there is none. */
  read(path: string): string | undefined {
    try {
      const fd = openAt(this.#fd, path, flags.O_RDONLY)
      try {
        const bytes = Buffer.alloc(32)
        return bytes.toString("latin1", 0, readSync(fd, bytes)).trim()
      } finally {
        closeSync(fd)
      }
    } catch {
      return undefined
    }
  }

  /** Entries of a folder in it. */
  list(path: string): ReadonlyArray<string> {
    try {
      return readdirSync(`/proc/self/fd/${this.#fd}/${path}`)
    } catch {
      return []
    }
  }

  close(): void {
    closeSync(this.#fd)
  }
}

export { codeOf as errorCode }
