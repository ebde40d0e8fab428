import { Result } from "effect"
import type { Allocation } from "../../src/domain/Allocation.ts"
import { address } from "../../src/domain/Ip.ts"
import * as NodeConfig from "../../src/domain/NodeConfig.ts"
import type { PodAddresses } from "../../src/domain/PodAddresses.ts"

export const addresses = (over: Partial<PodAddresses> = {}): PodAddresses => ({
  ipv6: address("2001:db8:1::a"),
  ipv4: address("10.42.1.2"),
  gateway4: address("10.42.1.1"),
  chosen: [],
  anycast: [],
  ...over
})

/** The same pod with IPv6 only. */
export const addresses6 = (over: Partial<PodAddresses> = {}): PodAddresses => {
  const { gateway4: _g, ipv4: _4, ...six } = addresses(over)
  return six
}

export const allocation = (over: Partial<Allocation> = {}): Allocation => ({
  version: 1,
  bootId: "boot",
  network: "flock",
  containerId: "c1",
  ifName: "eth0",
  netns: "/run/netns/c1",
  pod: { namespace: "default", name: "web", uid: "u1" },
  hostIfName: "flock00000001",
  mtu: 1500,
  addresses: addresses(),
  createdAt: "2026-01-01T00:00:00.000Z",
  ...over
})

export const nodeConfig = (
  spec: unknown = { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24" }
): NodeConfig.NodeConfig =>
  Result.getOrThrow(NodeConfig.decode("n1", {
    apiVersion: NodeConfig.API_VERSION,
    kind: "NodeConfig",
    metadata: { name: "n1" },
    spec
  }))
