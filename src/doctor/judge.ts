/** What stands in the way on a node, and what to do about it: pure, from {@link Facts}. */
import { networksBefore, otherNetworks, PLUGIN_NAME } from "../install/conflist.ts"
import { deafInWords } from "../kube/apiHealth.ts"
import type { Facts, Finding, Severity } from "./facts.ts"
import { judgeFirewall } from "./judgeFirewall.ts"
import { judgeKernel } from "./judgeKernel.ts"
import { judgeRouting } from "./judgeRouting.ts"

const ORDER: ReadonlyArray<Severity> = ["error", "warning", "info"]

/** Interfaces and routes that Calico leaves behind: workload veths, and its tunnels. */
const CALICO = /^(cali[0-9a-f]|tunl0$|vxlan\.calico$|vxlan-v6\.calico$|wireguard\.cali$)/

const some = (items: ReadonlyArray<string>): string =>
  items.length > 4 ? `${items.slice(0, 4).join(", ")} and ${items.length - 4} more` : items.join(", ")

const judgeConflists = ({ cni }: Facts): ReadonlyArray<Finding> => {
  const before = networksBefore(cni.networks)
  const after = otherNetworks(cni.networks).filter((name) => !before.includes(name))
  return [
    ...(before.length === 0 ? [] : [{
      severity: "error" as const,
      check: "conflist-order",
      problem: `the runtime uses ${before[0]} in ${cni.confDir}, for it sorts before flock's`,
      remedy: `remove ${some(before)} once its CNI has left this node, or run: flock-agent install-cni --takeover`
    }]),
    ...(after.length === 0 ? [] : [{
      severity: "info" as const,
      check: "conflist-other",
      problem: `${some(after)} in ${cni.confDir} would take over if flock's conflist were removed`,
      remedy: "remove it if its CNI has left this node"
    }])
  ]
}

const plugins = (conflist: string): ReadonlyArray<string> | undefined => {
  try {
    const parsed: { readonly plugins: ReadonlyArray<{ readonly type: string }> } = JSON.parse(conflist)
    return parsed.plugins.map(({ type }) => type)
  } catch {
    return undefined
  }
}

const judgeInstallation = ({ agent, cni }: Facts): ReadonlyArray<Finding> => {
  const chained = cni.conflist === undefined ? [] : plugins(cni.conflist)
  const missing = (chained ?? []).filter((type) => !cni.plugins.includes(type))
  return [
    ...(cni.conflist !== undefined ? [] : [{
      severity: "unreachable" in agent ? "info" as const : "error" as const,
      check: "conflist-missing",
      problem: `flock's conflist is not in ${cni.confDir}: new pods do not come to flock`,
      remedy: "run flock-agent install-cni, or give the agent --cni-conf-dir"
    }]),
    ...(chained !== undefined ? [] : [{
      severity: "error" as const,
      check: "conflist-broken",
      problem: `flock's conflist in ${cni.confDir} is not a list of plugins`,
      remedy: "run flock-agent install-cni: it keeps the file and writes a good one"
    }]),
    ...missing.map((type): Finding => ({
      severity: "error",
      check: "plugin-missing",
      problem: `flock's conflist names the plugin ${type}, which is not in ${cni.binDir}: every pod start fails`,
      remedy: type === PLUGIN_NAME ? "run flock-agent install-cni" : `install ${type}, or run flock-agent install-cni`
    }))
  ]
}

/** A NodeConfig that is refused is also what BIRD lacks: one finding is enough. */
const repeats = (configError: string, rejected: string | undefined): boolean =>
  rejected !== undefined && configError.includes(rejected)

const judgeAgent = ({ agent, cni }: Facts): ReadonlyArray<Finding> => {
  if ("unreachable" in agent) {
    return [{
      severity: cni.conflist === undefined ? "info" : "error",
      check: "agent",
      problem: `${agent.unreachable}; peers and MTU were not looked at`,
      remedy: "start the agent, or give --socket"
    }]
  }
  const { bird, nodeConfig } = agent.report
  return [
    ...(nodeConfig.present ? [] : [{
      severity: "error" as const,
      check: "nodeconfig",
      problem: "this node has no NodeConfig: no pod can start",
      remedy: `write a NodeConfig named ${agent.report.node}`
    }]),
    ...(nodeConfig.unheard === undefined || agent.report.api !== undefined ? [] : [{
      severity: "error" as const,
      check: "nodeconfig",
      problem: `the NodeConfig is kept as it was: ${nodeConfig.unheard}`,
      remedy: "put the folder back, or mount what it is on; the agent reads it by itself"
    }]),
    ...(nodeConfig.rejected === undefined ? [] : [{
      severity: "error" as const,
      check: "nodeconfig",
      problem: `the newest NodeConfig is not in force: ${nodeConfig.rejected}`,
      remedy: "correct it"
    }]),
    ...(nodeConfig.warnings ?? []).map((problem) => ({
      severity: "warning" as const,
      check: "anycast-open",
      problem,
      remedy: "write the prefixes that are meant, or for whom they are (spec.anycast.grants)"
    })),
    ...(nodeConfig.conflicts ?? []).map((conflict): Finding => ({
      severity: "error",
      check: "prefix-conflict",
      problem: `${conflict}: no new pod gets an address of it`,
      remedy:
        "give the NodeConfig a prefix of its own, or take the interface or the route away (one that a router has: where it " +
        "comes from); pods that run stay"
    })),
    ...(agent.report.hostProblems ?? []).map((problem): Finding => ({
      severity: "error",
      check: "not-as-built",
      problem: `the host's part of a pod's network cannot be put right: ${problem}`,
      remedy: "find what changes it or holds the address (ip route, ip address, /etc/sysctl.d), and take it away"
    })),
    ...(agent.report.newerState ?? []).map((problem): Finding => ({
      severity: "error",
      check: "newer-state",
      problem,
      remedy: "see Upgrade and roll back in docs/operations.md"
    })),
    ...(!bird.enabled || bird.up ? [] : [{
      severity: "error" as const,
      check: "bird",
      problem: "BIRD does not answer on its control socket",
      remedy: "see whether the bird container runs, and shares /run/flock/bird"
    }]),
    ...(!bird.up || !bird.stale || repeats(bird.configError, nodeConfig.rejected) ? [] : [{
      severity: "error" as const,
      check: "bird",
      problem: `not all of what is wanted of BIRD is in force: ${bird.configError}`,
      remedy: "correct the NodeConfig, the Secret or the interface that it names; the agent applies it by itself"
    }]),
    ...(bird.drained !== true ? [] : [{
      severity: "warning" as const,
      check: "withdrawn",
      problem: "flock-agent withdraw holds this node's BGP sessions down",
      remedy: "run flock-agent restore when the node may carry traffic again"
    }])
  ]
}

/** More than an answer under load is late. */
const CLOCK_SECONDS = 15

const judgeApi = ({ agent, missingRights }: Facts): ReadonlyArray<Finding> => {
  if ("unreachable" in agent || agent.report.api === undefined) return []
  const { api } = agent.report
  const silence = deafInWords({ ...api, refused: [] })
  const ahead = api.clockAheadSeconds ?? 0
  return [
    ...(silence === undefined ? [] : [{
      severity: "error" as const,
      check: "api-silent",
      problem: silence,
      remedy: "see the refusals here, the API server, and what lies between; the agent goes on asking"
    }]),
    ...(missingRights.length === 0 ? [] : [{
      severity: "error" as const,
      check: "api-rights",
      problem: `the agent has not the right to ${missingRights.join(", ")}`,
      remedy: "apply manifests/rbac.yaml, with the Secrets' names in resourceNames; it takes effect without a restart"
    }]),
    ...(Math.abs(ahead) < CLOCK_SECONDS ? [] : [{
      severity: "warning" as const,
      check: "clock",
      problem: `this node's clock is ${Math.abs(ahead)} s ${ahead > 0 ? "ahead of" : "behind"} the API server's`,
      remedy: "see that both follow NTP: certificates and tokens are refused by a clock that is wrong, and times in " +
        "status and log do not compare"
    }]),
    ...api.refused.map(({ at, message, status }): Finding => ({
      severity: silence !== undefined || status === 401 || status === 403 ? "error" : "warning",
      check: "api-refused",
      problem: `${message} (last at ${at})`,
      remedy: status === 401
        ? "renew the agent's token or kubeconfig: restart its pod, or see --kubeconfig"
        : status === 403
        ? "apply manifests/rbac.yaml again; it takes effect without a restart"
        : "see the API server, and what lies between; the agent goes on asking"
    }))
  ]
}

const judgeCalico = ({ interfaces, routes }: Facts): ReadonlyArray<Finding> => {
  const links = interfaces.map(({ ifName }) => ifName).filter((name) => CALICO.test(name))
  const stale = routes.filter(({ ifName }) => CALICO.test(ifName)).map((r) => `${r.destination} dev ${r.ifName}`)
  return links.length === 0 && stale.length === 0 ? [] : [{
    severity: "warning",
    check: "calico-leftovers",
    problem: `Calico left ${links.length} links (${some(links)}) and ${stale.length} routes${
      stale.length === 0 ? "" : ` (${some(stale)})`
    }`,
    remedy: "drain the node; then delete each: ip link delete NAME (its routes go with it), or reboot"
  }]
}

/** Worst first; otherwise in the order of the checks. */
export const judge = (facts: Facts): ReadonlyArray<Finding> =>
  [
    ...judgeConflists(facts),
    ...judgeInstallation(facts),
    ...judgeAgent(facts),
    ...judgeApi(facts),
    ...judgeCalico(facts),
    ...judgeRouting(facts),
    ...judgeFirewall(facts),
    ...judgeKernel(facts)
  ].toSorted((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity))
