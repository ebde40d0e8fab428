import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { NodeNotFit, renderFindings } from "../../../src/cli/doctor.ts"
import type { Facts } from "../../../src/doctor/facts.ts"
import { judge } from "../../../src/doctor/judge.ts"
import { address } from "../../../src/domain/Ip.ts"
import { makeConflist } from "../../../src/install/conflist.ts"
import type { HostInterface } from "../../../src/netlink/Netlink.ts"
import type { AllocationReport, StatusReport } from "../../../src/socket/StatusReport.ts"

const allocation: AllocationReport = {
  namespace: "default",
  pod: "a",
  uid: "u",
  containerId: "c",
  ifName: "eth0",
  hostIfName: "flock0a1b2c3d",
  chosen: [],
  anycast: [],
  mtu: 1500,
  createdAt: "2026-01-01T00:00:00Z"
}

const report: StatusReport = {
  version: "0.1.0",
  node: "host001",
  startedAt: "2026-01-01T00:00:00Z",
  nodeConfig: { present: true, generation: 1 },
  usage: {},
  allocations: [allocation],
  announcements: [],
  antiSpoofing: { state: "on", exempt: [] },
  drops: [],
  bird: { enabled: true, up: true, version: "BIRD 2.0.12", peers: [], stale: false, configError: "", reloads: 1 }
}

const interfaceOf = (
  ifName: string,
  ifIndex: number,
  mtu: number,
  ...addresses: ReadonlyArray<string>
): HostInterface => ({
  ifName,
  ifIndex,
  mtu,
  up: true,
  addresses: addresses.map((text) => ({ address: address(text), prefix: 64, standing: "permanent" }))
})

const peer = { address: "2001:db8:ffff::1", unnumbered: false, state: "Established", trouble: "", via: "eth0" }

/** A node on which everything is as it should be. */
const fit: Facts = {
  cni: {
    confDir: "/etc/cni/net.d",
    networks: ["01-flock.conflist"],
    conflist: makeConflist([{ type: "portmap", versions: ["1.0.0"] }]).text,
    binDir: "/opt/cni/bin",
    plugins: ["flock", "portmap"]
  },
  agent: { report },
  interfaces: [
    interfaceOf("lo", 1, 65536, "::1"),
    interfaceOf("eth0", 2, 1500, "2001:db8:ffff::2"),
    interfaceOf("flock0a1b2c3d", 3, 1500, "fe80::1")
  ],
  routes: [{ ifName: "eth0", destination: "::/0", metric: 1024 }],
  daemons: [{ pid: 7, name: "bird", commandLine: "bird -f -c /run/flock/bird/bird.conf", ours: true }],
  chains: [
    { family: 1, table: "flock", name: "prerouting", hook: 0, policy: "accept" },
    { family: 2, table: "filter", name: "FORWARD", hook: 2, policy: "accept" },
    { family: 2, table: "filter", name: "INPUT", hook: 1, policy: "drop" },
    { family: 2, table: "nat", name: "KUBE-SERVICES" }
  ],
  legacyTables: [],
  legacyForward: {},
  missingRights: [],
  ipvs: false,
  bgpPort: "bird (process 7)",
  peers: [peer],
  sysctls: {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv4/fib_multipath_hash_policy": "1",
    "ipv6/fib_multipath_hash_policy": "1",
    "ipv6/conf/eth0/accept_ra": "2",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/eth0/rp_filter": "0"
  },
  neighbours: [{ family: 4, entries: 12, limit: 1024 }, { family: 6, entries: 30, limit: 1024 }],
  veth: true,
  netns: true
}

const withReport = (change: Partial<StatusReport>): Facts => ({ ...fit, agent: { report: { ...report, ...change } } })
const withCni = (change: Partial<Facts["cni"]>): Facts => ({ ...fit, cni: { ...fit.cni, ...change } })
const withSysctls = (change: Record<string, string>): Facts => ({ ...fit, sysctls: { ...fit.sysctls, ...change } })
const without = (key: string): Facts => ({
  ...fit,
  sysctls: Object.fromEntries(Object.entries(fit.sysctls).filter(([name]) => name !== key))
})
const unreachable = { unreachable: "no agent answers on /run/flock/agent.sock (--socket): ENOENT" }

/** What is changed on the fit node, and the finding that it must give: severity, check, a word of problem or remedy. */
const cases: ReadonlyArray<readonly [string, Facts, string, string]> = [
  [
    "a conflist in front",
    withCni({ networks: ["00-multus.conf", "01-flock.conflist"] }),
    "error conflist-order",
    "00-multus.conf"
  ],
  [
    "a conflist behind",
    withCni({ networks: ["01-flock.conflist", "10-calico.conflist"] }),
    "info conflist-other",
    "10-calico"
  ],
  ["no conflist", withCni({ networks: [], conflist: undefined }), "error conflist-missing", "install-cni"],
  ["a broken conflist", withCni({ conflist: "{\"plugins\": 3}" }), "error conflist-broken", "install-cni"],
  ["no plugin", withCni({ plugins: ["portmap"] }), "error plugin-missing", "flock"],
  ["portmap removed later", withCni({ plugins: ["flock"] }), "error plugin-missing", "portmap"],
  ["no agent", { ...fit, agent: unreachable, peers: [] }, "error agent", "ENOENT"],
  ["no NodeConfig", withReport({ nodeConfig: { present: false, generation: 0 } }), "error nodeconfig", "host001"],
  [
    "a rejected NodeConfig",
    withReport({ nodeConfig: { present: true, generation: 2, rejected: "spec.mtu: 3" } }),
    "error nodeconfig",
    "spec.mtu: 3"
  ],
  [
    "records of a newer format",
    withReport({ newerState: ["/run/flock/allocations/format is of format 2, and flock 0.1.0 knows 1"] }),
    "error newer-state",
    "/run/flock/allocations/format is of format 2"
  ],
  [
    "a folder that is gone",
    withReport({ nodeConfig: { present: true, generation: 0, unheard: "there is no folder /etc/flock" } }),
    "error nodeconfig",
    "there is no folder /etc/flock"
  ],
  [
    "BIRD gone",
    { ...withReport({ bird: { ...report.bird, up: false } }), bgpPort: undefined },
    "error bird",
    "does not answer"
  ],
  [
    "something that BIRD does not have yet",
    withReport({ bird: { ...report.bird, stale: true, configError: "bird.conf:3:1 syntax error" } }),
    "error bird",
    "bird.conf:3:1"
  ],
  ...([
    ["a watch that is dead", 494, [], "error api-silent", "pods not heard for 494 s"],
    ["no right any more", 20, [403], "error api-refused", "rbac.yaml"],
    ["no token any more", 20, [401], "error api-refused", "token"],
    ["an API server that is away for a moment", 20, [0], "warning api-refused", "answered 0 (last at 2026"]
  ] as const).map(([name, silentSeconds, statuses, what, words]) =>
    [
      name,
      withReport({
        api: {
          watches: [{ resource: "pods", ever: true, silentSeconds }],
          refused: statuses.map((status) => ({
            verb: "watch",
            resource: "pods",
            status,
            message: `GET /api/v1/pods: the API server answered ${status}`,
            at: "2026-01-01T00:00:00Z"
          }))
        }
      }),
      what,
      words
    ] as const
  ),
  [
    "Calico's links",
    { ...fit, interfaces: [...fit.interfaces, interfaceOf("cali0123456789a", 9, 1500)] },
    "warning calico-leftovers",
    "cali0123456789a"
  ],
  [
    "Calico's routes",
    { ...fit, routes: [...fit.routes, { ifName: "vxlan.calico", destination: "10.42.9.0/26", metric: 0 }] },
    "warning calico-leftovers",
    "10.42.9.0/26 dev vxlan.calico"
  ],
  [
    "an own default route that nothing goes before",
    {
      ...fit,
      routes: [
        { ifName: "eth0", destination: "0.0.0.0/0", metric: 0 },
        { ifName: "eth1", destination: "0.0.0.0/0", metric: 16 }
      ]
    },
    "warning own-default",
    "the learned route 0.0.0.0/0 is not used: the node's own by eth0 has metric 0"
  ],
  [
    "a default route of router advertisements before the learned one, on the link of an unnumbered peer",
    {
      ...fit,
      peers: [{ ...peer, address: "eth0 (fe80::1)", unnumbered: true }],
      routes: [
        { ifName: "eth0", destination: "::/0", metric: 1024 },
        { ifName: "eth0", destination: "::/0", metric: 65535 }
      ]
    },
    "warning advertised-default",
    "eth0: the default route of the router's advertisements goes before the learned one"
  ],
  [
    "a second BIRD",
    {
      ...fit,
      daemons: [...fit.daemons, {
        pid: 99,
        name: "bird",
        commandLine: "bird -R -s /var/run/calico/bird.ctl",
        ours: false
      }]
    },
    "error second-speaker",
    "process 99 (bird -R"
  ],
  [
    "a speaker of another kind",
    { ...fit, daemons: [{ pid: 98, name: "speaker", commandLine: "", ours: false }] },
    "warning second-speaker",
    "process 98 (speaker)"
  ],
  [
    "port 179 taken by something unseen",
    { ...withReport({ bird: { ...report.bird, enabled: false, up: false } }), daemons: [] },
    "error port-179",
    "port 179 is taken by bird (process 7)"
  ],
  [
    "learned routes of no use",
    {
      ...fit,
      peers: [{ ...peer, unusable: 2, trouble: "2 learned routes (2001:db8:e::/48, ...) cannot be used: no way" }]
    },
    "warning learned-routes",
    "from 2001:db8:ffff::1 cannot be used: 2 learned routes"
  ],
  [
    "a session without its BFD",
    { ...fit, peers: [{ ...peer, bfd: "Init", trouble: "BFD is Init: a dead link" }] },
    "warning peer-bfd",
    "session to 2001:db8:ffff::1 is Established, but BFD is Init"
  ],
  ["no route to a peer", { ...fit, peers: [{ ...peer, via: undefined }] }, "error peer-route", "2001:db8:ffff::1"],
  [
    "a peer that is not configured, before its route is looked for",
    { ...fit, peers: [{ ...peer, state: "Down", via: undefined, problem: "spec.bgp.peers[0].address: no end" }] },
    "error peer-problem",
    "spec.bgp.peers[0].address: no end"
  ],
  [
    "a session that is down",
    { ...fit, peers: [{ ...peer, state: "Active", trouble: "Connection refused" }] },
    "error peer-session",
    "Active: Connection refused"
  ],
  [
    "IPv4 over an uplink without IPv4",
    withReport({ usage: { ipv4: { cidr: "10.42.0.0/24", used: 1, free: 252 } } }),
    "info extended-next-hop",
    "eth0 has no IPv4 address"
  ],
  [
    "pods larger than the uplink",
    withReport({ allocations: [{ ...allocation, mtu: 9000 }] }),
    "error mtu",
    "9000, more than eth0's 1500"
  ],
  [
    "pods smaller than the uplink",
    withReport({ allocations: [{ ...allocation, mtu: 1280 }] }),
    "info mtu",
    "1280, less"
  ],
  [
    "uplinks that differ",
    {
      ...fit,
      interfaces: [...fit.interfaces, interfaceOf("eth1", 4, 9000)],
      peers: [peer, { ...peer, address: "192.0.2.1", via: "eth1" }]
    },
    "warning mtu",
    "eth0 1500, eth1 9000"
  ],
  ["strict rp_filter", withSysctls({ "ipv4/conf/eth0/rp_filter": "1" }), "warning rp-filter", "eth0.rp_filter=0"],
  [
    "loose rp_filter on an uplink without an IPv4 address",
    withSysctls({ "ipv4/conf/eth0/rp_filter": "2" }),
    "warning rp-filter",
    "eth0 (2)"
  ],
  ...["1", "2"].map((value) =>
    [
      `rp_filter ${value} for all`,
      withSysctls({ "ipv4/conf/all/rp_filter": value }),
      "error rp-filter",
      `flock0a1b2c3d (net.ipv4.conf.all.rp_filter=${value})`
    ] as const
  ),
  [
    "rp_filter 2 on a pod's link",
    withSysctls({ "ipv4/conf/flock0a1b2c3d/rp_filter": "2" }),
    "error rp-filter",
    "find what sets it back"
  ],
  ...([
    ["iptables-nft", { family: 2, table: "filter", name: "FORWARD" }, "ip filter FORWARD"],
    ["nftables", { family: 1, table: "firewalld", name: "filter_FORWARD" }, "inet firewalld filter_FORWARD"],
    ["ip6tables-nft", { family: 10, table: "filter", name: "FORWARD" }, "ip6 filter FORWARD"]
  ] as const).map(([name, chain, words]) =>
    [
      `what is forwarded is dropped, by ${name}`,
      { ...fit, chains: [...(fit.chains ?? []), { ...chain, hook: 2, policy: "drop" as const }] },
      "warning forward-drop",
      words
    ] as const
  ),
  ...([["a clock ahead", 20, "20 s ahead of"], ["a clock behind", -15, "15 s behind"]] as const).map((
    [name, clockAheadSeconds, words]
  ) =>
    [
      name,
      withReport({ api: { watches: [], refused: [], clockAheadSeconds } }),
      "warning clock",
      words
    ] as const
  ),
  [
    "a right that is not granted",
    { ...withReport({ api: { watches: [], refused: [] } }), missingRights: ["watch secrets flock-system/tor"] },
    "error api-rights",
    "watch secrets flock-system/tor"
  ],
  [
    "NetworkPolicies that nothing enforces",
    withReport({ api: { watches: [], refused: [], policies: { example: "shop/deny", count: 3 } } }),
    "warning network-policies",
    "(3, such as shop/deny)"
  ],
  [
    "iptables-legacy that cannot be read",
    { ...fit, legacyTables: ["nat", "filter"], legacyForward: { 4: "accept", 6: undefined } },
    "info forward-legacy",
    "rules of ip6tables-legacy, which cannot"
  ],
  [
    "iptables-legacy that drops what is forwarded",
    { ...fit, legacyTables: ["filter"], legacyForward: { 4: "drop", 6: "accept" } },
    "warning forward-drop",
    "the policy of iptables-legacy FORWARD is drop"
  ],
  [
    "a ruleset that was flushed",
    { ...withReport({ antiSpoofing: { state: "on", exempt: [] } }), chains: [] },
    "error firewall-missing",
    "flush"
  ],
  [
    "no kube-proxy",
    {
      ...withReport({ api: { watches: [], refused: [] } }),
      chains: (fit.chains ?? []).filter(({ name }) => name !== "KUBE-SERVICES")
    },
    "warning service-proxy",
    "kube-proxy"
  ],
  [
    "another routing daemon",
    { ...fit, daemons: [...fit.daemons, { pid: 97, name: "ospfd", commandLine: "ospfd -d", ours: false }] },
    "warning router-daemon",
    "ospfd (process 97)"
  ],
  ["IPv4 forwarding off", withSysctls({ "ipv4/ip_forward": "0" }), "error forwarding", "net.ipv4.ip_forward"],
  ["IPv6 forwarding off", withSysctls({ "ipv6/conf/all/forwarding": "0" }), "error forwarding", "net.ipv6.conf.all"],
  [
    "forwarding off before the agent",
    { ...withSysctls({ "ipv4/ip_forward": "0" }), agent: unreachable, peers: [] },
    "info forwarding",
    "when it starts"
  ],
  [
    "a kernel without anti-spoofing",
    { ...fit, agent: { report: { ...report, antiSpoofing: { state: "failed", problem: "ENOENT", exempt: [] } } } },
    "error anti-spoofing",
    "ENOENT"
  ],
  [
    "anti-spoofing switched off",
    { ...fit, agent: { report: { ...report, antiSpoofing: { state: "off", exempt: [] } } } },
    "warning anti-spoofing",
    "exempt single pods"
  ],
  [
    "a pod's link that believes router advertisements",
    withSysctls({ "ipv6/conf/flock0a1b2c3d/accept_ra": "2" }),
    "error pod-links",
    "flock0a1b2c3d"
  ],
  [
    "new links that believe router advertisements",
    withSysctls({ "ipv6/conf/default/accept_ra": "2" }),
    "warning accept-ra-default",
    "set it to 1"
  ],
  ["the accept_ra trap", withSysctls({ "ipv6/conf/eth0/accept_ra": "1" }), "warning accept-ra", "eth0.accept_ra=2"],
  ["no veth", { ...fit, veth: false }, "error kernel", "CONFIG_VETH"],
  ["no network namespaces", { ...fit, netns: false }, "error kernel", "CONFIG_NET_NS"],
  ["no IPv6", without("ipv6/conf/all/disable_ipv6"), "error kernel", "CONFIG_IPV6"],
  ["IPv6 off", withSysctls({ "ipv6/conf/all/disable_ipv6": "1" }), "error ipv6-off", "disable_ipv6"],
  ["no IPv4 multipath", without("ipv4/fib_multipath_hash_policy"), "warning multipath", "ipv4"],
  ["no IPv6 multipath", without("ipv6/fib_multipath_hash_policy"), "warning multipath", "ipv6"],
  [
    "a full neighbour table",
    { ...fit, neighbours: [{ family: 6, entries: 1000, limit: 1024 }] },
    "error neighbours",
    "ipv6.neigh"
  ],
  [
    "a small neighbour table",
    { ...fit, neighbours: [{ family: 4, entries: 1, limit: 128 }] },
    "warning neighbours",
    "128"
  ]
]

describe("doctor", () => {
  it("finds nothing on a node where all is well", () => {
    assert.deepStrictEqual(judge(fit), [])
    assert.strictEqual(renderFindings([]), "nothing found that stands in the way")
  })

  for (const [name, facts, what, word] of cases) {
    it(`finds ${name}`, () => {
      const findings = judge(facts)
      const found = findings.find(({ check, severity }) => `${severity} ${check}` === what)
      assert.isDefined(found, JSON.stringify(findings))
      assert.include(`${found?.problem}\n${found?.remedy}`, word)
      assert.isNotEmpty(found?.remedy)
    })
  }

  it("says once that a NodeConfig is refused", () => {
    const rejected = "NodeConfig host001 is not valid: spec.mtu: 3"
    const findings = judge(withReport({
      nodeConfig: { present: true, generation: 2, rejected },
      bird: { ...report.bird, stale: true, configError: rejected }
    }))
    assert.deepStrictEqual(findings.map(({ check }) => check), ["nodeconfig"])
  })

  it("does not blame routers for a node that was withdrawn", () => {
    const facts = withReport({ bird: { ...report.bird, drained: true } })
    const findings = judge({ ...facts, peers: [{ ...peer, state: "Down" }] })
    assert.deepStrictEqual(findings.map(({ check, severity }) => [check, severity]), [["withdrawn", "warning"]])
  })

  it("accuses no router while BIRD does not answer", () => {
    const facts = withReport({ bird: { ...report.bird, up: false } })
    const findings = judge({ ...facts, bgpPort: undefined, peers: [{ ...peer, state: "Down" }] })
    assert.deepStrictEqual(findings.map(({ check }) => check), ["bird"])
  })

  it.each(["cali-FORWARD", "KUBE-NWPLCY-X", "CILIUM_FORWARD"])(
    "takes %s for an enforcer of NetworkPolicies",
    (name) => {
      const facts = withReport({ api: { watches: [], refused: [], policies: { example: "shop/deny", count: 3 } } })
      const chains = [...(facts.chains ?? []), { family: 2, table: "filter", name }]
      assert.deepStrictEqual(judge({ ...facts, chains }), [])
    }
  )

  it("says nothing of rules that it cannot read", () => {
    const { chains: _, ...unread } = withReport({ api: { watches: [], refused: [] } })
    assert.deepStrictEqual(judge(unread), [])
  })

  it("cannot tell from within a container, and then says nothing", () => {
    assert.deepStrictEqual(judge({ ...fit, veth: undefined }), [])
  })

  it("reports on a machine that flock is not on yet, without an error", () => {
    const findings = judge({
      ...fit,
      agent: unreachable,
      cni: { ...fit.cni, networks: [], conflist: undefined, plugins: [] },
      daemons: [],
      bgpPort: undefined,
      peers: []
    })
    assert.deepStrictEqual(findings.map(({ severity }) => severity), ["info", "info"])
  })

  it("puts the worst first, one finding a paragraph", () => {
    const findings = judge({
      ...withSysctls({ "ipv6/conf/eth0/accept_ra": "1", "ipv4/ip_forward": "0" }),
      cni: { ...fit.cni, networks: ["01-flock.conflist", "99-x.conf"] }
    })
    assert.deepStrictEqual(findings.map(({ severity }) => severity), ["error", "warning", "info"])
    assert.match(renderFindings(findings), /^error {4}forwarding: .*\n {9}→ .*\nwarning {2}accept-ra: /)
  })
})

it("prints what docs/reference.md shows of a node that another CNI has left half", () => {
  const left = withCni({ networks: ["00-multus.conf", "01-flock.conflist", "10-calico.conflist"], plugins: ["flock"] })
  const findings = judge(left).filter(({ check }) => /^(conflist|plugin)-/.test(check))
  const sample = `${renderFindings(findings)}\nflock-agent: ${new NodeNotFit({ errors: 2 }).message}`
  const text = readFileSync(resolve(import.meta.dirname, "../../../docs/reference.md"), "utf8")
  assert.isTrue(text.includes(`\`\`\`\n${sample}\n\`\`\``), `it should have:\n${sample}`)
})
