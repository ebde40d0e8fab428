/** `spec` of a NodeConfig: its fields, their defaults, and what each may be. */
import { Effect, Schema } from "effect"
import { addressProblem, insideProblem, overlapProblem, type Use } from "./addressRules.ts"
import { AddressFromString, type Cidr, CidrFromString, type Family, type IpAddress } from "./Ip.ts"
import { InterfaceName, PeerAddressFromString } from "./peerAddress.ts"

const withDefault = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

const poolProblem = (cidr: Cidr, example: string): string | undefined => {
  const special = overlapProblem("pool", cidr)
  return special && `overlaps a range that is ${special}; use unicast space of your own, such as ${example}`
}

const cidrOf = (family: Family, example: string, minimum: number, maximum: number) =>
  CidrFromString.pipe(Schema.check(Schema.makeFilter((cidr: Cidr) =>
    cidr.family !== family
      ? `must be an IPv${family} prefix, such as ${example}`
      : cidr.prefix < minimum || cidr.prefix > maximum
      ? `the prefix length must be ${minimum} to ${maximum}`
      : poolProblem(cidr, example)
  )))

/** The CRD's bounds: the API server must be able to count what its rules look through, and no check of ours is long. */
const MOST_LISTED = 256
const MOST_NAMESPACES = 64
const MOST_COMMUNITIES = 64
const MOST_COMMUNITIES_OF_A_GRANT = 16
const MOST_PEERS = 64
const MOST_ADVERTISED = 64

const atMost = (most: number, what: string) =>
  Schema.makeFilter((it: ReadonlyArray<unknown>) =>
    it.length > most ? `lists ${it.length} ${what}: ${most} are the limit` : undefined
  )

/** Prefixes that bound what others choose from; each must have something in it that `use` may have. */
const cidrsFor = (use: Use, words: string) =>
  withDefault(
    Schema.Array(CidrFromString.pipe(Schema.check(Schema.makeFilter((cidr: Cidr) => {
      const special = insideProblem(use, cidr)
      return special && `lies in a range that is ${special}: ${words}`
    })))).pipe(Schema.check(atMost(MOST_LISTED, "prefixes"))),
    []
  )

const Whole = Schema.Number.pipe(Schema.check(Schema.isInt({ message: "must be a whole number" })))

const int = (minimum: number, maximum: number) =>
  Whole.pipe(Schema.check(Schema.isBetween({ minimum, maximum }, { message: `must be ${minimum} to ${maximum}` })))

const matching = (pattern: RegExp, message: string) =>
  Schema.String.pipe(Schema.check(Schema.isPattern(pattern, { message })))

/** Fields that `ip-algo` can embed in an IPv6 address, in the operator's order. */
export const AlgoField = Schema.Literals(["namespace", "pod", "image"]).annotate({
  message: "must be one of namespace, pod, image"
})
export type AlgoField = typeof AlgoField.Type

const Asn = int(1, 4294967294)

const PeerAsn = Schema.Union([
  Asn,
  Schema.Literals(["external", "internal"]).annotate({
    message: "must be an AS number (1 to 4294967294), external or internal"
  })
])
export type PeerAsn = typeof PeerAsn.Type

/** Whether a peer's session is iBGP; `own`: the node's AS number. */
export const isInternal = (asn: PeerAsn, own: number | undefined): boolean => asn === "internal" || asn === own

const dns1123 = matching(
  /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/,
  "must be the name of a Secret: small letters, digits, - and ."
)

export const SecretKeyRef = Schema.Struct({
  name: dns1123,
  key: matching(/^[-._a-zA-Z0-9]{1,253}$/, "must be a key of a Secret's data: letters, digits, -, _ and .")
})
export type SecretKeyRef = typeof SecretKeyRef.Type

const WELL_KNOWN = ["no-export", "no-advertise", "no-peer", "graceful-shutdown"]

const communityProblem = (text: string): string | undefined => {
  if (WELL_KNOWN.includes(text)) return undefined
  if (!/^\d{1,5}:\d{1,5}$|^\d{1,10}:\d{1,10}:\d{1,10}$/.test(text)) {
    return `must be a community: 65001:100, large 65001:1:2, or one of ${WELL_KNOWN.join(", ")}`
  }
  const parts = text.split(":").map(Number)
  const maximum = parts.length === 2 ? 65535 : 4294967295
  return parts.some((n) => n > maximum) ? `each number must be 0 to ${maximum}` : undefined
}

/** Standard (`65001:100`, RFC 1997), large (`65001:1:2`, RFC 8092), or the name of a well-known one. */
const communities = (most: number) =>
  withDefault(
    Schema.Array(Schema.String.pipe(Schema.check(Schema.makeFilter(communityProblem)))).pipe(
      Schema.check(atMost(most, "communities"))
    ),
    []
  )

const Role = Schema.Literals(["provider", "customer", "peer", "rs-server", "rs-client"]).annotate({
  message: "must be one of provider, customer, peer, rs-server, rs-client"
})

/** RFC 5880, sections 4.1 and 6.8; FRR's bounds and defaults. */
const BfdTimers = Schema.Struct({
  /** Required Min RX Interval. */
  receiveIntervalMilliseconds: withDefault(int(10, 60000), 300),
  /** Desired Min TX Interval. */
  transmitIntervalMilliseconds: withDefault(int(10, 60000), 300),
  /** The router gives the session up after so many of the node's packets did not come. */
  detectMultiplier: withDefault(int(2, 255), 3)
})

export const Peer = Schema.Struct({
  /** The router's address. Either this or `interface` is there. */
  address: Schema.optionalKey(PeerAddressFromString),
  /** Unnumbered: the router at the other end of this interface, found by its router advertisements. */
  interface: Schema.optionalKey(InterfaceName),
  /** The node's end of the session; absent: chosen (src/bird/local.ts). */
  localAddress: Schema.optionalKey(
    AddressFromString.pipe(Schema.check(Schema.makeFilter((address: IpAddress) => {
      const special = addressProblem("local", address)
      return special && `is ${special}; write an address that the node has, such as 2001:db8:ffff::2`
    })))
  ),
  /** `external`: any but the node's own; `internal`: the node's own. */
  asn: PeerAsn,
  port: withDefault(int(1, 65535), 179),
  /** Seconds; 0 turns keepalives off (RFC 4271 section 4.2). */
  holdTimeSeconds: withDefault(
    Whole.pipe(
      Schema.check(
        Schema.makeFilter((n: number) => n === 0 || (n >= 3 && n <= 65535) ? undefined : "must be 0 or 3 to 65535")
      )
    ),
    90
  ),
  bfd: withDefault(Schema.Boolean, false),
  bfdTimers: withDefault(BfdTimers, {}),
  passwordSecretRef: Schema.optionalKey(SecretKeyRef),
  /** 0: the peer is on a connected network. Otherwise the largest number of hops to it. */
  multihop: withDefault(int(0, 255), 0),
  /** RFC 5082; not together with `multihop`. */
  ttlSecurity: withDefault(Schema.Boolean, false),
  gracefulRestart: withDefault(Schema.Boolean, true),
  /** The router opens the session. */
  passive: withDefault(Schema.Boolean, false),
  /** What the node is to the router (RFC 9234); absent: nothing is said. */
  localRole: Schema.optionalKey(Role),
  /** No session with a router that does not say its own role (RFC 9234, section 4.2). */
  roleStrictMode: withDefault(Schema.Boolean, false),
  /** Added to every announcement. */
  communities: communities(MOST_COMMUNITIES)
})
export type Peer = typeof Peer.Type

/** What `flock-agent withdraw` does before it shuts the sessions. */
const Withdraw = Schema.Struct({
  /** Everything is announced with the community GRACEFUL_SHUTDOWN for so long (RFC 8326); 0: not at all. */
  gracefulShutdownSeconds: withDefault(int(0, 60), 5),
  /** … and with this MULTI_EXIT_DISC, for routers that do not know the community. */
  med: Schema.optionalKey(int(0, 4294967295))
})

export const Bgp = Schema.Struct({
  asn: Asn,
  routerID: Schema.optionalKey(matching(
    /^(?!0\.0\.0\.0$)((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/,
    "must be a router ID in dotted-quad form, such as 192.0.2.2"
  )),
  /** What may be learned from peers, with anything inside it. Empty: nothing. */
  importCIDRs: cidrsFor("import", "nothing of it is ever learned"),
  /** Learned routes go before the node's own to the same destination, the default route's too. */
  preferLearned: withDefault(Schema.Boolean, false),
  withdraw: withDefault(Withdraw, {}),
  /** Announced always, beside the node's own prefixes. */
  advertise: withDefault(
    Schema.Array(CidrFromString.pipe(Schema.check(Schema.makeFilter((cidr: Cidr) => {
      const special = insideProblem("pod", cidr)
      return cidr.prefix === 0
        ? "would draw all traffic of the network to this node; write the prefixes that it serves"
        : special && `lies in a range that is ${special}: no router takes it`
    })))).pipe(Schema.check(atMost(MOST_ADVERTISED, "prefixes"))),
    []
  ),
  export: withDefault(
    Schema.Struct({
      /** Addresses in the node's prefixes and those of `advertise` are not announced for themselves. */
      summaryOnly: withDefault(Schema.Boolean, false)
    }),
    {}
  ),
  peers: withDefault(Schema.Array(Peer).pipe(Schema.check(atMost(MOST_PEERS, "peers"))), [])
})
export type Bgp = typeof Bgp.Type

/** Prefixes of one owner: a field more per prefix comes here. */
export const Grant = Schema.Struct({
  cidr: CidrFromString.pipe(Schema.check(Schema.makeFilter((cidr: Cidr) => {
    const special = insideProblem("pod", cidr)
    return cidr.prefix === 0
      ? "would grant every address there is; write the prefixes that these namespaces may announce"
      : special && `lies in a range that is ${special}: no pod can have an address of it`
  }))),
  namespaces: Schema.Array(
    matching(
      /^[a-z0-9*]([-a-z0-9*]{0,61}[a-z0-9*])?$/,
      "must be a namespace's name, or a glob in which * stands for any characters, such as shop or team-*"
    )
  ).pipe(
    Schema.check(
      Schema.makeFilter((it: ReadonlyArray<string>) =>
        it.length === 0 || it.length > MOST_NAMESPACES ? `must list 1 to ${MOST_NAMESPACES} namespaces` : undefined
      )
    )
  ),
  /** Added to the announcements of the addresses that this grant decides about. */
  communities: communities(MOST_COMMUNITIES_OF_A_GRANT)
})
export type Grant = typeof Grant.Type

export const Anycast = Schema.Struct({
  /** For pods of every namespace. */
  allowedCIDRs: cidrsFor("pod", "no pod can have an address of it"),
  /** For pods of some; `domain/grants.ts` has how the two go together. */
  grants: withDefault(
    Schema.Array(Grant).pipe(Schema.check(atMost(MOST_LISTED, "grants"))),
    []
  ),
  /** Distinct anycast and chosen addresses of one pod. */
  maxPerPod: withDefault(int(0, 64), 8),
  /** … of all pods that a namespace has on this node. */
  maxPerNamespace: withDefault(int(0, 65535), 32),
  /** … of all pods of this node. */
  maxPerNode: withDefault(int(0, 65535), 256)
})
export type AnycastSpec = typeof Anycast.Type

export const NodeConfigSpec = Schema.Struct({
  cidr6: Schema.optionalKey(cidrOf(6, "2001:db8:1::/64", 16, 126)),
  cidr4: Schema.optionalKey(cidrOf(4, "10.42.1.0/24", 8, 30)),
  /** Bytes; default: the MTU of the interface that the peers are reached through. */
  mtu: Schema.optionalKey(int(1280, 65535)),
  defaults: withDefault(
    Schema.Struct({
      ipv6: withDefault(Schema.Boolean, true),
      ipv4: withDefault(Schema.Boolean, true),
      ipAlgo: Schema.optionalKey(
        Schema.Array(AlgoField).pipe(
          Schema.check(
            Schema.makeFilter((fields: ReadonlyArray<AlgoField>) =>
              fields.length === 0 || new Set(fields).size !== fields.length
                ? "must list each of namespace, pod, image at most once, and one at least"
                : undefined
            )
          )
        )
      )
    }),
    {}
  ),
  anycast: withDefault(Anycast, {}),
  /** A packet from a pod is dropped unless its source is that pod's own. */
  antiSpoofing: withDefault(Schema.Boolean, true),
  /** Where the annotation `allow-spoofing` is honoured. */
  antiSpoofingExemptNamespaces: withDefault(
    Schema.Array(matching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, "must be the name of a namespace")).pipe(
      Schema.check(atMost(MOST_LISTED, "namespaces"))
    ),
    []
  ),
  bgp: Schema.optionalKey(Bgp)
})
export type NodeConfigSpec = typeof NodeConfigSpec.Type
