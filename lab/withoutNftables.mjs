// Runs COMMAND ARGS… as on a kernel without nf_tables: there socket(AF_NETLINK, …, NETLINK_NETFILTER) gives EPROTONOSUPPORT,
// and so it does here, by a seccomp filter that the command and all its threads have.
import koffi from "koffi"

const PR_SET_SECCOMP = 22
const PR_SET_NO_NEW_PRIVS = 38
const SECCOMP_MODE_FILTER = 2
const SECCOMP_RET_ALLOW = 0x7fff0000
const SECCOMP_RET_ERRNO = 0x00050000
const EPROTONOSUPPORT = 93
const AF_NETLINK = 16
const NETLINK_NETFILTER = 12

const SOCKET = { x64: 41, arm64: 198 }[process.arch]
/** struct seccomp_data: the call's number, and the low halves of its first and third argument. */
const [NUMBER, FIRST, THIRD] = [0, 16, 32]

/** struct sock_filter. */
const instruction = (code, jt, jf, k) => {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt16LE(code, 0)
  bytes.writeUInt8(jt, 2)
  bytes.writeUInt8(jf, 3)
  bytes.writeUInt32LE(k, 4)
  return bytes
}
const load = (offset) => instruction(0x20, 0, 0, offset)
const unlessEqual = (value, skip) => instruction(0x15, 0, skip, value)
const give = (value) => instruction(0x06, 0, 0, value)

const filter = Buffer.concat([
  load(NUMBER),
  unlessEqual(SOCKET, 5),
  load(FIRST),
  unlessEqual(AF_NETLINK, 3),
  load(THIRD),
  unlessEqual(NETLINK_NETFILTER, 1),
  give(SECCOMP_RET_ERRNO | EPROTONOSUPPORT),
  give(SECCOMP_RET_ALLOW)
])

const Program = koffi.struct("sock_fprog", { length: "uint16_t", filter: "uint8_t *" })
const libc = koffi.load(null)
const set = libc.func("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)")
const setFilter = libc.func("prctl", "int", ["int", "unsigned long", koffi.pointer(Program)])
if (set(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) !== 0) throw new Error("PR_SET_NO_NEW_PRIVS")
if (setFilter(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, { length: filter.length / 8, filter }) !== 0) {
  throw new Error("PR_SET_SECCOMP")
}
const [command, ...args] = process.argv.slice(2)
process.execve(command, [command, ...args], process.env)
