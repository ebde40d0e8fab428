/** manifests/crd-template.yaml is made from crd.yaml, and src/domain/NodeConfigTemplate.ts says the same. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { readFileSync } from "node:fs"
import { resolve } from "node:path"
import { parse } from "yaml"
import { templateCrd } from "../../../scripts/templateCrd.ts"
import { decodeTemplate } from "../../../src/domain/NodeConfigTemplate.ts"

const text = readFileSync(resolve(import.meta.dirname, "../../../manifests/crd-template.yaml"), "utf8")
const { spec } = parse(text).spec.versions[0].schema.openAPIV3Schema.properties

describe("crd-template.yaml", () => {
  it("is what scripts/templateCrd.ts makes of crd.yaml", () => {
    assert.isTrue(text === templateCrd(), "crd.yaml has changed: npm run generate")
  })

  it("has the defaults of the agent", () => {
    const { spec: decoded } = Result.getOrThrow(decodeTemplate({
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfigTemplate",
      metadata: { name: "x" },
      spec: { nodeSelector: {}, template: {} }
    }))
    assert.strictEqual(spec.properties.priority.default, decoded.priority)
    assert.strictEqual(spec.properties.rollout.properties.seconds.default, decoded.rollout.seconds)
    assert.deepStrictEqual(spec.required, ["nodeSelector", "template"])
  })

  it("knows every field of a NodeConfigSpec, and takes any value in its place", () => {
    const { bgp, cidrs, cidr4, mtu } = spec.properties.template.properties
    assert.deepStrictEqual(cidrs.enum, ["podCIDRs"])
    for (const leaf of [cidr4, mtu, bgp.properties.asn, bgp.properties.peers.items.properties.address]) {
      assert.isTrue(leaf["x-kubernetes-preserve-unknown-fields"])
      assert.notProperty(leaf, "type")
    }
    assert.deepStrictEqual(bgp.properties.peers.items.properties.gateway.enum, ["ipv6", "ipv4"])
  })
})
