/** flock's plugin, or another, called as a container runtime calls it. */
import { join, resolve } from "node:path"
import { enter, exec } from "./exec.ts"

/** What `npm run build` made. */
export const DIST = resolve(import.meta.dirname, "../dist")
export const AGENT = join(DIST, "flock-agent.mjs")
export const PLUGIN = join(DIST, "cni/flock")
/** Debian's containernetworking-plugins. */
export const PLUGINS = "/usr/lib/cni"

export interface CniReply {
  readonly code: number
  // oxlint-disable-next-line typescript/no-explicit-any -- whoever reads it fails if what they expect is not there
  readonly json: any
}

export interface CallOptions {
  readonly netns?: string
  readonly ifName?: string
  readonly args?: string
  /** Pod name. */
  readonly pod?: string
  /** Default: `default`. */
  readonly namespace?: string
  readonly uid?: string
  /** Over the default network configuration. */
  readonly config?: Record<string, unknown>
  readonly stdin?: string
  readonly plugin?: string
}

/** The plugin's environment. A container's ID is the name of its network namespace, unless the options say otherwise. */
export const cniEnv = (
  socket: string,
  verb: string,
  container: string,
  options: CallOptions = {}
): NodeJS.ProcessEnv => {
  const args = options.pod === undefined
    ? ""
    : `IgnoreUnknown=1;K8S_POD_NAMESPACE=${options.namespace ?? "default"};K8S_POD_NAME=${options.pod};` +
      `K8S_POD_UID=${options.uid ?? ""}`
  return {
    PATH: process.env["PATH"],
    FLOCK_SOCKET: socket,
    CNI_COMMAND: verb,
    CNI_CONTAINERID: container,
    CNI_NETNS: options.netns ?? (container === "" ? "" : `/run/netns/${container}`),
    CNI_IFNAME: options.ifName ?? "eth0",
    CNI_PATH: `${join(DIST, "cni")}:${PLUGINS}`,
    CNI_ARGS: options.args ?? args
  }
}

/** One call on a node; other plugins than flock's work in the namespace that they are started in. */
export const callPlugin = async (
  node: { readonly socket: string; readonly netns: string },
  verb: string,
  container: string,
  options: CallOptions
): Promise<CniReply> => {
  const config = { cniVersion: "1.0.0", name: "flock", type: "flock", ...options.config }
  const [program = "", ...args] = options.plugin === undefined ? [PLUGIN] : [...enter(node.netns), options.plugin]
  const { code, stdout } = await exec(program, args, {
    input: options.stdin ?? JSON.stringify(config),
    env: cniEnv(node.socket, verb, container, options)
  })
  return { code, json: stdout.trim() === "" ? undefined : JSON.parse(stdout) }
}

/** Addresses of an ADD result without their lengths: `[IPv6, IPv4]` as far as they are there. */
export const addressesOf = (result: CniReply["json"]): ReadonlyArray<string> =>
  result.ips.map((ip: { readonly address: string }) => ip.address.split("/")[0])
