import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { address } from "../../src/domain/Ip.ts"
import { ip, linkName, makeLab, planOf } from "./lab.ts"

const ANYCAST = [address("2001:db8:a::1"), address("192.0.2.1")]
const HOST = linkName(5)

describe("verify", () => {
  const finds = (what: string, harm: (host: string, pod: string) => void, lines: ReadonlyArray<string>) =>
    it.live(what, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const name = pod()
        const plan = planOf(name, 5, { addresses: { anycast: ANYCAST } })
        const { podMac } = yield* netlink.attach(plan)
        assert.deepStrictEqual(yield* netlink.verify(plan), [])
        harm(host, name)
        const found = (yield* netlink.verify(plan)).map((line) => line.replaceAll(podMac, "POD"))
        assert.deepStrictEqual(found, lines)
      }).pipe(Effect.scoped))

  finds("a host route that is gone", (host) => ip(host, "route", "del", "10.42.1.5/32"), [
    "host route 10.42.1.5/32 is missing"
  ])
  finds("a host route that leads elsewhere", (host) => {
    ip(host, "link", "add", "other", "up", "type", "bridge")
    ip(host, "-6", "route", "replace", "2001:db8:1::5/128", "dev", "other", "proto", "200", "metric", "1024")
  }, [`host route 2001:db8:1::5/128 does not lead to ${HOST}`])
  finds("neighbour entries gone, wrong, and not permanent", (host) => {
    ip(host, "neigh", "del", "10.42.1.5", "dev", HOST)
    ip(host, "neigh", "replace", "2001:db8:1::5", "lladdr", "02:00:00:00:00:01", "dev", HOST, "nud", "permanent")
  }, [
    `neighbour entry for 2001:db8:1::5 on host link ${HOST} has MAC 02:00:00:00:00:01, should have POD`,
    `neighbour entry for 10.42.1.5 on host link ${HOST} is missing`
  ])
  finds(
    "the host link's alias, MTU and MAC",
    (host) => ip(host, "link", "set", HOST, "alias", "x", "mtu", "1400", "address", "02:00:00:00:00:02"),
    [
      `host link ${HOST} has alias "x", should have "default/pod-5 ${"5".padStart(64, "0")} eth0"`,
      `host link ${HOST} has MTU 1400, should have 1500`,
      `host link ${HOST} has MAC 02:00:00:00:00:02, should have ee:ee:ee:ee:ee:ee`,
      // Linux drops a link's neighbour entries with its MAC.
      `neighbour entry for 2001:db8:1::5 on host link ${HOST} is missing`,
      `neighbour entry for 10.42.1.5 on host link ${HOST} is missing`
    ]
  )
  finds("addresses inside that are gone", (_, pod) => {
    ip(pod, "addr", "del", "10.42.1.5/32", "dev", "eth0")
    ip(pod, "addr", "del", "2001:db8:a::1/128", "dev", "lo")
  }, [
    "address 10.42.1.5 is missing on eth0 in the pod",
    // Linux stops IPv4 on a link that loses its last address.
    "default route via 10.42.1.1 is missing in the pod",
    "neighbour entry for 10.42.1.1 on eth0 in the pod is missing",
    "anycast address 2001:db8:a::1 is missing on lo in the pod"
  ])
  finds("a default route inside that is gone", (_, pod) => ip(pod, "-6", "route", "del", "default"), [
    "default route via fe80::1 is missing in the pod"
  ])
  finds(
    "a gateway's neighbour entry inside that is gone",
    (_, pod) => ip(pod, "neigh", "del", "fe80::1", "dev", "eth0"),
    [
      "neighbour entry for fe80::1 on eth0 in the pod is missing"
    ]
  )
  finds("the host link gone", (host) => ip(host, "link", "del", HOST), [
    `host link ${HOST} is missing`,
    "eth0 in the pod is missing"
  ])
  it.live("what chained plugins add is no difference", () =>
    Effect.gen(function*() {
      const { netlink, pod } = yield* makeLab
      const name = pod()
      const plan = planOf(name, 5)
      yield* netlink.attach(plan)
      ip(name, "addr", "add", "192.0.2.9/32", "dev", "eth0")
      ip(name, "route", "add", "198.51.100.0/24", "via", "10.42.1.1", "dev", "eth0", "onlink")
      ip(name, "link", "set", "eth0", "mtu", "1400", "allmulticast", "on")
      ip(name, "link", "add", "net1", "type", "bridge")
      assert.deepStrictEqual(yield* netlink.verify(plan), [])
      ip(name, "link", "set", "eth0", "mtu", "9000")
      assert.deepStrictEqual(yield* netlink.verify(plan), [
        "eth0 in the pod has MTU 9000, more than the 1500 that reach the host"
      ])
    }).pipe(Effect.scoped))

  it.live("a namespace that is gone is an error, not a difference", () =>
    Effect.gen(function*() {
      const { netlink } = yield* makeLab
      const error = yield* Effect.flip(netlink.verify(planOf("flock-no-such", 5)))
      assert.strictEqual(error.message, "network namespace /run/netns/flock-no-such: cannot be opened (ENOENT)")
    }).pipe(Effect.scoped))
})

describe("memory", () => {
  it.live("requests stay whole while the garbage collector runs", () =>
    Effect.gen(function*() {
      const { netlink } = yield* makeLab
      setFlagsFromString("--expose-gc")
      const collect: unknown = runInNewContext("gc")
      assert.isFunction(collect)
      for (let round = 0; round < 20; round++) {
        const answers = yield* Effect.all([
          Effect.forEach([1, 2, 3, 4], () => netlink.outgoing(address("198.51.100.7")), { concurrency: "unbounded" }),
          Effect.sync(() => typeof collect === "function" && collect()),
          netlink.links
        ], { concurrency: "unbounded" })
        assert.deepStrictEqual(answers[0].map((way) => way?.ifIndex), [1, 1, 1, 1])
      }
    }).pipe(Effect.scoped))
})
