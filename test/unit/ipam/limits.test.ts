/** Limits of announcements in the service that enforces them: the last place, given up and taken. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { address } from "../../../src/domain/Ip.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import { Ipam } from "../../../src/ipam/Ipam.ts"
import { addresses, allocation } from "../fixtures.ts"
import { pod, request, spec } from "./support.ts"

const of = (anycast: object) => spec({ anycast: { allowedCIDRs: ["192.0.2.0/24"], ...anycast } })

const ask = (anycast: string, options: { readonly namespace?: string; readonly limits?: object } = {}) =>
  request({}, {
    pod: { ...pod({ anycast }), namespace: options.namespace ?? "shop" },
    spec: of(options.limits ?? { maxPerNamespace: 2, maxPerNode: 3 })
  })

const refusedWith = (field: string) => (error: { readonly reason: string; readonly message: string }) => {
  assert.strictEqual(error.reason, "OverLimit")
  assert.include(error.message, `spec.anycast.${field} is `)
}

describe("limits", () => {
  it.effect("of two ADDs at once one takes the last place, and a release gives it back", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      yield* ipam.reserve(ask("192.0.2.1"))
      const both = [ask("192.0.2.2"), ask("192.0.2.3")]
      const results = yield* Effect.forEach(both, (it) => Effect.result(ipam.reserve(it)), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(results.map(({ _tag }) => _tag), ["Success", "Failure"])
      refusedWith("maxPerNamespace")(yield* Effect.flip(ipam.reserve(ask("192.0.2.3"))))
      yield* ipam.release(both[0]?.owner ?? "")
      yield* ipam.release(both[0]?.owner ?? "")
      yield* ipam.reserve(ask("192.0.2.3"))
      refusedWith("maxPerNamespace")(yield* Effect.flip(ipam.reserve(ask("192.0.2.2"))))
    }).pipe(Effect.provide(Ipam.layer)))

  it.effect("a refused ADD holds nothing", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      refusedWith("maxPerPod")(
        yield* Effect.flip(ipam.reserve(ask("192.0.2.1,192.0.2.2", { limits: { maxPerPod: 1 } })))
      )
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 0)
      yield* ipam.reserve(ask("192.0.2.1,192.0.2.2"))
      yield* ipam.reserve(ask("192.0.2.3", { namespace: "other" }))
      refusedWith("maxPerNode")(yield* Effect.flip(ipam.reserve(ask("192.0.2.4", { namespace: "third" }))))
      // A place that the node has taken already is nobody's more.
      yield* ipam.reserve(ask("192.0.2.1,192.0.2.2", { namespace: "third" }))
    }).pipe(Effect.provide(Ipam.layer)))

  it.effect("a chosen address counts as an anycast one does", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const chosen = request({ addresses: "192.0.2.7" }, { spec: of({ maxPerNode: 1 }) })
      yield* ipam.reserve(chosen)
      refusedWith("maxPerNode")(yield* Effect.flip(ipam.reserve(ask("192.0.2.8", { limits: { maxPerNode: 1 } }))))
      yield* ipam.release(chosen.owner)
      yield* ipam.reserve(ask("192.0.2.8", { limits: { maxPerNode: 1 } }))
    }).pipe(Effect.provide(Ipam.layer)))

  it.effect("adopted allocations count, are never refused, and give back", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const adopted = allocation({
        pod: { namespace: "shop", name: "dns", uid: "" },
        addresses: addresses({ anycast: ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map(address) })
      })
      yield* ipam.adopt(adopted)
      yield* ipam.adopt(adopted)
      refusedWith("maxPerNamespace")(yield* Effect.flip(ipam.reserve(ask("192.0.2.5"))))
      refusedWith("maxPerNode")(yield* Effect.flip(ipam.reserve(ask("192.0.2.5", { namespace: "other" }))))
      const error = yield* Effect.flip(ipam.reserve(request({ addresses: "192.0.2.1" }, { spec: of({}) })))
      assert.include(error.message, "in use by shop/dns")
      yield* ipam.release("c1/eth0")
      yield* ipam.reserve(ask("192.0.2.5,192.0.2.6"))
    }).pipe(Effect.provide(Ipam.layer)))

  it.effect("a pod's own family decides what counts", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const six = request({ anycast: "192.0.2.1,192.0.2.2", ipv4: "false" }, { spec: of({ maxPerPod: 0 }) })
      assert.lengthOf((yield* ipam.reserve(six)).warnings, 2)
    }).pipe(Effect.provide(Ipam.layer)))
})
