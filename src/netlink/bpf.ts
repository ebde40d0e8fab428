/** Classic BPF programs (linux/filter.h) for netlink sockets: what they drop never wakes the agent. */
import * as C from "./constants.ts"

const LOAD_WORD = 0x20
const LOAD_HALF = 0x28
const LOAD_BYTE = 0x30
const JUMP_EQUAL = 0x15
const JUMP_SET = 0x45
const RETURN = 0x06

/** Offsets in a message: `nlmsg_type` (struct nlmsghdr), then of struct ndmsg `ndm_ifindex`, `ndm_state`, `ndm_flags`. */
const TYPE = 4
const NEIGHBOUR_LINK = 20
const NEIGHBOUR_STATE = 24
const NEIGHBOUR_FLAGS = 26
/** A link's first attribute, which is its name (`rtnl_fill_ifinfo`, Linux 2.6 to 6.x): `nla_type` and what follows. */
const FIRST_TYPE = 34
const FIRST_VALUE = 36

const PASS = 0xffff_ffff
const DROP = 0

const instruction = (code: number, jumpTrue: number, jumpFalse: number, k: number): ReadonlyArray<number> => [
  code,
  0,
  jumpTrue,
  jumpFalse,
  k & 0xff,
  (k >>> 8) & 0xff,
  (k >>> 16) & 0xff,
  k >>> 24
]

/** BPF loads in network order, netlink writes in the machine's. */
const swapped = (type: number): number => (type & 0xff) << 8 | type >> 8

const swappedWord = (value: number): number => (swapped(value & 0xffff) << 16 | swapped(value >>> 16)) >>> 0

/** Lets through messages of these types only, at most 254. */
export const onlyTypes = (types: ReadonlyArray<number>): Uint8Array =>
  Uint8Array.from([
    ...instruction(LOAD_HALF, 0, 0, TYPE),
    ...types.flatMap((type, i) => instruction(JUMP_EQUAL, types.length - i, 0, swapped(type))),
    ...instruction(RETURN, 0, 0, DROP),
    ...instruction(RETURN, 0, 0, PASS)
  ])

/**
 * Lets through of neighbours only those in the states of an entry that somebody set or took away: a pod that claims a
 * thousand addresses makes a thousand entries.
 */
export const QUIET_NEIGHBOURS: Uint8Array = Uint8Array.from([
  ...instruction(LOAD_HALF, 0, 0, TYPE),
  ...instruction(JUMP_EQUAL, 1, 0, swapped(C.RTM_NEWNEIGH)),
  ...instruction(JUMP_EQUAL, 0, 2, swapped(C.RTM_DELNEIGH)),
  ...instruction(LOAD_BYTE, 0, 0, NEIGHBOUR_STATE),
  ...instruction(JUMP_SET, 0, 1, C.NUD_PERMANENT | C.NUD_FAILED | C.NUD_REACHABLE),
  ...instruction(RETURN, 0, 0, PASS),
  ...instruction(RETURN, 0, 0, DROP)
])

/** Lets through messages of links only, and of those none whose name begins so. */
export const linksWithout = (prefix: string): Uint8Array => {
  const bytes = [...new TextEncoder().encode(prefix)]
  return Uint8Array.from([
    ...instruction(LOAD_HALF, 0, 0, TYPE),
    ...instruction(JUMP_EQUAL, 1, 0, swapped(C.RTM_NEWLINK)),
    ...instruction(JUMP_EQUAL, 0, 3 + 2 * bytes.length, swapped(C.RTM_DELLINK)),
    ...instruction(LOAD_HALF, 0, 0, FIRST_TYPE),
    ...instruction(JUMP_EQUAL, 0, 2 * bytes.length, swapped(C.IFLA_IFNAME)),
    ...bytes.flatMap((byte, i) => [
      ...instruction(LOAD_BYTE, 0, 0, FIRST_VALUE + i),
      ...i < bytes.length - 1
        ? instruction(JUMP_EQUAL, 0, 2 * (bytes.length - i - 1), byte)
        : instruction(JUMP_EQUAL, 1, 0, byte)
    ]),
    ...instruction(RETURN, 0, 0, PASS),
    ...instruction(RETURN, 0, 0, DROP)
  ])
}

/** Lets through of neighbours only routers on these links, at most 253: what others advertise wakes nobody. */
export const routersOn = (ifIndexes: ReadonlyArray<number>): Uint8Array =>
  Uint8Array.from([
    ...instruction(LOAD_BYTE, 0, 0, NEIGHBOUR_FLAGS),
    ...instruction(JUMP_SET, 0, ifIndexes.length + 1, C.NTF_ROUTER),
    ...instruction(LOAD_WORD, 0, 0, NEIGHBOUR_LINK),
    ...ifIndexes.flatMap((ifIndex, i) => instruction(JUMP_EQUAL, ifIndexes.length - i, 0, swappedWord(ifIndex))),
    ...instruction(RETURN, 0, 0, DROP),
    ...instruction(RETURN, 0, 0, PASS)
  ])
