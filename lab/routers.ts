/** Names, addresses and router configurations of the LAN. */
export const ROUTER6 = "2001:db8:ffff::1"
export const ROUTER4 = "198.51.100.1"
/** On the router's `lo`, with `multihop`. */
export const ROUTER_LOOPBACK = "2001:db8:9::9"
export const CLIENT6 = "2001:db8:c::2"
export const CLIENT4 = "203.0.113.2"
export const ROUTER_ASN = 65000
export const NODE_ASN = 65001

export interface LanOptions {
  readonly router: "frr" | "bird"
  /** Namespaces that become nodes. */
  readonly nodes: ReadonlyArray<string>
  /** AS numbers of the nodes; default: all {@link NODE_ASN}. */
  readonly asns?: ReadonlyArray<number>
  /** FRR only: TCP MD5, GTSM and BFD on every session. */
  readonly password?: string
  readonly ttlSecurity?: boolean
  readonly bfd?: boolean
  /** FRR only: its IPv6 sessions come from {@link ROUTER_LOOPBACK}, two hops away for GTSM. */
  readonly multihop?: boolean
  /** BIRD only: one session a node over link-local addresses, which carries both families. */
  readonly unnumbered?: boolean
  /** FRR only: IPv6 prefixes that it announces besides. */
  readonly announce?: ReadonlyArray<string>
}

export const node6 = (i: number): string => `2001:db8:ffff::${11 + i}`
export const node4 = (i: number): string => `198.51.100.${11 + i}`

export const frrConfig = (
  { announce = [], asns = [], bfd, multihop, nodes, password, ttlSecurity }: LanOptions
): string => {
  const neighbors = nodes.flatMap((_, i) => [
    { address: node6(i), asn: asns[i] ?? NODE_ASN },
    { address: node4(i), asn: asns[i] ?? NODE_ASN }
  ])
  const family = (name: "ipv4" | "ipv6", networks: ReadonlyArray<string>) => [
    ` address-family ${name} unicast`,
    ...networks.map((network) => `  network ${network}`),
    ...neighbors.flatMap(({ address }) => [
      `  neighbor ${address} activate`,
      `  neighbor ${address} default-originate`
    ]),
    " exit-address-family"
  ]
  return [
    "hostname router",
    `router bgp ${ROUTER_ASN}`,
    ` bgp router-id ${ROUTER4}`,
    " no bgp ebgp-requires-policy",
    " no bgp network import-check",
    ...neighbors.flatMap(({ address, asn }) => [
      ` neighbor ${address} remote-as ${asn}`,
      ` neighbor ${address} timers connect 1`,
      ` neighbor ${address} advertisement-interval 0`,
      ...(password === undefined ? [] : [` neighbor ${address} password ${password}`]),
      ...(ttlSecurity ? [` neighbor ${address} ttl-security hops 1`] : []),
      ...(multihop && address.includes(":")
        ? [` neighbor ${address} ebgp-multihop 3`, ` neighbor ${address} update-source ${ROUTER_LOOPBACK}`]
        : []),
      ...(bfd ? [` neighbor ${address} bfd`] : [])
    ]),
    ...family("ipv6", ["2001:db8:c::/64", "2001:db8:ffff::/64", ...announce]),
    ...family("ipv4", ["203.0.113.0/24", "198.51.100.0/24"]),
    ""
  ].join("\n")
}

/** `linkLocal`: the nodes' addresses, where sessions are unnumbered. */
export const birdRouterConfig = (
  { asns = [], nodes, unnumbered }: LanOptions,
  linkLocal: ReadonlyArray<string> = []
): string => {
  const unnumberedPeer = (i: number) =>
    `protocol bgp n${i} { local as ${ROUTER_ASN}; neighbor ${linkLocal[i]}%lan as ${asns[i] ?? NODE_ASN}; direct;
  hold time 9; connect delay time 1; connect retry time 1; error wait time 1, 5; graceful restart on;
  ipv6 { import all; export all; }; ipv4 { import all; export all; extended next hop on; }; }\n`
  const peer = (name: string, address: string, local: string, asn: number) =>
    `protocol bgp ${name} { local ${local} as ${ROUTER_ASN}; neighbor ${address} as ${asn}; direct; hold time 9;
  connect delay time 1; connect retry time 1; error wait time 1, 5; graceful restart on;
  ipv6 { import all; export all; next hop keep; }; ipv4 { import all; export all; next hop keep; }; }\n`
  return `log stderr all;
router id ${ROUTER4};
protocol device { }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol direct { ipv6; ipv4; }
protocol static { ipv6; route ::/0 unreachable; }
protocol static { ipv4; route 0.0.0.0/0 unreachable; }
${
    unnumbered
      ? "protocol radv { interface \"lan\" { max ra interval 5; prefix 2001:db8:ffff::/64 { skip; }; }; }\n"
      : ""
  }` + nodes.map((_, i) =>
    unnumbered ?
      unnumberedPeer(i) :
      peer(`n${i}v6`, node6(i), ROUTER6, asns[i] ?? NODE_ASN) + peer(`n${i}v4`, node4(i), ROUTER4, asns[i] ?? NODE_ASN)
  ).join("")
}
