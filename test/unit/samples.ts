/** The node of docs/reference.md: two sessions, a pod with anycast addresses, one with addresses that were chosen for it. */
import type { StatusReport } from "../../src/socket/StatusReport.ts"

const peer = (address: string, six: number, four: number) => ({
  address,
  localAddress: address.includes(":") ? "2001:db8:ffff::11" : "198.51.100.11",
  asn: 65000,
  protocol: "peer",
  state: "Established",
  since: "2026-11-22 23:05:30",
  lastError: "",
  ipv6: { announced: six, learned: 0 },
  ipv4: { announced: four, learned: 0 }
})

const holder = (pod: string, hostIfName: string, kind: "anycast" | "chosen") =>
  [{ owner: `${pod}/eth0`, namespace: "default", pod, hostIfName, kind, gate: "Ready" }] as const

const fixed = holder("fixed", "flocke225c5a0", "chosen")
const dns = holder("dns", "flockb0c1a93c", "anycast")

export const STATUS: StatusReport = {
  version: "0.1.0",
  node: "host001",
  startedAt: "2026-11-22T23:05:13.576Z",
  nodeConfig: { present: true, generation: 3 },
  usage: {
    ipv6: { cidr: "2001:db8:100::/64", used: 1, free: Number.MAX_SAFE_INTEGER },
    ipv4: { cidr: "10.42.0.0/24", used: 1, free: 252 }
  },
  api: {
    watches: [
      { resource: "nodeconfigs", ever: true, silentSeconds: 41 },
      { resource: "pods", ever: true, silentSeconds: 3 }
    ],
    refused: []
  },
  allocations: [
    {
      namespace: "default",
      pod: "dns",
      uid: "",
      containerId: "3f0e0c1a77b2d4",
      ifName: "eth0",
      hostIfName: "flockb0c1a93c",
      ipv6: "2001:db8:100:0:7d99:9a24:e082:37f3",
      ipv4: "10.42.0.2",
      chosen: [],
      anycast: ["2001:db8:a::53", "192.0.2.53"],
      mtu: 1500,
      createdAt: "2026-11-22T23:05:40Z"
    },
    {
      namespace: "default",
      pod: "fixed",
      uid: "",
      containerId: "91c2d5e8f04a6b",
      ifName: "eth0",
      hostIfName: "flocke225c5a0",
      ipv6: "2001:db8:a::7",
      ipv4: "192.0.2.7",
      chosen: ["2001:db8:a::7", "192.0.2.7"],
      anycast: [],
      mtu: 1500,
      createdAt: "2026-11-22T23:05:41Z"
    }
  ],
  announcements: [
    { address: "192.0.2.7", state: "announced", installed: true, exportedTo: ["198.51.100.1"], holders: fixed },
    { address: "192.0.2.53", state: "announced", installed: true, exportedTo: ["198.51.100.1"], holders: dns },
    { address: "2001:db8:a::7", state: "announced", installed: true, exportedTo: ["2001:db8:ffff::1"], holders: fixed },
    { address: "2001:db8:a::53", state: "announced", installed: true, exportedTo: ["2001:db8:ffff::1"], holders: dns }
  ],
  antiSpoofing: { state: "on", exempt: [] },
  drops: [],
  bird: {
    enabled: true,
    up: true,
    version: "2.0.12",
    peers: [peer("2001:db8:ffff::1", 3, 0), peer("198.51.100.1", 0, 3)],
    stale: false,
    configError: "",
    reloads: 3
  }
}
