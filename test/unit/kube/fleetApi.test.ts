import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { decodeTemplate } from "../../../src/domain/NodeConfigTemplate.ts"
import { slimTemplate } from "../../../src/kube/fleetApi.ts"

describe("a template that is kept", () => {
  it("says all that is asked of it without the fields of its managers", () => {
    const entry = (manager: string, time: string, subresource = "") => ({
      manager,
      operation: "Apply",
      apiVersion: "flock.fritzlab.net/v1alpha1",
      time,
      fieldsType: "FieldsV1",
      fieldsV1: { "f:spec": Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`f:field${i}`, {}])) },
      ...(subresource === "" ? {} : { subresource })
    })
    const object = {
      apiVersion: "flock.fritzlab.net/v1alpha1",
      kind: "NodeConfigTemplate",
      metadata: {
        name: "rack-a",
        uid: "u",
        generation: 3,
        resourceVersion: "7",
        annotations: { "flock.fritzlab.net/resume": "3" },
        managedFields: [
          entry("kubectl", "2026-11-26T00:00:00Z"),
          entry("argocd", "2026-11-25T00:00:00Z"),
          entry("flock-agent-host001", "2026-11-26T01:00:00Z", "status")
        ]
      },
      spec: { nodeSelector: {}, template: { mtu: 1500 } },
      status: { failures: [{ node: "host001", generation: 3, reason: "Tie", message: "m" }] }
    }
    const decoded = Result.getOrThrow(decodeTemplate(object))
    assert.strictEqual(decoded.editedAt, Date.parse("2026-11-26T00:00:00Z"))
    const slim = slimTemplate(object)
    assert.deepStrictEqual(Result.getOrThrow(decodeTemplate(slim)), decoded)
    assert.isBelow(JSON.stringify(slim).length, 900)
    assert.deepInclude((slim as typeof object).metadata, { resourceVersion: "7", uid: "u" })
  })

  it("of another shape is what it was", () => {
    assert.deepStrictEqual(slimTemplate({ kind: "X" }), { kind: "X", metadata: { managedFields: [] } })
    assert.deepStrictEqual(slimTemplate(undefined), { metadata: { managedFields: [] } })
  })
})
