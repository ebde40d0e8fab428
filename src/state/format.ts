/**
 * The format of what is in the folder of records, and what an agent does about a newer one than it knows, as after a
 * roll-back: it belongs to an agent that may come back, so nothing of it is changed, removed or given out. Pure.
 *
 * A record says its own version; it is raised where an older agent can leave that one pod to what the kernel tells of it. The
 * folder's file `format` speaks for all of the folder; it is raised where an older agent must not give out addresses beside
 * what is there. No record without `version` and no folder without `format` is newer: both are version 1.
 */
import { Option, Schema } from "effect"
import { type IpAddress, parseAddress } from "../domain/Ip.ts"
import { isRecord } from "../domain/record.ts"

/** The version that this agent reads and writes. */
export const FORMAT = 1

/** Of the folder; not `.json`, so that it is no record. */
export const FORMAT_FILE = "format"

export interface Newer {
  /** Path. */
  readonly file: string
  readonly version: number
  /** flock's version that wrote it, where it says so. */
  readonly by: string | undefined
  /** Of the attachment, by the file's name; undefined: it is the folder's. */
  readonly key: string | undefined
  /** Host link that it names. */
  readonly hostIfName: string | undefined
  /** Addresses that it names, but for gateways and anycast ones: nobody else gets them. */
  readonly addresses: ReadonlyArray<IpAddress>
}

/** Anycast addresses have many holders, and gateways are nobody's. */
const SHARED = /anycast|gateway/i

const addressesIn = (value: unknown): ReadonlyArray<IpAddress> => {
  if (typeof value === "string") {
    const address = parseAddress(value)
    return address === undefined ? [] : [address]
  }
  if (Array.isArray(value)) return value.flatMap(addressesIn)
  return isRecord(value)
    ? Object.entries(value).flatMap(([name, inner]) => SHARED.test(name) ? [] : addressesIn(inner))
    : []
}

const Versioned = Schema.fromJsonString(Schema.Struct({ version: Schema.Int }))
const decode = Schema.decodeUnknownOption(Versioned)

const textAt = (value: unknown, name: string): string | undefined => {
  const found = isRecord(value) ? value[name] : undefined
  return typeof found === "string" ? found : undefined
}

/** What a file says of itself if it is of a newer version; undefined for one that is not, or is no JSON at all. */
export const newerIn = (file: string, key: string | undefined, text: string): Newer | undefined => {
  const version = Option.getOrUndefined(decode(text))?.version
  if (version === undefined || version <= FORMAT) return undefined
  const content: unknown = JSON.parse(text)
  return {
    file,
    version,
    by: textAt(content, "by"),
    key,
    hostIfName: textAt(content, "hostIfName"),
    addresses: addressesIn(content)
  }
}

const writerOf = ({ by }: Newer): string => by === undefined ? "the flock that wrote it" : `flock ${by}`

/** For whoever asks to write there. `self`: this flock's version. */
export const newerProblem = (newer: Newer, self: string): string =>
  `it is of format ${newer.version}, and flock ${self} knows ${FORMAT}: no pod is added ${
    newer.key === undefined ? "here" : "in its place"
  } until ${writerOf(newer)} runs again, or it is removed`

/** What it is, what that means, and what to do: one sentence each. */
export const newerInWords = (newer: Newer, self: string): string => {
  const what = `${newer.file} is of format ${newer.version}, and flock ${self} knows ${FORMAT}`
  return newer.key === undefined
    ? `${what}: nothing in its folder is touched, and no pod is added here; pods that run keep their network. ` +
      `Run ${writerOf(newer)} again, or drain the node, remove the folder and restart the agent`
    : `${what}: it is left as it is, its addresses are given to nobody, and its pod is served by what the kernel has of it. ` +
      `Run ${writerOf(newer)} again, or delete the pod, remove the file and restart the agent`
}
