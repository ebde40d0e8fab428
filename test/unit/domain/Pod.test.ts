import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { fromObject, podKey } from "../../../src/domain/Pod.ts"

const DIGEST = "0123456789abcdef".repeat(4)
const OTHER = "f".repeat(64)

const digestOf = (spec: unknown, status: unknown) => fromObject({ metadata: { name: "x" }, spec, status })?.imageDigest

describe("fromObject", () => {
  it("reads a Pod of the API", () => {
    const pod = fromObject({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: "web-0",
        namespace: "shop",
        uid: "1b4e28ba",
        annotations: { "flock.fritzlab.net/anycast": "192.0.2.1", "example.org/other": "x" }
      },
      spec: { containers: [{ image: `registry.example/web@sha256:${DIGEST}` }] },
      status: { conditions: [{ type: "PodScheduled", status: "True" }, { type: "Ready", status: "True" }] }
    })
    assert.deepStrictEqual(pod, {
      namespace: "shop",
      name: "web-0",
      uid: "1b4e28ba",
      ready: true,
      deleting: false,
      annotations: { anycast: "192.0.2.1" },
      imageDigest: DIGEST
    })
  })

  it("fills in what is missing", () =>
    assert.deepStrictEqual(fromObject({ metadata: { name: "x" } }), {
      namespace: "default",
      name: "x",
      uid: "",
      ready: false,
      deleting: false,
      annotations: {}
    }))

  it.each([undefined, null, 5, "pod", [], {}, { metadata: null }, { metadata: { name: 5 } }, {
    metadata: { name: "" }
  }])(
    "%j is no pod",
    (object) => assert.isUndefined(fromObject(object))
  )

  it.each([
    [[{ type: "Ready", status: "False" }], false],
    [[{ type: "Ready", status: "Unknown" }], false],
    [[{ type: "Ready", status: true }], false],
    [[{ type: "ContainersReady", status: "True" }], false],
    [[], false],
    ["Ready", false],
    [[null, { type: "Ready", status: "True" }], true]
  ])(
    "conditions %j: ready %j",
    (conditions, ready) =>
      assert.strictEqual(fromObject({ metadata: { name: "x" }, status: { conditions } })?.ready, ready)
  )

  it.each([
    ["Failed", "Failed"],
    ["Succeeded", "Succeeded"],
    ["Running", undefined],
    ["Pending", undefined],
    ["Unknown", undefined],
    [undefined, undefined]
  ])("phase %s: ended %s, and Ready as the condition says", (phase, ended) => {
    const conditions = [{ type: "Ready", status: "True" }, { type: "DisruptionTarget", status: "True" }]
    const pod = fromObject({ metadata: { name: "x" }, status: { phase, conditions } })
    assert.strictEqual(pod?.ended, ended)
    assert.isTrue(pod?.ready)
  })

  it.each([
    [{ deletionTimestamp: "2026-01-01T00:00:00Z" }, true],
    [{ deletionTimestamp: null }, false],
    [{}, false]
  ])(
    "%j: deleting %j",
    (metadata, deleting) => assert.strictEqual(fromObject({ metadata: { name: "x", ...metadata } })?.deleting, deleting)
  )

  it("takes the first container's digest: the image's before the status's, and no other container's", () => {
    const running = { containerStatuses: [{ imageID: `docker.io/web@sha256:${OTHER}` }] }
    assert.strictEqual(digestOf({ containers: [{ image: `web:1@sha256:${DIGEST}` }] }, running), DIGEST)
    assert.strictEqual(digestOf({ containers: [{ image: "web:1" }] }, running), OTHER)
    assert.isUndefined(digestOf({ containers: [{ image: "a" }, { image: `b@sha256:${DIGEST}` }] }, {}))
    assert.isUndefined(digestOf({ containers: [{ image: `a@sha256:${DIGEST}0` }] }, {}))
    assert.isUndefined(digestOf({ containers: [{ image: `a@sha256:${DIGEST.toUpperCase()}` }] }, {}))
  })

  it("takes a file's unquoted booleans and numbers as their text", () => {
    const annotations = { "flock.fritzlab.net/ipv4": false, "flock.fritzlab.net/ipv6": true, "flock.fritzlab.net/n": 5 }
    assert.deepStrictEqual(fromObject({ metadata: { name: "x", annotations } })?.annotations, {
      ipv4: "false",
      ipv6: "true",
      n: "5"
    })
  })

  it("keeps 32 annotations of flock's and 4097 characters of each, however many and long there are", () => {
    const annotations = Object.fromEntries(
      Array.from({ length: 100 }, (_, i) => [`flock.fritzlab.net/n${i}`, "x".repeat(200_000)])
    )
    const kept = Object.values(fromObject({ metadata: { name: "x", annotations } })?.annotations ?? {})
    assert.deepStrictEqual(kept.map(({ length }) => length), Array.from({ length: 32 }, () => 4097))
  })

  it("never throws, and gives strings only as annotations", () =>
    fc.assert(fc.property(fc.anything(), fc.anything(), fc.anything(), (annotations, spec, status) => {
      const marked = typeof annotations === "object" ? annotations : { "flock.fritzlab.net/cidr4": annotations }
      const pod = fromObject({ metadata: { name: "x", annotations: marked }, spec, status })
      for (const value of Object.values(pod?.annotations ?? {})) assert.isString(value)
    })))
})

it("podKey", () => assert.strictEqual(podKey({ namespace: "shop", name: "web-0" }), "shop/web-0"))
