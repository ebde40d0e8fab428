/** crd.yaml as the real API server reads it: the same verdicts as the walker of the unit tests, and pruning. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { afterAll, beforeAll } from "vitest"
import { type ApiServer, available, start } from "../../lab/ApiServer.ts"
import { World } from "../../lab/World.ts"
import { single, specs } from "../unit/kube/specs.ts"
import { defaulted, refusals, spec } from "../unit/kube/structural.ts"
import * as lab from "./lab.ts"

describe.runIf(available)("the CRD, with a real API server", () => {
  const world = new World()
  let api: ApiServer

  beforeAll(async () => {
    api = await start(world)
    await lab.prepare(api)
  })
  afterAll(() => world.close())

  const agrees = async (value: unknown) => {
    const object = { ...lab.nodeConfig(), spec: value }
    const { body, status } = await api.call("POST", `${lab.NODECONFIGS}?dryRun=All`, object)
    const expected = refusals(value)
    assert.strictEqual(status, expected.length === 0 ? 201 : 422, JSON.stringify({ value, expected, body }))
    if (status === 201) assert.deepStrictEqual(body.spec, defaulted(spec, value))
  }

  it("takes, refuses and completes what the walker of the unit tests does", async () => {
    const whole = await fc.check(fc.asyncProperty(specs, agrees), { numRuns: 300 })
    assert.isFalse(whole.failed, fc.defaultReportMessage(whole))
    const fields = await fc.check(fc.asyncProperty(single, agrees), { numRuns: 700 })
    assert.isFalse(fields.failed, fc.defaultReportMessage(fields))
  }, 120_000)

  it("says in words which address may not be what", async () => {
    const peer = (address: string) => ({ bgp: { asn: 65001, peers: [{ address, asn: 65000 }] } })
    for (
      const [spec, field, words] of [
        [{ cidr6: "fe80::/64" }, "spec.cidr6", "use unicast space of your own"],
        [{ cidr4: "169.0.0.0/8" }, "spec.cidr4", "use unicast space of your own"],
        [peer("fe80::1"), "spec.bgp.peers[0].address", "write the router's own global address"],
        [peer("224.0.0.5"), "spec.bgp.peers[0].address", "write the router's own global address"]
      ] as const
    ) {
      const object = lab.nodeConfig(lab.NODE, spec)
      const { body, status } = await api.call("POST", `${lab.NODECONFIGS}?dryRun=All`, object)
      assert.strictEqual(status, 422)
      assert.include(body.message, field)
      assert.include(body.message, words)
    }
    const { status } = await api.call(
      "POST",
      `${lab.NODECONFIGS}?dryRun=All`,
      lab.nodeConfig(lab.NODE, peer("127.0.0.1"))
    )
    assert.strictEqual(status, 201)
  })

  it("has the short name nc, prunes unknown fields, and keeps the status out of a spec write", async () => {
    const { body: { resources } } = await api.call("GET", "/apis/flock.fritzlab.net/v1alpha1")
    assert.deepStrictEqual(resources.find((r: { readonly name: string }) => r.name === "nodeconfigs").shortNames, [
      "nc"
    ])
    const { body, status } = await api.call("POST", lab.NODECONFIGS, {
      ...lab.nodeConfig(lab.NODE, { cidr9: "x" }),
      status: { observedGeneration: 7 }
    })
    assert.strictEqual(status, 201)
    assert.isUndefined(body.spec.cidr9)
    assert.isUndefined(body.status)
  })
})
