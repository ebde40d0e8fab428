/** Kernel features and settings. */
import { IF_PREFIX, LINK_NAME } from "../netlink/Netlink.ts"
import type { Facts, Finding } from "./facts.ts"

/** Kernels come with 1024, too few for many neighbours; beyond this share of the limit it is time to raise it. */
const NEIGHBOURS_FULL = 0.8
const NEIGHBOURS_LEAST = 1024

const missing = (feature: string, config: string): Finding => ({
  severity: "error",
  check: "kernel",
  problem: `this kernel has no ${feature}`,
  remedy: `use a kernel built with ${config}, with its module installed`
})

const judgeFeatures = ({ netns, sysctls, veth }: Facts): ReadonlyArray<Finding> => {
  const noIpv6 = !("ipv6/conf/all/disable_ipv6" in sysctls)
  return [
    ...(netns ? [] : [missing("network namespaces", "CONFIG_NET_NS")]),
    ...(veth === false ? [missing("veth", "CONFIG_VETH")] : []),
    ...(noIpv6 ? [missing("IPv6", "CONFIG_IPV6, without ipv6.disable=1 on its command line")] : []),
    ...(["ipv4", "ipv6"] as const).filter((family) =>
      !(`${family}/fib_multipath_hash_policy` in sysctls) && !(family === "ipv6" && noIpv6)
    ).map((family): Finding => ({
      severity: "warning",
      check: "multipath",
      problem:
        `this kernel has no ${family} fib_multipath_hash_policy: two Ready pods with one anycast address on this ` +
        "node share badly, by address pair only",
      remedy: "use Linux 4.17 or newer with CONFIG_IP_ROUTE_MULTIPATH"
    })),
    ...(sysctls["ipv6/conf/all/disable_ipv6"] !== "1" ? [] : [{
      severity: "error" as const,
      check: "ipv6-off",
      problem: "IPv6 is switched off (net.ipv6.conf.all.disable_ipv6=1)",
      remedy: "set it to 0, or give no pod IPv6 (spec.defaults.ipv6: false)"
    }])
  ]
}

/** The agent turns forwarding on when it starts; off afterwards means that something turned it off again. */
const judgeForwarding = ({ agent, sysctls }: Facts): ReadonlyArray<Finding> =>
  ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].filter((key) => sysctls[key] === "0").map((key): Finding => ({
    severity: "unreachable" in agent ? "info" : "error",
    check: "forwarding",
    problem: `net.${key.replaceAll("/", ".")} is 0: the node does not route to pods`,
    remedy: "unreachable" in agent
      ? "nothing: the agent sets it when it starts"
      : "find what sets it back again and again (/etc/sysctl.d, a firewall's configuration): the agent sets it at once"
  }))

/** With forwarding on, accept_ra=1 means no (ip-sysctl.rst): the default route from the router expires. */
const judgeAcceptRa = ({ interfaces, peers, sysctls }: Facts): ReadonlyArray<Finding> => {
  const forwarding = sysctls["ipv6/conf/all/forwarding"] === "1"
  const trapped = interfaces.filter(({ addresses, ifName }) =>
    ifName !== "lo" && !ifName.startsWith(IF_PREFIX) && addresses.some(({ address }) => address.family === 6) &&
    sysctls[`ipv6/conf/${ifName}/accept_ra`] === "1" &&
    // Such a router is for BGP's routes.
    !peers.some(({ unnumbered, via }) => unnumbered && via === ifName)
  ).map(({ ifName }) => ifName)
  return trapped.length === 0 ? [] : [{
    severity: forwarding ? "warning" : "info",
    check: "accept-ra",
    problem: forwarding
      ? `${trapped.join(", ")}: router advertisements are ignored (accept_ra=1 with forwarding on); a default route ` +
        "learned from them expires"
      : `${trapped.join(", ")}: accept_ra=1, which forwarding would turn into "no"`,
    remedy: `set ${trapped.map((name) => `net.ipv6.conf.${name}.accept_ra=2`).join(", ")} in /etc/sysctl.d, if the ` +
      "node takes its default route from router advertisements; the agent does so at its start"
  }]
}

/** A router advertisement from a pod (or a container of another kind) would change the node's routes. */
const judgeListening = ({ interfaces, sysctls }: Facts): ReadonlyArray<Finding> => {
  const listening = interfaces.filter(({ ifName }) =>
    LINK_NAME.test(ifName) && (sysctls[`ipv6/conf/${ifName}/accept_ra`] ?? "0") !== "0"
  ).map(({ ifName }) => ifName)
  return [
    ...(listening.length === 0 ? [] : [{
      severity: "error" as const,
      check: "pod-links",
      problem: `${listening.join(", ")}: accept_ra is not 0: these pods can change the node's routes`,
      remedy: "start the agent, which sets it to 0 on pods' links, and find what else writes it (/etc/sysctl.d)"
    }]),
    ...(sysctls["ipv6/conf/default/accept_ra"] !== "2" ? [] : [{
      severity: "warning" as const,
      check: "accept-ra-default",
      problem: "net.ipv6.conf.default.accept_ra is 2: each new link believes router advertisements, a container's too",
      remedy: "set it to 1, and 2 on uplinks only, by name; versions of flock before 0.1.0 set it at their start"
    }])
  ]
}

/** The agent's own word: its tables are read by nobody who has not the right to write them. */
const judgeAntiSpoofing = ({ agent }: Facts): ReadonlyArray<Finding> => {
  if (!("report" in agent) || agent.report.antiSpoofing.state === "on") return []
  const { problem, state } = agent.report.antiSpoofing
  return [{
    severity: state === "failed" ? "error" : "warning",
    check: "anti-spoofing",
    problem: `pods may send from any address: ${state === "off" ? "spec.antiSpoofing is false" : problem}`,
    remedy: state === "off"
      ? "remove it; exempt single pods instead (spec.antiSpoofingExemptNamespaces)"
      : "use a kernel built with what is named, with its modules installed; the agent tries again every 15 s"
  }]
}

const judgeNeighbours = ({ neighbours }: Facts): ReadonlyArray<Finding> =>
  neighbours.filter(({ entries, limit }) => entries > NEIGHBOURS_FULL * limit || limit < NEIGHBOURS_LEAST).map((
    { entries, family, limit }
  ): Finding => ({
    severity: entries > NEIGHBOURS_FULL * limit ? "error" : "warning",
    check: "neighbours",
    problem: `the IPv${family} neighbour table holds ${entries} of at most ${limit} entries: beyond them the kernel ` +
      "reaches no new neighbour",
    remedy: `set net.ipv${family}.neigh.default.gc_thresh3=16384 (and gc_thresh2=8192) in /etc/sysctl.d`
  }))

export const judgeKernel = (facts: Facts): ReadonlyArray<Finding> => [
  ...judgeFeatures(facts),
  ...judgeForwarding(facts),
  ...judgeAcceptRa(facts),
  ...judgeListening(facts),
  ...judgeAntiSpoofing(facts),
  ...judgeNeighbours(facts)
]
