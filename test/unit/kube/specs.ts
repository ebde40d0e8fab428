/** NodeConfig specs, most of them nearly right: for holding the agent's schema, the CRD and the API server together. */
import * as fc from "fast-check"
import { SPECIAL_RANGES } from "../../../src/domain/addressRules.ts"
import { bitsOf, formatAddress, formatCidr, type IpAddress, lastOf, networkOf } from "../../../src/domain/Ip.ts"

/** An address as it can be written: RFC 5952, in capitals, with every zero, or with some other run of zeros left out. */
export const spellings = (address: IpAddress): ReadonlyArray<string> => {
  const text = formatAddress(address)
  if (address.family === 4) return [text]
  const groups = Array.from({ length: 8 }, (_, i) => ((address.value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  const short = groups.flatMap((_, start) =>
    groups.slice(start).flatMap((_, length) =>
      groups.slice(start, start + length + 1).every((group) => group === "0")
        ? [`${groups.slice(0, start).join(":")}::${groups.slice(start + length + 1).join(":")}`]
        : []
    )
  )
  const all = [text, groups.join(":"), groups.map((group) => group.padStart(4, "0")).join(":"), ...short]
  return [...new Set([...all, ...all.map((one) => one.toUpperCase())])]
}

const inSpecial = fc.constantFrom(...SPECIAL_RANGES).chain(({ range }) =>
  fc.oneof(fc.constantFrom(range.base, lastOf(range)), fc.bigInt({ min: range.base, max: lastOf(range) }))
    .map((value) => ({ family: range.family, value }))
)

const specialAddress = inSpecial.chain((address) => fc.constantFrom(...spellings(address)))

/** Prefixes around, at and in special ranges. */
const specialCidr = fc.tuple(inSpecial, fc.nat(128)).map(([address, length]) =>
  formatCidr(networkOf(address, Math.min(length, bitsOf(address.family))))
)

const v6 = fc.array(
  fc.constantFrom("0", "0", "1", "a", "db8", "2001", "FFFF", "fe80", "febf", "fec0", "00a", "00001", "g", ""),
  {
    minLength: 1,
    maxLength: 9
  }
).map((groups) => groups.join(":"))

const compressed = fc.tuple(
  fc.array(fc.constantFrom("1", "db8", "2001"), { maxLength: 7 }),
  fc.array(fc.constantFrom("1", "0", "ff"), { maxLength: 7 })
).map(([a, b]) => `${a.join(":")}::${b.join(":")}`)

const v4 = fc.array(
  fc.constantFrom("0", "1", "9", "10", "99", "192", "249", "250", "255", "256", "300", "01", "001", ""),
  {
    minLength: 3,
    maxLength: 5
  }
).map((octets) => octets.join("."))

const good6 = fc.constantFrom("2001:db8:1::", "2001:db8:2:3::", "fd00::", "2001:DB8:9:0:0:0:0:0", "::")
const good4 = fc.constantFrom("10.42.1.0", "192.0.2.0", "10.0.0.0", "0.0.0.0", "172.16.0.0")

const length = fc.oneof(
  fc.constantFrom(
    "0",
    "7",
    "8",
    "15",
    "16",
    "24",
    "30",
    "31",
    "32",
    "33",
    "48",
    "64",
    "126",
    "127",
    "128",
    "129",
    "064",
    "",
    "x",
    "1000"
  ),
  fc.nat(140).map(String)
)

const cidr = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(good6, length).map((p) => p.join("/")) },
  { weight: 3, arbitrary: fc.tuple(good4, length).map((p) => p.join("/")) },
  { weight: 2, arbitrary: fc.tuple(fc.oneof(v6, compressed, v4), length).map((p) => p.join("/")) },
  { weight: 3, arbitrary: specialCidr },
  { weight: 1, arbitrary: fc.string() }
)

const address = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom("2001:db8:ffff::1", "192.0.2.1", "2001:db8::2", "2001:DB8::2", "fe80::1", "169.254.0.1")
  },
  { weight: 2, arbitrary: fc.oneof(v6, compressed, v4) },
  { weight: 2, arbitrary: specialAddress },
  { weight: 1, arbitrary: fc.string() }
)

const integer = (...edges: ReadonlyArray<number>) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...edges) },
    { weight: 2, arbitrary: fc.integer() },
    { weight: 1, arbitrary: fc.constantFrom<unknown>(1.5, "1500", true, []) }
  )

const boolean = fc.oneof({ weight: 9, arbitrary: fc.boolean() }, {
  weight: 1,
  arbitrary: fc.constantFrom<unknown>("true", 0, {})
})

const number16 = fc.constantFrom(
  "0",
  "1",
  "100",
  "00001",
  "65535",
  "65536",
  "99999",
  "4294967295",
  "4294967296",
  "x",
  ""
)
const community = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "65001:100",
      "65001:1:2",
      "4294967295:4294967295:4294967295",
      "no-export",
      "no-peer",
      "no-exports"
    )
  },
  { weight: 2, arbitrary: fc.array(number16, { minLength: 1, maxLength: 4 }).map((p) => p.join(":")) },
  { weight: 1, arbitrary: fc.string() }
)

const namespace = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      "shop",
      "team-*",
      "*",
      "a*-b",
      "-a",
      "a-",
      "Shop",
      "",
      "a".repeat(63),
      "a".repeat(64),
      "a.b"
    )
  },
  { weight: 1, arbitrary: fc.string() }
)

const list = <A>(item: fc.Arbitrary<A>, maxLength = 3) => fc.array(item, { maxLength })

const some = <A>(fields: { [K in keyof A]: fc.Arbitrary<A[K]> }, requiredKeys: Array<keyof A> = []) =>
  fc.oneof(
    { weight: 9, arbitrary: fc.record(fields, { requiredKeys }) },
    { weight: 1, arbitrary: fc.record(fields, { requiredKeys: [] }) }
  )

const ifName = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom("eth0", "eth0", "bond0.100", "br-lan", "lo", "flock0a1b2c3d", "flocks", "-x", ".", "")
  },
  { weight: 1, arbitrary: fc.constantFrom("a".repeat(15), "a".repeat(16), "eth 0", "eth0%", "e\"th0") },
  { weight: 1, arbitrary: fc.string({ maxLength: 20 }) }
)

const scoped = fc.tuple(fc.oneof(fc.constantFrom("fe80::1", "FEBF::2", "fe80:0:0::"), address), ifName)
  .map((it) => it.join("%"))

const session = {
  asn: fc.oneof(
    integer(1, 65000, 4294967294, 4294967295, 0, -1),
    fc.constantFrom("external", "internal", "any", "")
  ),
  port: integer(1, 179, 65535, 65536, 0),
  holdTimeSeconds: integer(0, 1, 2, 3, 9, 65535, 65536, -1),
  bfd: boolean,
  bfdTimers: some({
    receiveIntervalMilliseconds: integer(10, 300, 60000, 9, 60001),
    transmitIntervalMilliseconds: integer(10, 300, 60000, 9, 60001),
    detectMultiplier: integer(2, 3, 255, 1, 256)
  }),
  passwordSecretRef: some({
    name: fc.oneof(fc.constantFrom("tor", "a.b-c", "-a", "A", "", "a".repeat(253), "a".repeat(254)), fc.string()),
    key: fc.oneof(fc.constantFrom("password", "A_b.c-d", "", "k".repeat(253), "k".repeat(254)), fc.string())
  }, ["name", "key"]),
  multihop: integer(0, 0, 1, 255, 256, -1),
  ttlSecurity: boolean,
  gracefulRestart: boolean,
  passive: boolean,
  localRole: fc.constantFrom("customer", "provider", "peer", "rs-client", "rs-server", "Customer", ""),
  roleStrictMode: boolean,
  communities: list(community)
}

const anyAddress = fc.oneof({ weight: 3, arbitrary: address }, { weight: 1, arbitrary: scoped })

const peer = fc.oneof(
  { weight: 8, arbitrary: some({ address: anyAddress, ...session }, ["address", "asn"]) },
  { weight: 3, arbitrary: some({ address: anyAddress, localAddress: address, ...session }, ["address", "asn"]) },
  { weight: 1, arbitrary: some({ interface: ifName, localAddress: address, ...session }, ["interface", "asn"]) },
  { weight: 3, arbitrary: some({ interface: ifName, ...session }, ["interface", "asn"]) },
  { weight: 1, arbitrary: some({ address: anyAddress, interface: ifName, ...session }, ["asn"]) }
)

const grant = some({
  cidr,
  communities: list(community),
  namespaces: fc.oneof({ weight: 9, arbitrary: list(namespace) }, {
    weight: 1,
    arbitrary: fc.constantFrom(Array<string>(64).fill("shop"), Array<string>(65).fill("shop"))
  })
}, ["cidr", "namespaces"])

/** Everything, mostly near the edge of what is right. */
export const specs: fc.Arbitrary<unknown> = some({
  cidr6: fc.oneof({ weight: 3, arbitrary: fc.constant("2001:db8:1::/64") }, { weight: 1, arbitrary: cidr }),
  cidr4: fc.oneof({ weight: 3, arbitrary: fc.constant("10.42.1.0/24") }, { weight: 1, arbitrary: cidr }),
  mtu: integer(1280, 1500, 9000, 65535, 1279, 65536),
  defaults: some({
    ipv6: boolean,
    ipv4: boolean,
    ipAlgo: list(fc.constantFrom("namespace", "pod", "image", "namespace", "node"), 4)
  }),
  anycast: some({
    allowedCIDRs: list(cidr),
    grants: list(grant),
    maxPerPod: integer(0, 8, 64, 65, -1),
    maxPerNamespace: integer(0, 32, 65535, 65536, -1),
    maxPerNode: integer(0, 256, 65535, 65536, -1)
  }),
  antiSpoofing: boolean,
  antiSpoofingExemptNamespaces: list(
    fc.oneof(
      fc.constantFrom("kube-system", "a", "-a", "a-", "A", "a.b", "", "a".repeat(63), "a".repeat(64)),
      fc.string()
    )
  ),
  bgp: some({
    asn: integer(1, 65001, 4294967294, 4294967295, 0),
    routerID: fc.oneof(
      fc.constantFrom("192.0.2.2", "0.0.0.0", "00.0.0.0", "255.255.255.255", "256.0.0.1", "1.2.3"),
      v4
    ),
    importCIDRs: list(cidr),
    advertise: list(cidr),
    export: some({ summaryOnly: boolean }),
    withdraw: some({ gracefulShutdownSeconds: integer(0, 5, 60, 61, -1), med: integer(0, 4294967295, 4294967296, -1) }),
    peers: list(peer)
  }, ["asn"])
})

/** One field at a time, so that each is refused or taken for itself. */
export const single: fc.Arbitrary<unknown> = fc.oneof(
  fc.record({ cidr6: cidr }),
  fc.record({ cidr4: cidr }),
  cidr.map((c) => ({ cidr6: "2001:db8:1::/64", anycast: { allowedCIDRs: [c] } })),
  grant.map((g) => ({ cidr6: "2001:db8:1::/64", anycast: { grants: [g] } })),
  cidr.map((c) => ({ cidr6: "2001:db8:1::/64", bgp: { asn: 65001, importCIDRs: [c] } })),
  fc.oneof(address, scoped).map((a) => ({
    cidr6: "2001:db8:1::/64",
    bgp: { asn: 65001, peers: [{ address: a, asn: 65000 }] }
  })),
  ifName.map((i) => ({ cidr6: "2001:db8:1::/64", bgp: { asn: 65001, peers: [{ interface: i, asn: "external" }] } })),
  fc.tuple(address, fc.constantFrom("2001:db8::1", "192.0.2.1", "fe80::1%eth0")).map(([localAddress, a]) => ({
    cidr6: "2001:db8:1::/64",
    bgp: { asn: 65001, peers: [{ address: a, localAddress, asn: 65000 }] }
  })),
  community.map((c) => ({
    cidr6: "2001:db8:1::/64",
    bgp: { asn: 65001, peers: [{ address: "2001:db8::1", asn: 65000, communities: [c] }] }
  })),
  peer.map((p) => ({ cidr4: "10.42.1.0/24", bgp: { asn: 65001, peers: [p] } }))
)
