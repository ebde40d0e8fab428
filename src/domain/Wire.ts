/**
 * The call path's wire format: one connection per call on the agent's unix socket, one JSON line each way, UTF-8.
 * `cni/flock.c` is the other end; it never parses JSON, so a reply's first bytes are exactly `{"result":` or
 * `{"error":{"cniVersion":`.
 */
import { Effect, Schema } from "effect"

/** Bytes of one line, its newline included. */
export const MAX_LINE = 1024 * 1024

const text = Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("")))

/**
 * One call. The plugin sends every key, empty where the runtime set nothing; bytes that are not UTF-8 arrive as U+FFFD.
 * A key that is left out is empty.
 */
export const Request = Schema.Struct({
  /** `CNI_COMMAND`. */
  op: Schema.String,
  /** `CNI_CONTAINERID`. */
  containerId: text,
  /** `CNI_NETNS`: a path. */
  netns: text,
  /** `CNI_IFNAME`. */
  ifName: text,
  /** `CNI_ARGS`: `KEY=VALUE;…`. */
  args: text,
  /** `CNI_PATH`. */
  path: text,
  /** The network configuration as the plugin got it on stdin: JSON, but not yet looked at. */
  config: text
})
export type Request = typeof Request.Type

/** A request from its line. */
export const RequestFromLine = Schema.fromJsonString(Request)

/** CNI spec 1.1.0, section 5, "Error". */
export interface CniError {
  /** Of the request where it was readable. */
  readonly cniVersion: string
  /** 1–99 as the specification lists them, 100 and above are flock's own. */
  readonly code: number
  /** One sentence. */
  readonly msg: string
  readonly details?: string
}

/** A request's line, newline included. */
export const encodeRequest = (request: Partial<Request> & Pick<Request, "op">): string => {
  const { op, containerId = "", netns = "", ifName = "", args = "", path = "", config = "" } = request
  return `${JSON.stringify({ op, containerId, netns, ifName, args, path, config })}\n`
}

/** The line for success, newline included; `undefined` and `null` are a verb without output. */
export const encodeResult = (value: unknown): string => `{"result":${JSON.stringify(value) ?? "null"}}\n`

/** The line for failure, newline included. */
export const encodeError = ({ cniVersion, code, msg, details }: CniError): string =>
  `{"error":${JSON.stringify({ cniVersion, code, msg, details })}}\n`
