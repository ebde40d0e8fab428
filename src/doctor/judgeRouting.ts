/** Peers, MTU and other speakers of BGP on the node. */
import { FIRST } from "../bird/kernelMetric.ts"
import { isOrdinary } from "../domain/addressRules.ts"
import { LINK_NAME } from "../netlink/Netlink.ts"
import type { Facts, Finding } from "./facts.ts"

/** Those that speak BGP; the rest change the node's routes, and hold no session of ours. */
const SPEAKERS = /^(bird6?|bgpd|gobgpd|exabgp|calico-node|kube-router|speaker|cilium-agent)$/

const judgeDaemons = ({ agent, bgpPort, daemons }: Facts): ReadonlyArray<Finding> => {
  const birdUp = "report" in agent && agent.report.bird.up
  const others = daemons.filter(({ name, ours }) => !ours && SPEAKERS.test(name))
  const routers = daemons.filter(({ name, ours }) => !ours && !SPEAKERS.test(name))
  return [
    ...others.map(({ commandLine, name, pid }): Finding => ({
      severity: name.startsWith("bird") || name === "bgpd" || name === "calico-node" ? "error" : "warning",
      check: "second-speaker",
      problem: `process ${pid} (${commandLine || name}) may speak BGP from this node as well`,
      remedy: "two speakers with one AS number cannot hold the same session: stop it, and its service, on this node"
    })),
    ...(routers.length === 0 ? [] : [{
      severity: "warning" as const,
      check: "router-daemon",
      problem: `${routers.map(({ name, pid }) => `${name} (process ${pid})`).join(", ")} may change this node's routes`,
      remedy: "see that it leaves routes of protocols 200 to 203 and the node's prefixes alone, or stop it"
    }]),
    ...(bgpPort === undefined || birdUp || others.length > 0 || "unreachable" in agent ? [] : [{
      severity: "error" as const,
      check: "port-179",
      problem: `port 179 is taken by ${bgpPort}, and flock's BIRD is not up`,
      remedy: "stop it, and its service, on this node"
    }])
  ]
}

const judgePeers = ({ agent, peers }: Facts): ReadonlyArray<Finding> => {
  // No session can be there without BIRD, which is a finding of its own and accuses no router.
  const birdDown = "report" in agent && !agent.report.bird.up
  const drained = "report" in agent && agent.report.bird.drained === true
  return peers.flatMap((peer): ReadonlyArray<Finding> => {
    if (peer.problem !== undefined) {
      return [{
        severity: "error",
        check: "peer-problem",
        problem: peer.problem,
        remedy: "correct this peer in the NodeConfig, its Secret, or the node's addresses; the other peers are served"
      }]
    }
    if (peer.via === undefined) {
      return [{
        severity: "error",
        check: "peer-route",
        problem: `there is no route to the peer ${peer.address}`,
        remedy: "give this node an address in the peer's network, or correct spec.bgp.peers"
      }]
    }
    if (peer.unusable !== undefined) {
      return [{
        severity: "warning",
        check: "learned-routes",
        problem: `routes from ${peer.address} cannot be used: ${peer.trouble}`,
        remedy: "let the router announce itself as next hop (next-hop-self), or give the node a route to the next hop"
      }]
    }
    if (peer.state === "Established" && peer.bfd !== undefined && peer.bfd !== "Up") {
      return [{
        severity: "warning",
        check: "peer-bfd",
        problem: `the session to ${peer.address} is Established, but ${peer.trouble}`,
        remedy: "compare the router's BFD with docs/nodeconfig.md, BFD: single hop or multihop, UDP port 3784 or 4784"
      }]
    }
    return drained || birdDown || peer.state === "Established" ? [] : [{
      severity: "error",
      check: "peer-session",
      problem: `the session to ${peer.address} (through ${peer.via}) is ${peer.state}${
        peer.trouble === "" ? "" : `: ${peer.trouble}`
      }`,
      remedy: "compare AS numbers, addresses and password with the router's; see whether TCP port 179 is open both ways"
    }]
  })
}

/** IPv4 over a link without an IPv4 address goes with an IPv6 next hop (RFC 8950), which the router must agree to. */
const judgeNextHop = ({ agent, interfaces, peers }: Facts): ReadonlyArray<Finding> => {
  if ("unreachable" in agent || agent.report.usage.ipv4 === undefined) return []
  // An unnumbered session is made for it on both sides.
  if (peers.some(({ address, unnumbered }) => unnumbered || !address.includes(":"))) return []
  const without = interfaces.filter(({ addresses, ifName }) =>
    peers.some(({ via }) => via === ifName) &&
    !addresses.some(({ address }) => address.family === 4 && isOrdinary(address))
  )
  return without.map(({ ifName }): Finding => ({
    severity: "info",
    check: "extended-next-hop",
    problem: `${ifName} has no IPv4 address, so spec.cidr4 is announced with an IPv6 next hop (RFC 8950)`,
    remedy: "enable the extended next hop on the router (docs/router-examples.md, Extended next hop), or give this " +
      "interface an IPv4 address"
  }))
}

const judgeMtu = ({ agent, interfaces, peers }: Facts): ReadonlyArray<Finding> => {
  if ("unreachable" in agent) return []
  const uplinks = interfaces.filter(({ ifName }) => ifName !== "lo" && peers.some(({ via }) => via === ifName))
  if (uplinks.length === 0) return []
  const smallest = uplinks.reduce((a, b) => b.mtu < a.mtu ? b : a)
  const mtus = [...new Set(agent.report.allocations.map(({ mtu }) => mtu))].toSorted((a, b) => a - b)
  const over = mtus.filter((mtu) => mtu > smallest.mtu)
  const under = mtus.filter((mtu) => mtu < smallest.mtu)
  return [
    ...(over.length === 0 ? [] : [{
      severity: "error" as const,
      check: "mtu",
      problem: `pods have MTU ${over.join(", ")}, more than ${smallest.ifName}'s ${smallest.mtu}`,
      remedy:
        `set spec.mtu to ${smallest.mtu} or less, or raise ${smallest.ifName}'s; pods get it when they start again`
    }]),
    ...(under.length === 0 ? [] : [{
      severity: "info" as const,
      check: "mtu",
      problem: `pods have MTU ${under.join(", ")}, less than ${smallest.ifName}'s ${smallest.mtu}`,
      remedy: "nothing, if that is meant; else raise spec.mtu"
    }]),
    ...(uplinks.every(({ mtu }) => mtu === smallest.mtu) ? [] : [{
      severity: "warning" as const,
      check: "mtu",
      problem: `the uplinks differ: ${uplinks.map(({ ifName, mtu }) => `${ifName} ${mtu}`).join(", ")}`,
      remedy: "give them one MTU: replies may come through either"
    }])
  ]
}

/**
 * What is in effect is the larger of `all` and the interface's (ip-sysctl.rst). Even 2 drops on a link without an IPv4
 * address every source that is not routed back through it (`no_addr` in net/ipv4/fib_frontend.c), and a pod's has none.
 */
const judgeRpFilter = ({ agent, interfaces, sysctls }: Facts): ReadonlyArray<Finding> => {
  const own = (name: string) => Number(sysctls[`ipv4/conf/${name}/rp_filter`] ?? 0)
  const inEffect = (name: string) => Math.max(own("all"), own(name))
  const list = (found: ReadonlyArray<string>) => `${found.slice(0, 4).join(", ")}${found.length > 4 ? ", …" : ""}`
  const pods = interfaces.map(({ ifName }) => ifName).filter((name) => LINK_NAME.test(name) && inEffect(name) > 0)
  const uplinks = interfaces.filter(({ addresses, ifName }) =>
    ifName !== "lo" && !LINK_NAME.test(ifName) &&
    (inEffect(ifName) === 1 || inEffect(ifName) === 2 && !addresses.some(({ address }) => address.family === 4))
  )
  return [
    ...(pods.length === 0 ? [] : [{
      severity: "error" as const,
      check: "rp-filter",
      problem: `rp_filter is in effect on pods' links ${list(pods)}${
        own("all") > 0 ? ` (net.ipv4.conf.all.rp_filter=${own("all")})` : ""
      }: the kernel drops what a pod sends from its anycast address`,
      remedy: "unreachable" in agent
        ? "nothing: the agent sets all to 0 when it starts, and moves its value to the other links"
        : "find what sets it back, and remove net.ipv4.conf.all.rp_filter from /etc/sysctl.d; the agent keeps 0 there"
    }]),
    ...(uplinks.length === 0 ? [] : [{
      severity: "warning" as const,
      check: "rp-filter",
      problem: `rp_filter on ${list(uplinks.map(({ ifName }) => `${ifName} (${inEffect(ifName)})`))}: packets are ` +
        "dropped when replies leave by another way, as anycast's do",
      remedy: `set ${
        uplinks.map(({ ifName }) => `net.ipv4.conf.${ifName}.rp_filter=0`).join(", ")
      } in /etc/sysctl.d; ` +
        "2 (loose) is enough only where the link has an IPv4 address"
    }])
  ]
}

/** `preferLearned` cannot get below a route that has no metric at all. */
const judgeDefault = ({ routes }: Facts): ReadonlyArray<Finding> =>
  ["0.0.0.0/0", "::/0"].flatMap((destination) => {
    const all = routes.filter((it) => it.destination === destination && it.ifName !== "lo")
    const first = all.find(({ metric }) => metric < FIRST)
    return first === undefined || !all.some(({ metric }) => metric === FIRST) ? [] : [{
      severity: "warning" as const,
      check: "own-default",
      problem:
        `the learned route ${destination} is not used: the node's own by ${first.ifName} has metric ${first.metric}`,
      remedy: `give the node's own default route a metric above ${FIRST}, or remove it: spec.bgp.preferLearned is true`
    }]
  })

/** Of the kernel's own routes from router advertisements (IP6_RT_PRIO_USER, linux/ipv6_route.h). */
const ADVERTISED = 1024

/** Such a route is there as long as the router is, whether it has a way out or not. */
const judgeAdvertised = ({ peers, routes }: Facts): ReadonlyArray<Finding> => {
  const defaults = routes.filter(({ destination, ifName }) => destination === "::/0" && ifName !== "lo")
  const links = defaults.filter(({ ifName, metric }) =>
    metric === ADVERTISED && peers.some(({ unnumbered, via }) => unnumbered && via === ifName)
  ).map(({ ifName }) => ifName)
  return links.length === 0 || !defaults.some(({ metric }) => metric > ADVERTISED) ? [] : [{
    severity: "warning" as const,
    check: "advertised-default",
    problem:
      `${[...new Set(links)].join(", ")}: the default route of the router's advertisements goes before the learned ` +
      "one, and stays when the router has lost its way out",
    remedy:
      "let the router advertise itself with lifetime 0 (FRR: ipv6 nd ra-lifetime 0), or set spec.bgp.preferLearned"
  }]
}

export const judgeRouting = (facts: Facts): ReadonlyArray<Finding> => [
  ...judgeDaemons(facts),
  ...judgePeers(facts),
  ...judgeNextHop(facts),
  ...judgeMtu(facts),
  ...judgeRpFilter(facts),
  ...judgeDefault(facts),
  ...judgeAdvertised(facts)
]
