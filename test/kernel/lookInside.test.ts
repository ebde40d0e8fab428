/** What a pod has made of its own network, read from its namespace, and what that costs. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { address } from "../../src/domain/Ip.ts"
import type { PodInside } from "../../src/netlink/Netlink.ts"
import { ip, ipJson, linkName, makeLab, planOf } from "./lab.ts"

const ANYCAST = [address("2001:db8:a::1"), address("192.0.2.1")]

describe("lookInside", () => {
  const finds = (
    what: string,
    harm: (pod: string) => void,
    is: PodInside["_tag"],
    words = "",
    cuts: ReadonlyArray<number> = []
  ) =>
    it.live(what, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const name = pod()
        const plan = planOf(name, 5, { addresses: { anycast: ANYCAST } })
        yield* netlink.attach(plan)
        const index = Number(ipJson(host, "link", "show", linkName(5))[0]?.["ifindex"])
        assert.deepStrictEqual(yield* netlink.lookInside(plan, index), { _tag: "AsMade" })
        harm(name)
        const found = yield* netlink.lookInside(plan, index)
        assert.strictEqual(found._tag, is)
        if (found._tag !== "Differs") return
        const partly = words.includes("is missing on eth0")
        assert.deepStrictEqual([found.words, found.cuts, found.partly], [words, cuts, partly])
      }).pipe(Effect.scoped))

  finds("nothing of what it added", (pod) => {
    ip(pod, "addr", "add", "203.0.113.9/32", "dev", "eth0")
    ip(pod, "route", "add", "203.0.113.0/24", "dev", "eth0")
  }, "AsMade")
  finds(
    "neighbours that are gone: the host answers for them",
    (pod) => ip(pod, "neigh", "flush", "all", "nud", "permanent"),
    "AsMade"
  )
  finds(
    "a link that was set down and up",
    (pod) => {
      ip(pod, "link", "set", "eth0", "down")
      ip(pod, "link", "set", "eth0", "up")
    },
    "Differs",
    "address 2001:db8:1::5 is missing on eth0; it has no IPv6 default route; it has no IPv4 default route",
    [4, 6]
  )
  finds(
    "no default route",
    (pod) => ip(pod, "-6", "route", "del", "default"),
    "Differs",
    "it has no IPv6 default route",
    [6]
  )
  finds(
    "a default route that rejects",
    (pod) => ip(pod, "route", "replace", "unreachable", "default"),
    "Differs",
    "it has no IPv4 default route",
    [4]
  )
  finds("a default route of its own", (pod) => {
    ip(pod, "link", "add", "wg0", "up", "type", "bridge")
    ip(pod, "route", "replace", "default", "dev", "wg0")
  }, "AsMade")
  finds(
    "an anycast address that is gone",
    (pod) => ip(pod, "addr", "del", "192.0.2.1/32", "dev", "lo"),
    "Differs",
    "anycast address 192.0.2.1 is missing"
  )
  finds("an anycast address elsewhere", (pod) => {
    ip(pod, "addr", "del", "192.0.2.1/32", "dev", "lo")
    ip(pod, "addr", "add", "192.0.2.1/32", "dev", "eth0")
  }, "AsMade")
  finds("another name", (pod) => {
    ip(pod, "link", "set", "eth0", "down")
    ip(pod, "link", "set", "eth0", "name", "old")
  }, "Others")
  finds("another link of that name", (pod) => {
    ip(pod, "link", "set", "eth0", "down")
    ip(pod, "link", "set", "eth0", "name", "old")
    ip(pod, "link", "add", "eth0", "up", "type", "bridge")
  }, "Others")
  finds("a bridge's port", (pod) => {
    ip(pod, "link", "add", "br0", "up", "type", "bridge")
    ip(pod, "link", "set", "eth0", "master", "br0")
  }, "Others")

  it.live("a namespace that is gone, or the host's own, tells nothing", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const plan = planOf(pod(), 5)
      assert.deepStrictEqual(yield* netlink.lookInside({ ...plan, netns: "/run/netns/gone" }, 1), { _tag: "Others" })
      assert.deepStrictEqual(yield* netlink.lookInside({ ...plan, netns: `/run/netns/${host}` }, 1), { _tag: "Others" })
    }).pipe(Effect.scoped))

  it.live("costs a few milliseconds at most", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const plan = planOf(pod(), 5, { addresses: { anycast: ANYCAST } })
      yield* netlink.attach(plan)
      const index = Number(ipJson(host, "link", "show", linkName(5))[0]?.["ifindex"])
      const times: Array<number> = []
      for (let i = 0; i < 200; i++) {
        const start = performance.now()
        yield* netlink.lookInside(plan, index)
        times.push(performance.now() - start)
      }
      const [median = Infinity] = times.toSorted((a, b) => a - b).slice(100)
      yield* Effect.logInfo(`a look inside: ${median.toFixed(2)} ms (median of 200)`)
      assert.isBelow(median, 20)
    }).pipe(Effect.scoped))
})
