/** What else filters or serves on this node: policies that drop what is forwarded, flock's own table, Services. */
import type { Chain } from "../firewall/chains.ts"
import { TABLE } from "../firewall/ruleset.ts"
import { policiesInWords } from "../kube/apiHealth.ts"
import type { Facts, Finding } from "./facts.ts"

const NF_INET_FORWARD = 2
const FAMILY: Readonly<Record<number, string>> = { 1: "inet", 2: "ip", 10: "ip6" }

/** Chains and tables of kube-proxy (iptables and nftables), kube-router and Cilium. */
const SERVICES = /^(KUBE-SERVICES|services|KUBE-ROUTER-SERVICES|CILIUM_.*)$/

/** Chains and tables of what enforces NetworkPolicies: Calico, kube-router, Cilium, kube-network-policies, Antrea. */
const ENFORCERS = /^(cali-|KUBE-NWPLCY|KUBE-POD-FW|CILIUM_|kube-network-policies|antrea|ANTREA)/

const LEGACY = { 4: "iptables-legacy", 6: "ip6tables-legacy" } as const

const words = ({ family, name, table }: Chain): string => `${FAMILY[family]} ${table} ${name}`

/** Docker and hardened distributions set it; the rules may yet accept pods' packets, so it is no error. */
const judgeForward = ({ chains = [], legacyForward }: Facts): ReadonlyArray<Finding> => {
  const dropping = [
    ...chains.filter(({ family, hook, policy }) =>
      FAMILY[family] !== undefined && hook === NF_INET_FORWARD && policy === "drop"
    ).map(words),
    ...([4, 6] as const).filter((family) => legacyForward[family] === "drop").map((family) =>
      `${LEGACY[family]} FORWARD`
    )
  ]
  return dropping.length === 0 ? [] : [{
    severity: "warning",
    check: "forward-drop",
    problem: `the policy of ${dropping.join(", ")} is drop: pods' packets that no rule there accepts are lost`,
    remedy:
      "accept what comes from and goes to flock+ there (iptables -I FORWARD -i flock+ -j ACCEPT, and -o flock+), or " +
      "set the policy to accept; Docker sets it unless its daemon.json says \"ip-forward-no-drop\": true"
  }]
}

/** Of another kernel, or of more rules than are read. */
const judgeLegacy = ({ legacyForward }: Facts): ReadonlyArray<Finding> => {
  const unread = ([4, 6] as const).filter((family) => family in legacyForward && legacyForward[family] === undefined)
  return unread.length === 0 ? [] : [{
    severity: "info",
    check: "forward-legacy",
    problem: `this node has rules of ${
      unread.map((family) => LEGACY[family]).join(" and ")
    }, which cannot be read from here`,
    remedy: `see that ${
      unread.map((family) => `${LEGACY[family]} -S FORWARD`).join(" and ")
    } accepts what is for and from pods (flock+)`
  }]
}

const judgeTable = ({ agent, chains }: Facts): ReadonlyArray<Finding> =>
  chains === undefined || "unreachable" in agent || agent.report.antiSpoofing.state !== "on" ||
    chains.some(({ table }) => table === TABLE)
    ? []
    : [{
      severity: "error",
      check: "firewall-missing",
      problem: `the table ${TABLE} is not in nf_tables: pods may send from any address`,
      remedy:
        "find what flushes the ruleset (nft flush ruleset in a service's configuration); the agent puts it back " +
        "within 15 s"
    }]

/** Only in a cluster, and only where its traces could be seen. */
const judgeServices = ({ agent, chains, ipvs, legacyTables }: Facts): ReadonlyArray<Finding> =>
  chains === undefined || "unreachable" in agent || agent.report.api === undefined || ipvs ||
    legacyTables.length > 0 ||
    chains.some(({ name, table }) => SERVICES.test(name) || table === "kube-proxy")
    ? []
    : [{
      severity: "warning",
      check: "service-proxy",
      problem:
        "nothing of kube-proxy is in this node's nf_tables or IPVS: ClusterIP Services do not work from its pods",
      remedy:
        "run kube-proxy, or what stands for it (flock does not); where that is done by eBPF, nothing is to be done"
    }]

const judgePolicies = ({ agent, chains = [] }: Facts): ReadonlyArray<Finding> => {
  const problem = "report" in agent ? policiesInWords(agent.report.api) : undefined
  return problem === undefined || chains.some(({ name, table }) => ENFORCERS.test(name) || ENFORCERS.test(table))
    ? []
    : [{
      severity: "warning",
      check: "network-policies",
      problem: `${problem}, and nothing else on this node seems to`,
      remedy:
        "run a policy engine beside flock (docs/operations.md), or delete the policies: they promise what is not so"
    }]
}

export const judgeFirewall = (facts: Facts): ReadonlyArray<Finding> => [
  ...judgeForward(facts),
  ...judgeLegacy(facts),
  ...judgeTable(facts),
  ...judgeServices(facts),
  ...judgePolicies(facts)
]
