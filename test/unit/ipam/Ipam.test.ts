import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Result } from "effect"
import * as fc from "fast-check"
import { address, cidr, contains, formatAddress, type IpAddress, lastOf } from "../../../src/domain/Ip.ts"
import type { NodeConfigSpec } from "../../../src/domain/NodeConfig.ts"
import { NOTHING_OCCUPIED } from "../../../src/domain/occupied.ts"
import * as PodAddresses from "../../../src/domain/PodAddresses.ts"
import { primariesOf, primaryOf } from "../../../src/domain/PodAddresses.ts"
import { reservedIn } from "../../../src/domain/reserved.ts"
import { AddressRandom, Ipam } from "../../../src/ipam/Ipam.ts"
import { effectiveRange } from "../../../src/ipam/range.ts"
import type { Reservation } from "../../../src/ipam/reservation.ts"
import { allocation } from "../fixtures.ts"
import { request, seeded, spec } from "./support.ts"

type IpamService = Context.Service.Shape<typeof Ipam>

const ipamWith = (seed: number) => Ipam.layer.pipe(Layer.provide(Layer.succeed(AddressRandom, seeded(seed))))

const primaries = (r: Reservation): ReadonlyArray<string> => primariesOf(r.addresses).map(formatAddress)

const small = spec({ cidr6: "2001:db8:1::/126", cidr4: "10.42.1.0/30" })
const SHARED = { anycast: { allowedCIDRs: ["192.0.2.0/24", "10.42.1.0/24"] } }

describe("Ipam", () => {
  it.effect("gives two pods different addresses, and a released IPv4 address again, lowest first", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const first = yield* ipam.reserve(request({}, { owner: "a/eth0" }))
      const second = yield* ipam.reserve(request({}, { owner: "b/eth0" }))
      assert.strictEqual(new Set([...primaries(first), ...primaries(second)]).size, 4)
      yield* ipam.release("a/eth0")
      yield* ipam.release("a/eth0")
      const third = yield* ipam.reserve(request({}, { owner: "c/eth0" }))
      assert.deepStrictEqual(third.addresses.ipv4, first.addresses.ipv4)
    }).pipe(Effect.provide(ipamWith(1))))

  it.effect("draws from the system's randomness unless told otherwise", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const drawn = yield* Effect.forEach(Array.from({ length: 100 }), () => ipam.reserve(request()))
      const identifiers = drawn.map((r) => (r.addresses.ipv6?.value ?? 0n) & ((1n << 64n) - 1n))
      assert.strictEqual(new Set(identifiers).size, 100)
      const ones = identifiers.map((n) => n.toString(2).replaceAll("0", "").length).reduce((a, b) => a + b)
      assert.isTrue(ones > 2900 && ones < 3500, `${ones} of 6400 bits set`)
    }).pipe(Effect.provide(Ipam.layer)))

  it.effect("takes nothing when one family fails", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      yield* ipam.reserve(request({ cidr4: "10.42.1.4/30", ipv6: "false" }))
      const before = yield* ipam.usage(spec(), NOTHING_OCCUPIED)
      const failed = request({ cidr4: "10.42.1.4/30" })
      const error = yield* Effect.flip(ipam.reserve(failed))
      assert.strictEqual(error.reason, "Exhausted")
      assert.deepStrictEqual(yield* ipam.usage(spec(), NOTHING_OCCUPIED), before)
      yield* ipam.reserve({ ...failed, pod: { ...failed.pod, annotations: {} } })
    }).pipe(Effect.provide(ipamWith(2))))

  it.effect("refuses a second ADD of the same attachment, and keeps what it holds", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      yield* ipam.reserve(request({}, { owner: "a/eth0" }))
      const error = yield* Effect.flip(ipam.reserve(request({}, { owner: "a/eth0" })))
      assert.deepStrictEqual([error.reason, error.message.includes("a/eth0")], ["InUse", true])
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 1)
    }).pipe(Effect.provide(ipamWith(3))))

  it.effect("is exhausted when the node's CIDRs are, and not before", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      yield* ipam.reserve(request({}, { owner: "a/eth0", spec: small }))
      assert.deepStrictEqual(yield* ipam.usage(small, NOTHING_OCCUPIED), {
        ipv6: { cidr: "2001:db8:1::/126", used: 1, free: 1 },
        ipv4: { cidr: "10.42.1.0/30", used: 1, free: 0 }
      })
      const error = yield* Effect.flip(ipam.reserve(request({}, { spec: small })))
      assert.strictEqual(
        error.message,
        "no free IPv4 address in 10.42.1.0/30: each one is in use or reserved; " +
          "free some or use a larger range"
      )
      yield* ipam.reserve(request({ ipv4: "false" }, { owner: "b/eth0", spec: small }))
      assert.strictEqual(
        (yield* Effect.flip(ipam.reserve(request({ ipv4: "false" }, { spec: small })))).reason,
        "Exhausted"
      )
      yield* ipam.release("a/eth0")
      assert.lengthOf(primaries(yield* ipam.reserve(request({}, { spec: small }))), 2)
    }).pipe(Effect.provide(ipamWith(4))))

  it.effect("reports usage in a /8 and a /16, and caps what is free", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const wide = spec({ cidr6: "2001:db8::/32", cidr4: "10.0.0.0/8" })
      const { addresses } = yield* ipam.reserve(request({}, { spec: wide }))
      assert.deepStrictEqual(addresses.ipv4, address("10.0.0.2"))
      assert.deepStrictEqual(yield* ipam.usage(wide, NOTHING_OCCUPIED), {
        ipv6: { cidr: "2001:db8::/32", used: 1, free: Number.MAX_SAFE_INTEGER },
        ipv4: { cidr: "10.0.0.0/8", used: 1, free: 2 ** 24 - 4 }
      })
    }).pipe(Effect.provide(ipamWith(5))))

  it.effect("keeps what was given out under another CIDR", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const other = spec({ cidr6: "2001:db8:2::/64", cidr4: "10.42.2.0/24" })
      const old = yield* ipam.reserve(request({}, { owner: "old/eth0" }))
      yield* ipam.reserve(request({}, { spec: other }))
      assert.strictEqual((yield* ipam.usage(other, NOTHING_OCCUPIED)).ipv4?.used, 1)
      const back = yield* ipam.reserve(request())
      assert.notDeepEqual(back.addresses.ipv4, old.addresses.ipv4)
      assert.deepStrictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4, {
        cidr: "10.42.1.0/24",
        used: 2,
        free: 251
      })
      yield* ipam.release("old/eth0")
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 1)
    }).pipe(Effect.provide(ipamWith(6))))

  it.effect("does not count an address that is never given out, adopted from another CIDR's time", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      yield* ipam.markInUse("a/eth0", [address("10.42.1.1"), address("10.42.1.9"), address("10.99.0.9")])
      assert.deepStrictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4, {
        cidr: "10.42.1.0/24",
        used: 1,
        free: 252
      })
      yield* ipam.markInUse("b/eth0", [address("10.42.1.0"), address("10.42.1.255"), address("10.99.0.10")])
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 1)
      yield* ipam.release("b/eth0")
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 1)
    }).pipe(Effect.provide(ipamWith(7))))

  it.effect("names the pod that has an address", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      yield* ipam.reserve(request({ cidr4: "10.42.1.9/32" }))
      const error = yield* Effect.flip(ipam.reserve(request({ cidr4: "10.42.1.9/32" })))
      assert.match(error.message, /10\.42\.1\.9 is in use by default\/web-0/)
    }).pipe(Effect.provide(ipamWith(8))))

  it.effect("shares an anycast address until the last pod releases it, and never gives it to a pod as its own", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const asking = { anycast: "10.42.1.2" }
      yield* ipam.reserve(request(asking, { owner: "a/eth0", spec: spec(SHARED) }))
      const b = (yield* ipam.reserve(request(asking, { owner: "b/eth0", spec: spec(SHARED) }))).addresses
      assert.deepStrictEqual([b.anycast, b.ipv4], [[address("10.42.1.2")], address("10.42.1.4")])
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 3)
      yield* ipam.release("a/eth0")
      assert.deepStrictEqual(
        (yield* ipam.reserve(request({}, { owner: "c/eth0" }))).addresses.ipv4,
        address("10.42.1.3")
      )
      yield* ipam.release("b/eth0")
      assert.deepStrictEqual((yield* ipam.reserve(request())).addresses.ipv4, address("10.42.1.2"))
    }).pipe(Effect.provide(ipamWith(9))))
})

describe("Ipam.markInUse", () => {
  const warnings: Array<string> = []
  const capture = Logger.layer([Logger.make(({ message }) => void warnings.push(String(message)))])

  it.effect("keeps addresses from being given out, is idempotent, and leaves an address with its first owner", () =>
    Effect.gen(function*() {
      warnings.length = 0
      const ipam = yield* Ipam
      const [two, three] = [address("10.42.1.2"), address("10.42.1.3")]
      yield* ipam.markInUse("a/eth0", [two])
      yield* ipam.markInUse("a/eth0", [two, three])
      assert.deepStrictEqual(warnings, [])
      yield* ipam.markInUse("b/eth0", [three, address("10.42.1.4")])
      assert.deepStrictEqual(warnings, ["address 10.42.1.3 of b/eth0 is in use by a/eth0; it stays there"])
      assert.deepStrictEqual(
        (yield* ipam.reserve(request({}, { owner: "c/eth0" }))).addresses.ipv4,
        address("10.42.1.5")
      )
      yield* ipam.release("b/eth0")
      assert.deepStrictEqual(
        (yield* ipam.reserve(request({}, { owner: "d/eth0" }))).addresses.ipv4,
        address("10.42.1.4")
      )
      yield* ipam.release("a/eth0")
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 2)
    }).pipe(Effect.provide([ipamWith(10), capture])))

  it.effect("lets several owners have an anycast address, which is no one's primary then", () =>
    Effect.gen(function*() {
      warnings.length = 0
      const ipam = yield* Ipam
      const shared = address("10.42.1.2")
      const holder = (containerId: string, ipv4: string, anycast: string) =>
        allocation({
          containerId,
          addresses: PodAddresses.make({
            primaries: [address(ipv4)],
            gateway4: undefined,
            chosen: [],
            anycast: [address(anycast)]
          })
        })
      yield* ipam.adopt(holder("a", "10.9.9.1", "10.42.1.2"))
      yield* ipam.adopt(holder("b", "10.9.9.2", "10.42.1.2"))
      assert.deepStrictEqual(warnings, [])
      yield* ipam.markInUse("c/eth0", [shared])
      yield* ipam.markInUse("d/eth0", [address("10.42.1.3")])
      yield* ipam.adopt(holder("e", "10.9.9.3", "10.42.1.3"))
      assert.lengthOf(warnings, 2)
      yield* ipam.release("a/eth0")
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 2)
      yield* ipam.release("b/eth0")
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 1)
    }).pipe(Effect.provide([ipamWith(11), capture])))
})

/** What one step of a generated history does; `who` picks an owner, `what` a set of annotations. */
const step = fc.oneof(
  fc.record({ op: fc.constant("add" as const), who: fc.nat(11), what: fc.nat(9), wide: fc.boolean() }),
  fc.record({ op: fc.constant("del" as const), who: fc.nat(11) }),
  fc.record({ op: fc.constant("mark" as const), who: fc.nat(11), offset: fc.nat(15) })
)
type Step = typeof step extends fc.Arbitrary<infer A> ? A : never

const ASKING: ReadonlyArray<Readonly<Record<string, string>>> = [
  {},
  { ipv4: "false" },
  { ipv6: "false" },
  { cidr4: "10.42.1.8/30", cidr6: "2001:db8:1::8/126" },
  { cidr4: "10.42.1.3/32" },
  { cidr6: "2001:db8:1::6/128" },
  { "ip-algo": "namespace" },
  { anycast: "10.42.1.5,192.0.2.1" },
  { addresses: "10.42.1.6" },
  { cidr4: "10.42.9.0/24" }
]

const tight = spec({ cidr6: "2001:db8:1::/124", cidr4: "10.42.1.0/28", ...SHARED })
const wider = spec({ cidr6: "2001:db8:1::/96", cidr4: "10.42.0.0/16", ...SHARED })

interface Held {
  readonly primary: ReadonlyArray<IpAddress>
  readonly anycast: ReadonlyArray<IpAddress>
}

const textsOf = (held: Iterable<Held>, which: keyof Held) => [...held].flatMap((one) => one[which]).map(formatAddress)

const checkGiven = (
  { addresses: given }: Reservation,
  held: ReadonlyMap<string, Held>,
  asked: Record<string, string>,
  of: NodeConfigSpec
) => {
  const taken = new Set([...textsOf(held.values(), "primary"), ...textsOf(held.values(), "anycast")])
  for (const node of [of.cidr6, of.cidr4]) {
    const own = node && primaryOf(given, node.family)
    if (node === undefined || own === undefined) continue
    const wanted = asked[`cidr${node.family}`]?.split(",").map(cidr) ?? []
    const range = Result.getOrThrow(effectiveRange(node, wanted))
    assert.isTrue(contains(range, own), `${formatAddress(own)} is outside its range`)
    assert.isUndefined(reservedIn(node, own), formatAddress(own))
    assert.isUndefined(reservedIn(range, own), formatAddress(own))
    assert.isFalse(taken.has(formatAddress(own)), `${formatAddress(own)} given twice`)
    assert.isFalse(given.anycast.some((a) => formatAddress(a) === formatAddress(own)))
  }
  for (const one of given.anycast) {
    assert.notInclude(textsOf(held.values(), "primary"), formatAddress(one))
  }
}

const isFull = (asked: Record<string, string>, held: ReadonlyMap<string, Held>, of: NodeConfigSpec): boolean =>
  [of.cidr6, of.cidr4].some((node) => {
    if (node === undefined || asked[node.family === 6 ? "ipv6" : "ipv4"] === "false") return false
    const range = Result.getOrThrow(effectiveRange(node, asked[`cidr${node.family}`]?.split(",").map(cidr) ?? []))
    const taken = new Set([...textsOf(held.values(), "primary"), ...textsOf(held.values(), "anycast")])
    const own = new Set(asked["anycast"]?.split(","))
    for (let value = range.base; value <= lastOf(range); value++) {
      const one: IpAddress = { family: node.family, value }
      const text = formatAddress(one)
      const free = !taken.has(text) && !own.has(text) && !reservedIn(range, one) && !reservedIn(node, one)
      if (free) return false
    }
    return true
  })

const play = (ipam: IpamService, steps: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const held = new Map<string, Held>()
    for (const one of steps) {
      const owner = `c${one.who}/eth0`
      if (one.op === "del") {
        yield* ipam.release(owner)
        held.delete(owner)
      } else if (one.op === "mark") {
        const marked = { family: 4, value: cidr("10.42.1.0/28").base + BigInt(one.offset) } as const
        yield* ipam.markInUse(owner, [marked])
        const text = formatAddress(marked)
        const before = held.get(owner) ?? { primary: [], anycast: [] }
        const taken = [...textsOf(held.values(), "primary"), ...textsOf(held.values(), "anycast")].includes(text)
        if (!taken) held.set(owner, { ...before, primary: [...before.primary, marked] })
      } else {
        const asked = ASKING[one.what] ?? {}
        const of = one.wide ? wider : tight
        const result = yield* Effect.result(ipam.reserve(request(asked, { owner, spec: of })))
        if (Result.isSuccess(result)) {
          assert.isFalse(held.has(owner))
          checkGiven(result.success, held, asked, of)
          const { addresses } = result.success
          held.set(owner, { primary: primariesOf(addresses), anycast: addresses.anycast })
        } else if (result.failure.reason === "Exhausted") {
          assert.isTrue(isFull(asked, held, of), `${result.failure.message}, but it is not full`)
        }
      }
      const inUse = new Set([...textsOf(held.values(), "primary"), ...textsOf(held.values(), "anycast")])
      for (const  of of[tight, wider]) {
        const { ipv4, ipv6 } = yield* ipam.usage(of, NOTHING_OCCUPIED)
        const usedOf = (node: typeof of.cidr4) =>
          [...inUse].map(address).filter((a) => node && contains(node, a) && !reservedIn(node, a)).length
        assert.deepStrictEqual([ipv4?.used, ipv6?.used], [usedOf(of.cidr4), usedOf(of.cidr6)])
      }
    }
  }).pipe(Effect.asVoid)

const history = (steps: ReadonlyArray<Step>, seed: number) =>
  Effect.gen(function*() {
    yield* play(yield* Ipam, steps)
  }).pipe(Effect.provide([ipamWith(seed), Logger.layer([])]), Effect.runPromise)

describe("any history of ADD, DEL and adoption", () => {
  it("never gives an address twice, a reserved one, one outside the range, or an error while one is free", async () => {
    const steps = fc.array(step, { maxLength: 50, size: "max" })
    const run = await fc.check(fc.asyncProperty(steps, fc.integer({ min: 1 }), history))
    assert.isFalse(run.failed, fc.defaultReportMessage(run))
  })

  it.effect("holds when fibers interleave", () =>
    Effect.gen(function*() {
      const ipam = yield* Ipam
      const held = new Map<string, string>()
      const fiber = (id: number) =>
        Effect.gen(function*() {
          for (let round = 0; round < 20; round++) {
            const owner = `f${id}/eth0`
            const given = yield* ipam.reserve(request({}, { owner }))
            yield* Effect.yieldNow
            for (const text of primaries(given)) {
              assert.isUndefined(held.get(text), `${text} is ${owner}'s and ${held.get(text)}'s`)
              held.set(text, owner)
            }
            yield* Effect.yieldNow
            for (const text of primaries(given)) held.delete(text)
            yield* ipam.release(owner)
          }
        })
      yield* Effect.forEach(Array.from({ length: 50 }, (_, i) => i), fiber, { concurrency: "unbounded", discard: true })
      assert.strictEqual((yield* ipam.usage(spec(), NOTHING_OCCUPIED)).ipv4?.used, 0)
    }).pipe(Effect.provide(ipamWith(12))))
})
