import { hash } from "node:crypto"
import { IF_PREFIX } from "../netlink/Netlink.ts"

/** Attempts before a name clash is given up: each has 2^32 names. */
export const NAME_ATTEMPTS = 4

/** `flock` + 8 hex digits, the same for the same attachment and attempt; another attempt gives another name. */
export const hostIfName = (key: string, attempt: number): string =>
  IF_PREFIX + hash("sha256", `${key}#${attempt}`).slice(0, 8)
