import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { type NodeFacts, NUMBERS, resolve, specHash } from "../../../src/fleet/resolve.ts"

const node: NodeFacts = {
  name: "host001",
  labels: { asn: "65001", rack: "a", "example.org/asn": "4200000001" },
  annotations: { "example.org/tor": "2001:db8:ffff::1", routerID: "192.0.2.2", secret: "12345" },
  podCIDRs: ["10.42.1.0/24", "2001:db8:1::/64"],
  gateways: { ipv6: "fe80::1%eth0", ipv4: "203.0.113.1" }
}

const spec = (template: Record<string, unknown>, facts = node) => Result.getOrThrow(resolve(template, facts))
const problems = (template: Record<string, unknown>, facts: Partial<NodeFacts> = {}) =>
  Result.match(resolve(template, { ...node, ...facts }), {
    onFailure: (all) => all.map(({ field, message }) => `${field}: ${message}`),
    onSuccess: () => []
  })

describe("a NodeConfigSpec from a template", () => {
  it("has the node's own values in place of the references", () => {
    assert.deepStrictEqual(
      spec({
        cidrs: "podCIDRs",
        mtu: 9000,
        anycast: { grants: [{ cidr: "192.0.2.0/24", namespaces: ["shop"] }] },
        bgp: {
          asn: { fromLabel: "example.org/asn" },
          routerID: { fromAnnotation: "routerID" },
          peers: [
            { gateway: "ipv6", asn: 65000 },
            { gateway: "ipv4", asn: { fromLabel: "asn" }, bfd: true },
            { interface: "eth1", asn: "external" },
            {
              address: { fromAnnotation: "example.org/tor" },
              asn: 65000,
              passwordSecretRef: { name: { fromLabel: "rack" }, key: { fromAnnotation: "secret" } }
            }
          ]
        }
      }),
      {
        cidr6: "2001:db8:1::/64",
        cidr4: "10.42.1.0/24",
        mtu: 9000,
        anycast: { grants: [{ cidr: "192.0.2.0/24", namespaces: ["shop"] }] },
        bgp: {
          asn: 4200000001,
          routerID: "192.0.2.2",
          peers: [
            { asn: 65000, address: "fe80::1%eth0" },
            { asn: 65001, bfd: true, address: "203.0.113.1" },
            { interface: "eth1", asn: "external" },
            // Digits stay text where the field is text.
            { address: "2001:db8:ffff::1", asn: 65000, passwordSecretRef: { name: "a", key: "12345" } }
          ]
        }
      }
    )
    assert.deepStrictEqual(spec({ cidrs: "podCIDRs" }, { ...node, podCIDRs: ["10.42.1.0/24"] }), {
      cidr4: "10.42.1.0/24"
    })
    assert.deepStrictEqual(spec({ cidr4: "10.0.0.0/24" }), { cidr4: "10.0.0.0/24" })
  })

  it("is refused with every field that has no value, and why", () => {
    assert.deepStrictEqual(problems({ cidrs: "podCIDRs" }, { podCIDRs: [] }), [
      "spec.template.cidrs: the Node has no podCIDRs: does kube-controller-manager run with --allocate-node-cidrs=true " +
      "and --cluster-cidr?"
    ])
    assert.deepStrictEqual(
      problems({
        cidrs: "nodeCIDRs",
        bgp: {
          asn: { fromLabel: "nope" },
          routerID: { fromAnnotation: "nope" },
          peers: [{ gateway: "ipv6", asn: 1 }, { gateway: "both" }, { gateway: "ipv4", address: "192.0.2.1" }]
        }
      }, { gateways: {} }),
      [
        `spec.template.bgp.asn: the Node has no label "nope"`,
        `spec.template.bgp.routerID: the Node has no annotation "nope"`,
        `spec.template.cidrs: "nodeCIDRs": must be podCIDRs`,
        "spec.template.bgp.peers[0].gateway: the node has no default gateway of IPv6",
        `spec.template.bgp.peers[1].gateway: "both": must be ipv6 or ipv4`,
        "spec.template.bgp.peers[2].gateway: stands in place of address or interface, not beside it"
      ]
    )
    assert.deepStrictEqual(problems({ cidrs: "podCIDRs", cidr4: "10.0.0.0/24" }), [
      "spec.template.cidrs: stands in place of cidr6 and cidr4, not beside them"
    ])
    assert.deepStrictEqual(problems({ mtu: { fromLabel: "asn", fromAnnotation: "x" } }), [
      "spec.template.mtu: must be { fromLabel: KEY } and nothing else"
    ])
    assert.deepStrictEqual(problems({ mtu: { fromAnnotation: 7 } }), [
      "spec.template.mtu: must be { fromAnnotation: KEY } and nothing else"
    ])
    // A label named as a member of every object is none.
    assert.deepStrictEqual(problems({ mtu: { fromLabel: "constructor" } }), [
      `spec.template.mtu: the Node has no label "constructor"`
    ])
  })

  it("has a hash of its content, however it is ordered", () => {
    const hash = specHash({ a: 1, b: { c: [1, 2], d: "x" } })
    assert.match(hash, /^[0-9a-f]{16}$/)
    assert.strictEqual(specHash({ b: { d: "x", c: [1, 2] }, a: 1 }), hash)
    for (const other of [{ a: 1, b: { c: [2, 1], d: "x" } }, { a: "1", b: { c: [1, 2], d: "x" } }, {}]) {
      assert.notStrictEqual(specHash(other), hash)
    }
  })

  it("knows which fields are numbers", () => {
    assert.includeMembers([...NUMBERS], ["mtu", "asn", "maxPerPod", "holdTimeSeconds", "detectMultiplier"])
    for (const text of ["address", "routerID", "cidr", "namespaces", "communities", "name", "key", "bfd", "ipv6"]) {
      assert.isFalse(NUMBERS.has(text), text)
    }
  })
})
