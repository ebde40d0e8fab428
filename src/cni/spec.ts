/** The CNI specification 1.1.0, as far as it is text: versions, error codes, what a request must hold. */
import { Data, Result } from "effect"
import { quote } from "../domain/quote.ts"
import { isRecord } from "../domain/record.ts"

/** Section 4, "CNI operations". */
export const VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const
export type Verb = typeof VERBS[number]

export const isVerb = (op: string): op is Verb => VERBS.some((verb) => verb === op)

/** Newest last. 0.1.0 and 0.2.0 have another result shape and are refused, as the specification allows. */
export const SUPPORTED_VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const
export type CniVersion = typeof SUPPORTED_VERSIONS[number]
export const NEWEST: CniVersion = "1.1.0"

/** Section 5, "Error"; 100 and above are flock's. */
export const Code = {
  INCOMPATIBLE_VERSION: 1,
  UNKNOWN_CONTAINER: 3,
  INVALID_ENVIRONMENT: 4,
  IO_FAILURE: 5,
  DECODE_FAILURE: 6,
  INVALID_NETWORK_CONFIG: 7,
  TRY_AGAIN_LATER: 11,
  NOT_AVAILABLE: 50,
  NOT_AVAILABLE_LIMITED: 51,
  ADDRESSES: 100,
  KERNEL: 101,
  CHECK_FAILED: 102
} as const

/** A failed call, as the runtime will read it. */
export class CniFailure extends Data.TaggedError("CniFailure")<{
  readonly code: number
  readonly message: string
  readonly details?: string
}> {}

/** The network configuration that came on stdin. */
export interface NetworkConfig {
  readonly cniVersion: string
  readonly name: string
  readonly prevResult?: Readonly<Record<string, unknown>>
  /** `cni.dev/valid-attachments` of GC; undefined where it is missing. */
  readonly validAttachments?: ReadonlyArray<{ readonly containerId: string; readonly ifName: string }>
}

const fail = (code: number, message: string, details?: string) =>
  Result.fail(new CniFailure({ code, message, ...(details === undefined ? {} : { details }) }))

const attachmentsOf = (config: Readonly<Record<string, unknown>>): NetworkConfig["validAttachments"] => {
  // libcni sends both names; the first one is the specification's.
  const list = config["cni.dev/valid-attachments"] ?? config["cni.dev/attachments"]
  if (!Array.isArray(list)) return undefined
  return list.filter(isRecord).map((a) => ({
    containerId: String(a["containerID"] ?? ""),
    ifName: String(a["ifname"] ?? "")
  }))
}

export const parseConfig = (text: string): Result.Result<NetworkConfig, CniFailure> => {
  let config: unknown
  try {
    config = JSON.parse(text)
  } catch (cause) {
    return fail(Code.DECODE_FAILURE, "the network configuration on stdin is not JSON", String(cause))
  }
  if (!isRecord(config)) return fail(Code.DECODE_FAILURE, "the network configuration on stdin is not a JSON object")
  const { cniVersion = "0.1.0", name = "", prevResult } = config
  if (typeof cniVersion !== "string") {
    return fail(
      Code.INVALID_NETWORK_CONFIG,
      `cniVersion: ${quote(cniVersion)}: must be a string such as "1.0.0"`
    )
  }
  if (typeof name !== "string") {
    return fail(Code.INVALID_NETWORK_CONFIG, `name: ${quote(name)}: must be the network's name`)
  }
  if (prevResult !== undefined && prevResult !== null && !isRecord(prevResult)) {
    return fail(Code.INVALID_NETWORK_CONFIG, "prevResult: must be an object")
  }
  const validAttachments = attachmentsOf(config)
  return Result.succeed({
    cniVersion,
    name,
    ...(isRecord(prevResult) ? { prevResult } : {}),
    ...(validAttachments === undefined ? {} : { validAttachments })
  })
}

export const requireVersion = (version: string): Result.Result<CniVersion, CniFailure> =>
  (SUPPORTED_VERSIONS as ReadonlyArray<string>).includes(version)
    ? Result.succeed(version as CniVersion)
    : fail(
      Code.INCOMPATIBLE_VERSION,
      `cniVersion ${quote(version)} is not supported`,
      `supported: ${SUPPORTED_VERSIONS.join(", ")}`
    )

/** The version that an error object should carry: the one asked for if it is readable. */
export const versionForError = (configText: string): string =>
  Result.match(parseConfig(configText), {
    onFailure: () => NEWEST,
    onSuccess: ({ cniVersion }) => /^\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(cniVersion) ? cniVersion : NEWEST
  })

const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/

/**
 * Bytes. With `@`, an interface name and the longest suffix (`.json.unreadable`) it must fit a file name of 255, and
 * with the interface name a link's alias of as many. Runtimes use 64 hex digits. `cni/queue.h` has the same limits.
 */
export const MAX_CONTAINER_ID = 220
/** Bytes: IFNAMSIZ less the end of the string (linux/if.h). */
export const MAX_IFNAME = 15

/**
 * Printable ASCII but `/` and `:`. The kernel takes some bytes beyond it, and refuses others according to Latin-1
 * (`dev_valid_name` in net/core/dev.c), so what is one UTF-8 name for a runtime may be none for the kernel.
 */
const INTERFACE_NAME = /^[!-.0-9;-~]+$/

export interface Attachment {
  readonly containerId: string
  readonly ifName: string
}

/** Section 2, "Parameters": `CNI_CONTAINERID` and `CNI_IFNAME`. */
export const requireAttachment = (call: Attachment): Result.Result<Attachment, CniFailure> => {
  const { containerId, ifName } = call
  if (!CONTAINER_ID.test(containerId) || containerId.length > MAX_CONTAINER_ID) {
    return fail(
      Code.INVALID_ENVIRONMENT,
      `CNI_CONTAINERID ${quote(containerId)} must start with a letter or digit, then letters, digits, _ . -, ` +
        `${MAX_CONTAINER_ID} at most`
    )
  }
  if (!INTERFACE_NAME.test(ifName) || ifName.length > MAX_IFNAME || ifName === "." || ifName === "..") {
    return fail(
      Code.INVALID_ENVIRONMENT,
      `CNI_IFNAME ${
        quote(ifName)
      } must be an interface name: 1 to ${MAX_IFNAME} printable ASCII characters without / and :`
    )
  }
  return Result.succeed({ containerId, ifName })
}

/** `CNI_ARGS`: `KEY=VALUE` pairs joined by `;`. Keys that flock does not know are ignored. */
export const parseArgs = (args: string): Result.Result<ReadonlyMap<string, string>, CniFailure> => {
  const map = new Map<string, string>()
  for (const pair of args.split(";")) {
    if (pair === "") continue
    const equals = pair.indexOf("=")
    if (equals < 1) return fail(Code.INVALID_ENVIRONMENT, `CNI_ARGS: ${quote(pair)} must be KEY=VALUE`)
    map.set(pair.slice(0, equals), pair.slice(equals + 1))
  }
  return Result.succeed(map)
}
