/** Rendering inputs for the specs: a node with eth0 in 2001:db8:ffff::/64 and 198.51.100.0/24. */
import { Result } from "effect"
import { NOTHING_KEPT } from "../../../src/bird/kept.ts"
import type { RenderInput } from "../../../src/bird/sessions.ts"
import { address } from "../../../src/domain/Ip.ts"
import { API_VERSION, decode, type NodeConfig } from "../../../src/domain/NodeConfig.ts"
import type { HostInterface, Standing } from "../../../src/netlink/Netlink.ts"

export const nodeConfig = (spec: object, name = "host001"): NodeConfig => {
  const decoded = decode(name, { apiVersion: API_VERSION, kind: "NodeConfig", metadata: { name }, spec })
  if (Result.isFailure(decoded)) throw decoded.failure
  return decoded.success
}

/** Addresses as `198.51.100.2/24`, or with their standing: `198.51.100.2/24 secondary`. */
export const hostInterface = (
  ifName: string,
  addresses: ReadonlyArray<string>,
  options: Partial<HostInterface> = {}
): HostInterface => ({
  ifName,
  ifIndex: 2,
  mtu: 1500,
  up: true,
  ...options,
  addresses: addresses.map((text) => {
    const [cidr = "", standing = "permanent"] = text.split(" ")
    const [host = "", prefix] = cidr.split("/")
    return { address: address(host), prefix: Number(prefix), standing: standing as Standing }
  })
})

export const dual: ReadonlyArray<HostInterface> = [
  hostInterface("lo", ["127.0.0.1/8", "::1/128"], { ifIndex: 1 }),
  hostInterface("eth0", ["fe80::1/64", "2001:db8:ffff::2/64", "198.51.100.2/24"])
]

export const input = (spec: object | undefined, options: Partial<RenderInput> = {}): RenderInput => ({
  nodeName: "host001",
  config: spec === undefined ? undefined : nodeConfig(spec),
  interfaces: dual,
  outgoing: new Map(),
  kept: NOTHING_KEPT,
  established: new Set(),
  ends: new Map(),
  routers: [],
  found: new Map(),
  passwords: new Map(),
  ceiling: 256,
  exportSet: [],
  drained: false,
  leaving: false,
  ...options
})
