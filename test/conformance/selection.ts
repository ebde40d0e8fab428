/** Which of Kubernetes' own network tests are run here, which are not and why, and which of them CI runs. Pure. */

/** Tests of e2e.test that are not run, by their names. The first that fits says why. */
export const NOT_RUN: ReadonlyArray<readonly [name: RegExp, why: string]> = [
  [/\[Feature:NetworkPolicy\]/, "flock has no NetworkPolicy"],
  [/\[Feature:LoadBalancer\]/, "needs a cloud's load balancer"],
  [/\[Feature:Networking-(IPv4|IPv6|DNS)\]/, "needs the Internet"],
  [/\[Feature:SCTPConnectivity\]/, "needs SCTP in the kernel, which the kernel of the run lacks"],
  [/\[Provider:GCE\]|\[Feature:KubeProxyDaemonSetMigration\]/, "needs a cluster in Google's cloud"],
  [/\[Disruptive\]/, "needs nodes that can be logged in to by SSH"],
  [/\[Feature:KubeProxyNFAcct\]/, "is about kube-proxy's mode iptables; the cluster has nftables"],
  [/\[Feature:PerformanceDNS\]/, "is a load test of the DNS server, with 10,000 Services"],
  [/different Service CIDRs/, "takes addresses for Services from 203.0.113.0/24, which are the nodes' here"],
  [/rejected for evicted pods/, "needs kubelet's limits of local storage, which are off in the lab"],
  [/Forward PTR lookup/, "needs the Internet"],
  [/invalid conntrack state bug/, "needs a test image of its own (regression-issue-74839); is about kube-proxy's rules"]
]

const SECONDARY = "[Feature:IPv6DualStack] Granular Checks: Services Secondary IP Family [LinuxOnly]"
const PODS = "Networking Granular Checks: Pods should function for"

/** The traffic that a CNI decides, by tests of half a minute at most. */
export const IN_CI: ReadonlyArray<string> = [
  `${PODS} intra-pod communication: http [NodeConformance] [Conformance]`,
  `${PODS} intra-pod communication: udp [NodeConformance] [Conformance]`,
  `${PODS} node-pod communication: http [LinuxOnly] [NodeConformance] [Conformance]`,
  "NoSNAT Should be able to send traffic between Pods without SNAT",
  "HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol" +
  " [LinuxOnly] [Conformance]",
  "DNS should provide DNS for services [Conformance]",
  "[Feature:IPv6DualStack] should create pod, add ipv6 and ipv4 ip to pod ips",
  "[Feature:IPv6DualStack] should create pod, add ipv6 and ipv4 ip to host ips",
  "[Feature:IPv6DualStack] should create service with ipv6,v4 cluster ip",
  `${SECONDARY} should function for pod-Service: http`,
  `${SECONDARY} should function for pod-Service: udp`,
  "Services should serve multiport endpoints from pods [Conformance]",
  "Services should be able to create a functioning NodePort service [Conformance]",
  "Services should allow pods to hairpin back to themselves through services",
  "Services should preserve source pod IP for traffic thru service cluster IP [LinuxOnly]",
  "Services should have session affinity work for service with type clusterIP [LinuxOnly] [Conformance]",
  "Services should have session affinity work for NodePort service [LinuxOnly] [Conformance]",
  "Services should support externalTrafficPolicy=Local for type=NodePort",
  "Services should fail health check node port if there are only terminating endpoints",
  "Services should respect internalTrafficPolicy=Local Pod to Pod"
].map((name) => `[sig-network] ${name}`)

/** Not beside others: so Kubernetes marks some, and one measures the control plane. */
export const runsAlone = (name: string): boolean => /\[Serial\]|Service endpoints latency/.test(name)

export const whyNotRun = (name: string): string | undefined => NOT_RUN.find(([pattern]) => pattern.test(name))?.[1]

/** Names of the network's tests in what `e2e.test --list-tests` prints. */
export const networkTests = (listing: string): ReadonlyArray<string> =>
  listing.split("\n").flatMap((line) => /^\s*\S+\.go:\d+: (\[sig-network\] .*?)\s*$/.exec(line)?.[1] ?? [])

/**
 * Shares tests out to so many processes, the longest first and each to the one that has least to do. `secondsOf` is an
 * estimate; names of the same length keep their order.
 */
export const share = (
  names: ReadonlyArray<string>,
  processes: number,
  secondsOf: (name: string) => number
): ReadonlyArray<ReadonlyArray<string>> => {
  const shares = Array.from({ length: processes }, () => ({ seconds: 0, names: new Array<string>() }))
  for (const name of names.toSorted((a, b) => secondsOf(b) - secondsOf(a))) {
    const least = shares.reduce((least, one) => one.seconds < least.seconds ? one : least)
    least.names.push(name)
    least.seconds += secondsOf(name)
  }
  return shares.map(({ names }) => names).filter((names) => names.length > 0)
}

/** For Go's regexp: this test and no other; its text is after the suite's name. */
export const focus = (name: string): string =>
  ` ${name.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)}${String.raw`\s*$`}`
