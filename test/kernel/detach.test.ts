import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { formatCidr } from "../../src/domain/Ip.ts"
import { PROTOCOL_POD } from "../../src/netlink/Netlink.ts"
import { ip, ipJson, linkName, makeLab, ping, planOf, snapshot } from "./lab.ts"

const numbers = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)

const flockLinks = (netns: string) =>
  ipJson(netns, "link").map((link) => String(link["ifname"])).filter((name) => name.startsWith("flock"))

describe("detach", () => {
  it.live("at its return the link, its peer, routes and neighbours are gone", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const name = pod()
      const before = snapshot(host)
      for (let round = 0; round < 10; round++) {
        yield* netlink.attach(planOf(name, 5))
        yield* netlink.detach(linkName(5))
        assert.deepStrictEqual(snapshot(host), before)
        assert.deepStrictEqual(ipJson(name, "link").map((link) => link["ifname"]), ["lo"])
        assert.deepStrictEqual(yield* netlink.links, [])
        assert.deepStrictEqual(yield* netlink.routes(PROTOCOL_POD), [])
      }
    }).pipe(Effect.scoped))

  it.live("twice, at once and one after the other, and of what never was", () =>
    Effect.gen(function*() {
      const { netlink, pod } = yield* makeLab
      yield* netlink.attach(planOf(pod(), 5))
      yield* Effect.all([netlink.detach(linkName(5)), netlink.detach(linkName(5)), netlink.detach(linkName(5))], {
        concurrency: "unbounded"
      })
      yield* netlink.detach(linkName(5))
      yield* netlink.detach(linkName(77))
      assert.deepStrictEqual(yield* netlink.links, [])
    }).pipe(Effect.scoped))

  it.live("removes 40 together, with names that are gone and names that are not ours among them", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const kept = pod()
      yield* netlink.attach(planOf(kept, 999))
      ip(host, "link", "add", "foreign0", "type", "bridge")
      ip(host, "link", "set", "foreign0", "group", "7")
      const before = snapshot(host)
      yield* Effect.forEach(numbers(2, 40), (n) => netlink.attach(planOf(pod(), n)), { concurrency: "unbounded" })
      const names = [...numbers(2, 40).map(linkName), linkName(5000), "foreign0", "lo", "", "flock0000000g"]
      const results = yield* Effect.forEach(names, (name) => Effect.result(netlink.detach(name)), {
        concurrency: "unbounded"
      })
      const failed = names.filter((_, i) => Result.isFailure(results[i] ?? Result.void))
      assert.deepStrictEqual(failed, ["foreign0", "lo", "", "flock0000000g"])
      assert.deepStrictEqual(snapshot(host), before)
      ping(host, "10.42.4.231")
    }).pipe(Effect.scoped))

  it.live("one link that the kernel will not delete does not keep the others", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      // lo cannot be deleted; under a name like ours it spoils the deletion of its whole group.
      const stubborn = "flockffffffff"
      ip(host, "link", "set", "lo", "down")
      ip(host, "link", "set", "lo", "name", stubborn)
      yield* Effect.forEach(numbers(2, 5), (n) => netlink.attach(planOf(pod(), n)), { concurrency: "unbounded" })
      const names = [linkName(2), stubborn, ...numbers(3, 4).map(linkName)]
      const results = yield* Effect.forEach(names, (name) => Effect.result(netlink.detach(name)), {
        concurrency: "unbounded"
      })
      const failures = results.flatMap((result) => Result.isFailure(result) ? [result.failure.message] : [])
      assert.strictEqual(failures.length, 1)
      assert.match(failures[0] ?? "", /^delete link flockffffffff: E(OPNOTSUPP|NOTSUP|INVAL)/)
      assert.deepStrictEqual(flockLinks(host), [stubborn])
      assert.strictEqual(ipJson(host, "link", "show", stubborn)[0]?.["group"], "default")
    }).pipe(Effect.scoped))

  it.live("takes a half-made link: no peer configured, no addresses, down", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const name = pod()
      ip(host, "link", "add", linkName(5), "type", "veth", "peer", "name", "eth0", "netns", name)
      yield* netlink.detach(linkName(5))
      assert.deepStrictEqual(flockLinks(host), [])
      yield* netlink.attach(planOf(name, 5))
      ping(host, "10.42.1.5")
    }).pipe(Effect.scoped))

  it.live("succeeds for a pod whose namespace was deleted first, and for its link that moved away", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const [name, other] = [pod(), pod()]
      yield* netlink.attach(planOf(name, 5))
      yield* netlink.attach(planOf(pod(), 6))
      ip(name, "link", "del", "eth0")
      ip(host, "link", "set", linkName(6), "netns", other)
      yield* Effect.all([netlink.detach(linkName(5)), netlink.detach(linkName(6))], { concurrency: "unbounded" })
      assert.deepStrictEqual(flockLinks(host), [])
    }).pipe(Effect.scoped))
})

describe("many at once", () => {
  it.live("100 attaches, then 100 detaches", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const before = snapshot(host)
      const plans = numbers(2, 100).map((n) => planOf(pod(), n))
      yield* Effect.forEach(plans, (plan) => netlink.attach(plan), { concurrency: "unbounded" })
      for (const plan of plans) ping(host, "10.42.1.1".replace(/1$/, String(Number(`0x${plan.hostIfName.slice(5)}`))))
      assert.deepStrictEqual((yield* Effect.forEach(plans, netlink.verify, { concurrency: "unbounded" })).flat(), [])
      const routes = yield* netlink.routes(PROTOCOL_POD)
      assert.strictEqual(new Set(routes.map((route) => formatCidr(route.destination))).size, 200)
      yield* Effect.forEach(plans, (plan) => netlink.detach(plan.hostIfName), { concurrency: "unbounded" })
      assert.deepStrictEqual(snapshot(host), before)
    }).pipe(Effect.scoped))

  it.live("attach while others are detached, over and over in the same namespaces", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const before = snapshot(host)
      const cycle = (n: number) => {
        const plan = planOf(pod(), n)
        return Effect.gen(function*() {
          yield* netlink.attach(plan)
          ping(host, "2001:db8:1::" + n.toString(16))
          yield* netlink.detach(plan.hostIfName)
        }).pipe(Effect.repeat({ times: 4 }))
      }
      yield* Effect.forEach(numbers(2, 20), cycle, { concurrency: "unbounded" })
      assert.deepStrictEqual(snapshot(host), before)
    }).pipe(Effect.scoped))

  it.live("an attach that is interrupted either stands or has left nothing", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const before = snapshot(host)
      for (const n of numbers(2, 10)) {
        const plan = planOf(pod(), n)
        const fiber = yield* Effect.forkChild(netlink.attach(plan), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        const made = flockLinks(host).includes(plan.hostIfName)
        if (made) assert.deepStrictEqual(yield* netlink.verify(plan), [])
        yield* netlink.detach(plan.hostIfName)
      }
      assert.deepStrictEqual(snapshot(host), before)
    }).pipe(Effect.scoped))
})
