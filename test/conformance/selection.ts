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

/** A quarter of a minute each at most: the kinds of traffic that a CNI decides. */
export const IN_CI: ReadonlyArray<string> = []

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
