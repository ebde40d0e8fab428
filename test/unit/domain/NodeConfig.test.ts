import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { formatCidr } from "../../../src/domain/Ip.ts"
import { API_VERSION, decode, type NodeConfigInvalid, sameSpec, specWarnings } from "../../../src/domain/NodeConfig.ts"
import { peerName } from "../../../src/domain/peerAddress.ts"
import { quote } from "../../../src/domain/quote.ts"
import { anyUnit } from "../ipam/support.ts"

const object = (spec: unknown, head: Record<string, unknown> = {}) => ({
  apiVersion: API_VERSION,
  kind: "NodeConfig",
  metadata: { name: "host001", generation: 7, uid: "u-1" },
  spec,
  ...head
})

const CIDRS = { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24" }
const withOnly = (peer: object) => ({ ...CIDRS, bgp: { asn: 65001, peers: [peer] } })
const withPeer = (peer: Record<string, unknown>) => ({
  ...CIDRS,
  bgp: { asn: 65001, peers: [{ address: "2001:db8:ffff::1", asn: 65000, ...peer }] }
})

const PRINTABLE = /^[\x20-\x7e]*$/

const problemsOf = (input: unknown): NodeConfigInvalid => Result.getOrThrow(Result.flip(decode("host001", input)))

describe("decode", () => {
  it("reads the example of the design", () => {
    const config = Result.getOrThrow(decode(
      "host001",
      object({
        ...CIDRS,
        mtu: 1500,
        defaults: { ipv6: true, ipv4: true, ipAlgo: ["namespace", "pod"] },
        anycast: { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] },
        bgp: {
          asn: 65001,
          routerID: "192.0.2.2",
          importCIDRs: [],
          peers: [{
            address: "2001:db8:ffff::1",
            asn: 65000,
            holdTimeSeconds: 9,
            bfd: false,
            passwordSecretRef: { name: "tor", key: "password" },
            multihop: 0,
            communities: ["65001:100", "65001:1:4294967295"]
          }]
        }
      })
    ))
    assert.deepStrictEqual([config.name, config.generation, config.uid], ["host001", 7, "u-1"])
    assert.deepStrictEqual(config.spec.anycast.allowedCIDRs.map(formatCidr), ["2001:db8:a::/64", "192.0.2.0/24"])
    const peer = config.spec.bgp?.peers[0]
    assert.strictEqual(peer && peerName(peer), "2001:db8:ffff::1")
    assert.deepStrictEqual([peer?.port, peer?.holdTimeSeconds, peer?.ttlSecurity, peer?.gracefulRestart], [
      179,
      9,
      false,
      true
    ])
  })

  it("fills in defaults: dual-stack, nothing allowed, no BGP", () => {
    const { spec } = Result.getOrThrow(decode("host001", object({ cidr6: "2001:db8:1::/64" })))
    assert.deepStrictEqual([spec.defaults, spec.anycast, spec.bgp, spec.cidr4, spec.mtu], [
      { ipv6: true, ipv4: true },
      { allowedCIDRs: [], grants: [], maxPerPod: 8, maxPerNamespace: 32, maxPerNode: 256 },
      undefined,
      undefined,
      undefined
    ])
  })

  it.each([
    ["IPv6 at the limits", { cidr6: "2001:db8::/126" }],
    ["IPv4 at the limits", { cidr4: "10.0.0.0/8" }],
    ["unique local", { cidr6: "fd00:1::/64" }],
    ["shared address space", { cidr4: "100.64.0.0/16" }],
    ["a router on the node itself", withPeer({ address: "127.0.0.1" })],
    ["a cloud gateway", withPeer({ address: "169.254.100.1" })],
    ["keepalives off", withPeer({ holdTimeSeconds: 0 })],
    ["everything importable", { ...CIDRS, bgp: { asn: 65001, importCIDRs: ["0.0.0.0/0", "::/0"] } }]
  ])("accepts %s", (_, spec) => assert.isTrue(Result.isSuccess(decode("host001", object(spec)))))

  const long = "z".repeat(1_000_000)
  it.each<[string, unknown, string, RegExp]>([
    ["no spec", undefined, "spec", /^needs cidr6, cidr4 or both/],
    ["a list for spec", [], "spec", /^\[\]: must be a mapping of fields$/],
    ["no CIDR", { mtu: 1500 }, "spec", /^needs cidr6, cidr4 or both/],
    ["unknown field", { ...CIDRS, cidr5: "x" }, "spec.cidr5", /^unknown field: remove it or correct its name$/],
    ["unknown peer field", withPeer({ asm: 1 }), "spec.bgp.peers[0].asm", /^unknown field/],
    ["unprintable field", { ...CIDRS, "a\u001b": 1 }, "spec[\"a\\u001b\"]", /^unknown field/],
    ["number for a CIDR", { cidr6: 5 }, "spec.cidr6", /^5: must be a string$/],
    ["null for a CIDR", { cidr6: null }, "spec.cidr6", /^null: must be a string$/],
    ["host bits", { cidr6: "2001:db8::1/64" }, "spec.cidr6", /^"2001:db8::1\/64": .*did you mean 2001:db8::\/64\?$/],
    ["other family", { cidr6: CIDRS.cidr4 }, "spec.cidr6", /^"10\.42\.1\.0\/24": must be an IPv6 prefix, such as/],
    ["other family", { cidr4: CIDRS.cidr6 }, "spec.cidr4", /^"2001:db8:1::\/64": must be an IPv4 prefix, such as/],
    ["too small", { cidr4: "10.0.0.0/31" }, "spec.cidr4", /^"10\.0\.0\.0\/31": the prefix length must be 8 to 30$/],
    ["too small", { cidr6: "2001:db8::/127" }, "spec.cidr6", /the prefix length must be 16 to 126$/],
    ["too large", { cidr6: "2000::/3" }, "spec.cidr6", /the prefix length must be 16 to 126$/],
    ["link-local", { cidr6: "fe80::/64" }, "spec.cidr6", /^"fe80::\/64": overlaps a range that is link-local/],
    ["multicast", { cidr6: "ff05::/64" }, "spec.cidr6", /multicast/],
    ["loopback", { cidr4: "127.0.0.0/8" }, "spec.cidr4", /loopback/],
    ["around link-local", { cidr4: "169.0.0.0/8" }, "spec.cidr4", /link-local \(RFC 3927\)/],
    ["multicast", { cidr4: "239.0.0.0/8" }, "spec.cidr4", /multicast/],
    ["this network", { cidr4: "0.0.0.0/8" }, "spec.cidr4", /this network/],
    ["hostile text", { cidr6: `\u0000\u202e}${long}` }, "spec.cidr6", /^"\\u0000\\u202e\}z+\.\.\.: not a prefix/],
    ["quoted number", { ...CIDRS, mtu: "1500" }, "spec.mtu", /^"1500": must be a number, without quotes$/],
    ["fraction", { ...CIDRS, mtu: 1500.5 }, "spec.mtu", /^1500\.5: must be a whole number$/],
    ["small MTU", { ...CIDRS, mtu: 1279 }, "spec.mtu", /^1279: must be 1280 to 65535$/],
    ["text for a switch", { ...CIDRS, defaults: { ipv4: "no" } }, "spec.defaults.ipv4", /^"no": must be true or false/],
    [
      "unknown algo",
      { ...CIDRS, defaults: { ipAlgo: ["node"] } },
      "spec.defaults.ipAlgo[0]",
      /^"node": must be one of/
    ],
    ["algo twice", { ...CIDRS, defaults: { ipAlgo: ["pod", "pod"] } }, "spec.defaults.ipAlgo", /at most once/],
    ["empty algo", { ...CIDRS, defaults: { ipAlgo: [] } }, "spec.defaults.ipAlgo", /one at least/],
    [
      "text for a list",
      { ...CIDRS, anycast: { allowedCIDRs: "::/0" } },
      "spec.anycast.allowedCIDRs",
      /must be a list$/
    ],
    [
      "bad allow-list",
      { ...CIDRS, anycast: { allowedCIDRs: ["::/0", "x"] } },
      "spec.anycast.allowedCIDRs[1]",
      /"x": not a/
    ],
    [
      "an allow-list of loopback",
      { ...CIDRS, anycast: { allowedCIDRs: ["::/0", "127.8.0.0/16"] } },
      "spec.anycast.allowedCIDRs[1]",
      /^"127\.8\.0\.0\/16": lies in a range that is loopback \(RFC 1122\): no pod can have an address of it$/
    ],
    [
      "a grant of everything",
      { ...CIDRS, anycast: { grants: [{ cidr: "0.0.0.0/0", namespaces: ["shop"] }] } },
      "spec.anycast.grants[0].cidr",
      /^"0\.0\.0\.0\/0": would grant every address there is; write the prefixes that these namespaces may announce$/
    ],
    [
      "a grant that covers the node's prefix",
      { ...CIDRS, anycast: { grants: [{ cidr: "10.0.0.0/8", namespaces: ["shop"] }] } },
      "spec.anycast.grants[0].cidr",
      /^"10\.0\.0\.0\/8": has the node's own 10\.[0-9.]+\/24 in it, where other pods' addresses come from; write/
    ],
    [
      "a grant of multicast",
      { ...CIDRS, anycast: { grants: [{ cidr: "ff02::/16", namespaces: ["shop"] }] } },
      "spec.anycast.grants[0].cidr",
      /lies in a range that is multicast/
    ],
    [
      "a grant to nobody",
      { ...CIDRS, anycast: { grants: [{ cidr: "192.0.2.0/24", namespaces: [] }] } },
      "spec.anycast.grants[0].namespaces",
      /must list 1 to 64 namespaces$/
    ],
    [
      "a pattern that is none",
      { ...CIDRS, anycast: { grants: [{ cidr: "192.0.2.0/24", namespaces: ["shop", "team-[ab]"] }] } },
      "spec.anycast.grants[0].namespaces[1]",
      /^"team-\[ab\]": must be a namespace's name, or a glob in which \* stands for any characters/
    ],
    [
      "a limit below 0",
      { ...CIDRS, anycast: { maxPerNode: -1 } },
      "spec.anycast.maxPerNode",
      /^-1: must be 0 to 65535$/
    ],
    [
      "an import of link-local",
      { ...CIDRS, bgp: { asn: 1, importCIDRs: ["fe80::/10"] } },
      "spec.bgp.importCIDRs[0]",
      /^"fe80::\/10": lies in a range that is link-local \(RFC 4291\): nothing of it is ever learned$/
    ],
    ["no ASN", { ...CIDRS, bgp: {} }, "spec.bgp.asn", /^is required$/],
    ["ASN 0", { ...CIDRS, bgp: { asn: 0 } }, "spec.bgp.asn", /^0: must be 1 to 4294967294$/],
    ["router ID 0", { ...CIDRS, bgp: { asn: 1, routerID: "0.0.0.0" } }, "spec.bgp.routerID", /must be a router ID/],
    ["short router ID", { ...CIDRS, bgp: { asn: 1, routerID: "1.2.3" } }, "spec.bgp.routerID", /"1\.2\.3": must be/],
    [
      "link-local peer",
      withPeer({ address: "fe80::1" }),
      "spec.bgp.peers[0].address",
      /^"fe80::1": is link-local .*fe80::1%eth0/
    ],
    ["zone of a global address", withPeer({ address: "2001:db8::1%eth0" }), "spec.bgp.peers[0].address", /only a link/],
    ["no zone", withPeer({ address: "fe80::1%" }), "spec.bgp.peers[0].address", /must be the name of an interface/],
    ["a pod's link", withPeer({ address: "fe80::1%flock0a1b2c3d" }), "spec.bgp.peers[0].address", /host end of a pod/],
    [
      "a pod's link as interface",
      withOnly({ interface: "flock0a1b2c3d", asn: 2 }),
      "spec.bgp.peers[0].interface",
      /^"flock0a1b2c3d": must be an interface that leads to a router/
    ],
    ["lo", withOnly({ interface: "lo", asn: 2 }), "spec.bgp.peers[0].interface", /leads to a router/],
    [
      "BIRD in a name",
      withOnly({ interface: "e\"; }", asn: 2 }),
      "spec.bgp.peers[0].interface",
      /name of an/
    ],
    ["both places", withPeer({ interface: "eth0" }), "spec.bgp.peers[0]", /^needs address or interface, and not both$/],
    ["no place", withOnly({ asn: 2 }), "spec.bgp.peers[0]", /^needs address or interface/],
    [
      "hops on a link",
      withPeer({ address: "fe80::1%eth0", multihop: 2 }),
      "spec.bgp.peers[0].multihop",
      /^2: must be 0 for a router on an interface's own link$/
    ],
    [
      "an interface twice",
      { ...CIDRS, bgp: { asn: 1, peers: [{ interface: "eth0", asn: 2 }, { interface: "eth0", asn: "external" }] } },
      "spec.bgp.peers[1].interface",
      /^"eth0": two peers have this interface$/
    ],
    [
      "an interface and an address on it",
      { ...CIDRS, bgp: { asn: 1, peers: [{ interface: "eth0", asn: 2 }, { address: "fe80::1%eth0", asn: 2 }] } },
      "spec.bgp.peers[1].address",
      /must be the only peer on eth0/
    ],
    ["AS number in words", withPeer({ asn: "any" }), "spec.bgp.peers[0].asn", /must be an AS number .*external/],
    ["unspecified peer", withPeer({ address: "::" }), "spec.bgp.peers[0].address", /^"::": is unspecified/],
    ["multicast peer", withPeer({ address: "224.0.0.5" }), "spec.bgp.peers[0].address", /is multicast/],
    ["BIRD syntax", withPeer({ address: "::1; }" }), "spec.bgp.peers[0].address", /^"::1; \}": not an IP address/],
    [
      "hold time",
      withPeer({ holdTimeSeconds: 2 }),
      "spec.bgp.peers[0].holdTimeSeconds",
      /^2: must be 0 or 3 to 65535$/
    ],
    ["port", withPeer({ port: 65536 }), "spec.bgp.peers[0].port", /^65536: must be 1 to 65535$/],
    [
      "community",
      withPeer({ communities: ["a:b"] }),
      "spec.bgp.peers[0].communities[0]",
      /^"a:b": must be a community/
    ],
    [
      "community",
      withPeer({ communities: ["70000:1"] }),
      "spec.bgp.peers[0].communities[0]",
      /^"70000:1": .*0 to 65535$/
    ],
    [
      "large one",
      withPeer({ communities: ["1:1:4294967296"] }),
      "spec.bgp.peers[0].communities[0]",
      /0 to 4294967295$/
    ],
    [
      "a local address of the other family",
      withPeer({ localAddress: "192.0.2.9" }),
      "spec.bgp.peers[0].localAddress",
      /^"192\.0\.2\.9": must be of the same family/
    ],
    [
      "a local address beside an interface",
      withOnly({ interface: "eth0", asn: 2, localAddress: "192.0.2.9" }),
      "spec.bgp.peers[0].localAddress",
      /^"192\.0\.2\.9": must not be set/
    ],
    ["a link-local one", withPeer({ localAddress: "fe80::9" }), "spec.bgp.peers[0].localAddress", /is link-local/],
    ["a prefix for an address", withPeer({ localAddress: "::9/64" }), "spec.bgp.peers[0].localAddress", /::9\/64/],
    ["multihop and GTSM", withPeer({ multihop: 2, ttlSecurity: true }), "spec.bgp.peers[0].ttlSecurity", /RFC 5082/],
    [
      "secret",
      withPeer({ passwordSecretRef: { name: "A B", key: "k" } }),
      "spec.bgp.peers[0].passwordSecretRef.name",
      /^must be the name of a Secret/
    ],
    [
      "secret",
      withPeer({ passwordSecretRef: { name: "a" } }),
      "spec.bgp.peers[0].passwordSecretRef.key",
      /^is required$/
    ]
  ])("refuses %s (case %#)", (_, spec, field, message) => {
    const { problems } = problemsOf(object(spec))
    assert.deepStrictEqual(problems.map((p) => p.field), [field])
    assert.match(problems[0]?.message ?? "", message)
  })

  it("refuses two peers with one address, however it is written", () => {
    const peers = ["2001:db8::1", "192.0.2.1", "2001:DB8:0::1"].map((address) => ({ address, asn: 65000 }))
    assert.deepStrictEqual(problemsOf(object({ ...CIDRS, bgp: { asn: 65001, peers } })).problems, [
      { field: "spec.bgp.peers[2].address", message: "\"2001:db8::1\": two peers have this address" }
    ])
  })

  it.each<[unknown, ReadonlyArray<string>]>([
    [object(CIDRS, { kind: "Pod" }), ["kind"]],
    [object(CIDRS, { apiVersion: "flock.fritzlab.net/v1" }), ["apiVersion"]],
    [object(CIDRS, { metadata: { name: "host002" } }), ["metadata.name"]],
    [null, ["apiVersion", "kind", "metadata.name", "spec"]],
    ["text", ["apiVersion", "kind", "metadata.name", "spec"]]
  ])(
    "looks at the head: %j",
    (input, fields) => assert.deepStrictEqual(problemsOf(input).problems.map((p) => p.field), fields)
  )

  it("tells every problem at once, and a bounded number of them in the message", () => {
    const error = problemsOf(object({ cidr6: "x", mtu: 1, anycast: { allowedCIDRs: Array(1000).fill("x") } }))
    assert.lengthOf(error.problems, 1002)
    assert.match(error.message, /^NodeConfig host001 is not valid: spec\.cidr6: "x": .*; and 992 more problems$/)
    assert.isBelow(error.message.length, 2000)
    assert.deepStrictEqual([error.name, error.generation], ["host001", 7])
  })

  it("survives YAML that refers to itself", () => {
    const circle: Array<unknown> = []
    circle.push(circle)
    assert.strictEqual(
      problemsOf(object({ ...CIDRS, anycast: { allowedCIDRs: circle } })).problems[0]?.field,
      "spec.anycast.allowedCIDRs[0]"
    )
  })

  it("never throws, and never says anything unprintable", () => {
    const specs = fc.dictionary(fc.constantFrom("cidr6", "cidr4", "mtu", "bgp", "x"), fc.anything())
    fc.assert(fc.property(specs, (spec) => {
      const message = Result.match(decode("host001", object(spec)), { onFailure: String, onSuccess: () => "" })
      assert.match(message, PRINTABLE)
      // Schema's own words would be.
      assert.notMatch(message, /Expected|Missing key|Invalid data|Unexpected/)
    }))
  })
})

const read = (spec: unknown, generation: number) =>
  Result.getOrThrow(decode("host001", object(spec, { metadata: { name: "host001", generation } })))

it("sameSpec looks at what is asked for, not at how it is written or at metadata", () => {
  assert.isTrue(sameSpec(read(CIDRS, 1), read({ cidr4: "10.42.1.0/24", cidr6: "2001:DB8:1:0::/64", defaults: {} }, 2)))
  assert.isFalse(sameSpec(read(CIDRS, 1), read({ ...CIDRS, mtu: 1500 }, 1)))
  assert.isFalse(sameSpec(read(CIDRS, 1), read({ ...CIDRS, cidr4: "10.42.2.0/24" }, 1)))
})

it("warns of what is taken as it is written, although it can hardly be meant", () => {
  const warnings = (allowedCIDRs: ReadonlyArray<string>) =>
    specWarnings(Result.getOrThrow(decode("host001", object({ ...CIDRS, anycast: { allowedCIDRs } }))).spec)
  assert.deepStrictEqual(warnings(["192.0.2.0/24", "2001:db8:a::/64"]), [])
  assert.match(
    warnings(["192.0.2.0/24", "::/0"])[0] ?? "",
    /^spec\.anycast\.allowedCIDRs\[1\]: "::\/0": lets every names/
  )
  assert.match(warnings(["10.0.0.0/8"])[0] ?? "", /has the node's own 10\.[0-9.]+\/24 in it/)
  assert.lengthOf(warnings(Array<string>(50).fill("::/0")), 10)
})

it.each([
  { password: "s3cret" },
  { passwrod: { value: "s3cret" } },
  { passwordSecretRef: "s3cret" },
  { passwordSecretRef: { name: "s3cret, and blanks", key: "k" } },
  { passwordSecretRef: { name: "tor", key: "s3cret, and blanks" } },
  { passwordSecretRef: { name: "tor", key: "k", value: "s3cret" } },
  { communities: { password: "s3cret" } }
])("a password in the wrong place is refused and not repeated: %j", (peer) => {
  const refused = decode("host001", object(withPeer(peer)))
  assert.isTrue(Result.isFailure(refused))
  assert.notInclude(Result.isFailure(refused) ? refused.failure.message : "s3cret", "s3cret")
})

describe("quote", () => {
  it.each<[unknown, string]>([
    ["plain", "\"plain\""],
    ["\"\\\n\u0007\u007f\u2028ü", "\"\\\"\\\\\\n\\u0007\\u007f\\u2028\\u00fc\""],
    [undefined, "undefined"],
    [1n, "a value that is not JSON"],
    [{ a: [1] }, "{\"a\":[1]}"]
  ])("case %#", (value, text) => assert.strictEqual(quote(value), text))

  it("is printable and at most 80 characters long", () =>
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: anyUnit, maxLength: 500 }), fc.anything()), (value) =>
        assert.match(quote(value), /^[\x20-\x7e]{1,80}$/))
    ))
})
