import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { until } from "../../lab/until.ts"
import { address, cidr, type Family, formatAddress, formatCidr } from "../../src/domain/Ip.ts"
import {
  type HostRoute,
  type KernelChange,
  type NextHop,
  PROTOCOL_EXPORT,
  PROTOCOL_POD
} from "../../src/netlink/Netlink.ts"
import {
  inside,
  ip,
  ipBatch,
  ipJson,
  linkName,
  makeLab,
  NODE4,
  NODE6,
  ping,
  planOf,
  readSysctl,
  sysctl,
  v4,
  v6
} from "./lab.ts"

const ANYCAST = { 4: "192.0.2.1", 6: "2001:db8:a::1" } as const
const families = [4, 6] as const

const text = (route: HostRoute): string =>
  [
    formatCidr(route.destination),
    ...route.nextHops
      .map((hop) =>
        `${hop.ifIndex} ${hop.via === undefined ? "-" : formatAddress(hop.via)}${hop.onlink ? " onlink" : ""}`
      )
      .toSorted()
  ].join(" | ")

describe("BIRD's routes", () => {
  it.live("are listed with their metrics, whatever their type, and deleted one by one", () =>
    Effect.gen(function*() {
      const { host, netlink } = yield* makeLab
      ipBatch(
        host,
        `link add uplink type veth peer name far
link set far up
link set uplink up
addr add 2001:db8:ffff::2/64 dev uplink nodad
addr add 198.51.100.2/24 dev uplink
route add ::/0 proto bird metric 16 nexthop via 2001:db8:ffff::1 nexthop via 2001:db8:ffff::3
route add ::/0 proto bird metric 65535 nexthop via 2001:db8:ffff::1 nexthop via 2001:db8:ffff::3
route add default proto bird metric 65535 nexthop via 198.51.100.1 nexthop via 198.51.100.3
route add default proto static metric 16 via 198.51.100.1
route add unreachable 2001:db8:100::/64 proto bird metric 65535
route add unreachable 10.42.0.0/24 proto bird metric 65535
route add unreachable 10.42.0.0/24 proto bird metric 16
`
      )
      const texts = Effect.map(netlink.birdRoutes, (routes) =>
        routes.map(({ destination, metric }) => `${formatCidr(destination)} ${metric}`).toSorted())
      assert.deepStrictEqual(yield* texts, [
        "0.0.0.0/0 65535",
        "10.42.0.0/24 16",
        "10.42.0.0/24 65535",
        "2001:db8:100::/64 65535",
        "::/0 16",
        "::/0 65535"
      ])
      const last = (yield* netlink.birdRoutes).filter(({ metric }) =>
        metric === 65535
      )
      yield* netlink.deleteBirdRoutes(last)
      // Gone already.
      yield* netlink.deleteBirdRoutes(last)
      assert.deepStrictEqual(yield* texts, ["10.42.0.0/24 16", "::/0 16"])
      assert.include(ip(host, "route", "show", "default"), "proto static")
      assert.lengthOf(ip(host, "-6", "route", "show", "default").match(/nexthop/g) ?? [], 2)
    }))
})

describe("a pod's addresses", () => {
  it.live("are read from the host by the namespace ID of its link, lo included", () =>
    Effect.gen(function*() {
      const { netlink, pod } = yield* makeLab
      const anycast = families.map((family) => address(ANYCAST[family]))
      const [mine, others] = [pod(), pod()]
      yield* netlink.attach(planOf(mine, 5, { addresses: { anycast } }))
      yield* netlink.attach(planOf(others, 6))
      inside(mine, "ip", "addr", "add", "192.0.2.200/32", "dev", "lo")
      const nsidOf = (n: number) =>
        Effect.map(netlink.links, (links) => links.find(({ ifName }) => ifName === linkName(n))?.peerNsid ?? -1)
      const has = (n: number) =>
        Effect.map(Effect.flatMap(nsidOf(n), netlink.podAddresses), (all) =>
          new Set(all.map(({ address }) => formatAddress(address))))
      const found = yield* has(5)
      for (const text of [formatAddress(v4(5)), formatAddress(v6(5)), ANYCAST[4], ANYCAST[6], "192.0.2.200"]) {
        assert.isTrue(found.has(text), text)
      }
      assert.isFalse(found.has(formatAddress(v4(6))))
      assert.isFalse((yield* has(6)).has("192.0.2.200"))
      assert.strictEqual((yield* Effect.result(netlink.podAddresses(4711)))._tag, "Failure")
    }))
})

describe("routes", () => {
  for (const family of families) {
    it.live(`announced IPv${family} routes: one next hop, several, fewer, none`, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const hops: Array<NextHop> = []
        const pods: Array<string> = []
        for (const n of [5, 6, 7]) {
          const name = pod()
          pods.push(name)
          const link = yield* netlink.attach(planOf(name, n, { addresses: { anycast: [address(ANYCAST[family])] } }))
          hops.push({ ifIndex: link.hostIfIndex, via: family === 4 ? v4(n) : v6(n), onlink: true })
        }
        const destination = cidr(`${ANYCAST[family]}/${family === 4 ? 32 : 128}`)
        const route = (...which: ReadonlyArray<number>): HostRoute => ({
          destination,
          protocol: PROTOCOL_EXPORT,
          nextHops: which.flatMap((i) => hops[i] ?? [])
        })
        for (const which of [[0], [0, 1], [2], [0, 1, 2], [1, 2], [1, 2], [0]]) {
          assert.deepStrictEqual(yield* netlink.putRoutes([route(...which)]), [])
          const seen = yield* netlink.routes(PROTOCOL_EXPORT)
          assert.deepStrictEqual(seen.map(text), [text(route(...which))])
          ping(host, ANYCAST[family], "-I", family === 4 ? NODE4 : NODE6)
        }
        yield* netlink.putRoutes([route(0, 1, 2)])
        const shown = ip(host, family === 4 ? "-4" : "-6", "route", "show", "proto", "201")
        assert.strictEqual(shown.match(/onlink/g)?.length, 3)
        assert.deepStrictEqual(yield* netlink.deleteRoutes([route(0)]), [])
        assert.deepStrictEqual(yield* netlink.routes(PROTOCOL_EXPORT), [])
        assert.deepStrictEqual(yield* netlink.deleteRoutes([route(0)]), [])
        assert.strictEqual((yield* netlink.routes(PROTOCOL_POD)).length, 6)
      }).pipe(Effect.scoped))

    it.live(`a link that goes takes its IPv${family} next hop with it, not the others'`, () =>
      Effect.gen(function*() {
        const { netlink, pod } = yield* makeLab
        const a = yield* netlink.attach(planOf(pod(), 5))
        const b = yield* netlink.attach(planOf(pod(), 6))
        const via = family === 4 ? v4 : v6
        yield* netlink.putRoutes([{
          destination: cidr(`${ANYCAST[family]}/${family === 4 ? 32 : 128}`),
          protocol: PROTOCOL_EXPORT,
          nextHops: [
            { ifIndex: a.hostIfIndex, via: via(5), onlink: true },
            { ifIndex: b.hostIfIndex, via: via(6), onlink: true }
          ]
        }])
        yield* netlink.detach(linkName(5))
        const [route] = yield* netlink.routes(PROTOCOL_EXPORT)
        // IPv4 removes the whole route with one of its links; anycast puts it back.
        const left = route?.nextHops.map((hop) => hop.ifIndex) ?? []
        assert.deepStrictEqual(left.filter((index) => index !== b.hostIfIndex), [])
        if (family === 6) assert.deepStrictEqual(left, [b.hostIfIndex])
      }).pipe(Effect.scoped))
  }

  it.live("a deletion takes only the protocol named", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const link = yield* netlink.attach(planOf(pod(), 5))
      const nextHops = [{ ifIndex: link.hostIfIndex, onlink: false }]
      const both = [v4(5), v6(5)].map((a) => cidr(`${formatAddress(a)}/${a.family === 4 ? 32 : 128}`))
      const announced = both.map((destination) => ({ destination, protocol: PROTOCOL_EXPORT, nextHops }))
      assert.deepStrictEqual(yield* netlink.putRoutes(announced), [])
      assert.strictEqual((yield* netlink.routes(PROTOCOL_EXPORT)).length, 2)
      assert.deepStrictEqual(yield* netlink.deleteRoutes(announced), [])
      assert.strictEqual((yield* netlink.routes(PROTOCOL_EXPORT)).length, 0)
      assert.strictEqual((yield* netlink.routes(PROTOCOL_POD)).length, 2)
      ping(host, "10.42.1.5")
    }).pipe(Effect.scoped))

  it.live("says which routes of a batch failed; the others are made", () =>
    Effect.gen(function*() {
      const { netlink, pod } = yield* makeLab
      const link = yield* netlink.attach(planOf(pod(), 5))
      const route = (n: number, ifIndex: number): HostRoute => ({
        destination: cidr(`192.0.2.${n}/32`),
        protocol: PROTOCOL_EXPORT,
        nextHops: [{ ifIndex, via: v4(5), onlink: true }]
      })
      const failed = yield* netlink.putRoutes([
        route(1, link.hostIfIndex),
        route(2, 4711),
        { ...route(3, 1), nextHops: [] },
        route(4, link.hostIfIndex)
      ])
      assert.deepStrictEqual(failed.map(({ route }) => formatCidr(route.destination)), ["192.0.2.2/32", "192.0.2.3/32"])
      assert.match(failed[0]?.error.message ?? "", /^put route 192\.0\.2\.2\/32: ENODEV/)
      assert.strictEqual((yield* netlink.routes(PROTOCOL_EXPORT)).length, 2)
      assert.deepStrictEqual(yield* netlink.putRoutes([]), [])
    }).pipe(Effect.scoped))

  it.live("reads 1000 routes of each family while others change", () =>
    Effect.gen(function*() {
      const { netlink, pod } = yield* makeLab
      const link = yield* netlink.attach(planOf(pod(), 5))
      const list = (family: Family): ReadonlyArray<HostRoute> =>
        Array.from({ length: 1000 }, (_, i) => ({
          destination: family === 4
            ? cidr(`192.0.${2 + (i >> 8)}.${i & 255}/32`)
            : cidr(`2001:db8:a::${(i + 1).toString(16)}/128`),
          protocol: PROTOCOL_EXPORT,
          nextHops: [{ ifIndex: link.hostIfIndex, via: family === 4 ? v4(5) : v6(5), onlink: true }]
        }))
      const all = [...list(4), ...list(6)]
      assert.deepStrictEqual(yield* netlink.putRoutes(all), [])
      const churn = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(netlink.attach(planOf(pod(), 6)), netlink.detach(linkName(6))))
      )
      const wanted = all.map(text).toSorted()
      const read = Effect.map(netlink.routes(PROTOCOL_EXPORT), (seen) => seen.map(text).toSorted())
      for (let round = 0; round < 5; round++) {
        const seen = yield* read
        assert.includeMembers(wanted, seen)
        assert.strictEqual(new Set(seen).size, seen.length)
        // Linux may leave out the same route of each of several dumps (`DumpSocket.dump`): not of those of the next look too.
        if (seen.length < wanted.length) assert.deepStrictEqual(yield* read, wanted)
      }
      yield* Fiber.interrupt(churn)
      assert.deepStrictEqual(yield* netlink.deleteRoutes(all), [])
      assert.deepStrictEqual(yield* netlink.routes(PROTOCOL_EXPORT), [])
    }).pipe(Effect.scoped))
})

describe("the host", () => {
  it.live("interfaces, links and the way out are as the kernel has them", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      ip(host, "link", "add", "uplink", "type", "bridge")
      ip(host, "link", "set", "uplink", "mtu", "9000", "up")
      ip(host, "addr", "add", "203.0.113.2/24", "dev", "uplink")
      ip(host, "addr", "add", "203.0.113.1/24", "dev", "uplink")
      ip(host, "addr", "add", "203.0.113.66/32", "dev", "uplink", "valid_lft", "600", "preferred_lft", "300")
      ip(host, "addr", "add", "2001:db8:99::2/64", "dev", "uplink", "nodad")
      ip(host, "addr", "add", "2001:db8:99::1/64", "dev", "uplink", "nodad", "preferred_lft", "0")
      ip(host, "addr", "add", "2001:db8:99::3/64", "dev", "uplink", "nodad", "valid_lft", "600", "preferred_lft", "300")
      const link = yield* netlink.attach(planOf(pod(), 5))
      const interfaces = yield* netlink.interfaces
      const uplink = interfaces.find((i) => i.ifName === "uplink")
      assert.deepInclude(uplink, { mtu: 9000, up: true })
      const addresses = uplink?.addresses.map((a) => `${formatAddress(a.address)}/${a.prefix}`)
      assert.includeMembers([...addresses ?? []], ["203.0.113.2/24", "2001:db8:99::2/64"])
      // The kernel makes a temporary address of it (RFC 8981).
      sysctl(host, "net/ipv6/conf/uplink/use_tempaddr", "2")
      sysctl(host, "net/ipv6/conf/uplink/accept_dad", "0")
      ip(
        host,
        "addr",
        "add",
        "2001:db8:98::4/64",
        "dev",
        "uplink",
        "mngtmpaddr",
        "valid_lft",
        "600",
        "preferred_lft",
        "300"
      )
      yield* Effect.promise(() =>
        until("a temporary address", () => ip(host, "addr", "show", "temporary").includes("2001:db8:98"))
      )
      const made = (yield* netlink.interfaces).flatMap((it) => it.addresses).filter(({ standing }) =>
        standing === "temporary"
      )
      assert.strictEqual(made.length, 1)
      // It goes with it; the kernel would have it as source towards every network.
      ip(host, "addr", "del", "2001:db8:98::4/64", "dev", "uplink")
      const standing = new Map(uplink?.addresses.map((a) => [formatAddress(a.address), a.standing]))
      assert.deepInclude(Object.fromEntries(standing), {
        "203.0.113.2": "permanent",
        "203.0.113.1": "secondary",
        "203.0.113.66": "dynamic",
        "2001:db8:99::2": "permanent",
        "2001:db8:99::1": "deprecated",
        "2001:db8:99::3": "dynamic"
      })
      assert.deepStrictEqual(interfaces.map(({ ifName, kind }) => `${ifName} ${kind}`).toSorted().slice(-2), [
        "lo undefined",
        "uplink bridge"
      ])
      const way = (target: string) =>
        Effect.map(
          netlink.outgoing(address(target)),
          (it) => it && `${it.ifIndex} ${it.source && formatAddress(it.source)}`
        )
      assert.strictEqual(yield* way("203.0.113.9"), `${uplink?.ifIndex} 203.0.113.2`)
      assert.match((yield* way("2001:db8:99::9")) ?? "", new RegExp(`^${uplink?.ifIndex} 2001:db8:99::[23]$`))
      assert.match((yield* way(formatAddress(v6(5)))) ?? "", new RegExp(`^${link.hostIfIndex} `))
      assert.match((yield* way(NODE4)) ?? "", /^1 /)
      ip(host, "route", "add", "203.0.113.9", "dev", "uplink", "src", "203.0.113.1")
      assert.strictEqual(yield* way("203.0.113.9"), `${uplink?.ifIndex} 203.0.113.1`)
      assert.isUndefined(yield* netlink.outgoing(address("192.0.2.77")))
      assert.isUndefined(yield* netlink.outgoing(address("2001:db8:77::1")))
      ip(host, "route", "add", "unreachable", "192.0.2.77/32")
      ip(host, "route", "add", "blackhole", "2001:db8:77::/64")
      assert.isUndefined(yield* netlink.outgoing(address("192.0.2.77")))
      assert.isUndefined(yield* netlink.outgoing(address("2001:db8:77::1")))
      const [own] = yield* netlink.links
      const plan = planOf("", 5)
      assert.deepInclude(own, { ifName: plan.hostIfName, alias: plan.alias, mtu: 1500, up: true })
      assert.isNumber(own?.peerNsid)
    }).pipe(Effect.scoped))

  it.live("prepareHost turns the node into a router, keeps what routers and filters it relies on, and changes nothing twice", () =>
    Effect.gen(function*() {
      const { host, netlink } = yield* makeLab
      for (const name of ["up0", "up1"]) ip(host, "link", "add", name, "type", "bridge")
      const set = (name: string, value: string) => sysctl(host, `net/${name}`, value)
      set("ipv6/conf/all/forwarding", "0")
      set("ipv4/ip_forward", "0")
      set("ipv6/conf/up0/accept_ra", "1")
      set("ipv6/conf/up1/accept_ra", "0")
      set("ipv4/conf/all/rp_filter", "1")
      set("ipv4/conf/up0/rp_filter", "2")
      set("ipv4/conf/up1/rp_filter", "0")
      const names = [
        "ipv6/conf/all/forwarding",
        "ipv4/ip_forward",
        "ipv6/fib_multipath_hash_policy",
        "ipv4/fib_multipath_hash_policy",
        "ipv6/conf/up0/accept_ra",
        "ipv6/conf/up1/accept_ra",
        "ipv4/conf/all/rp_filter",
        "ipv4/conf/up0/rp_filter",
        "ipv4/conf/up1/rp_filter"
      ]
      for (let round = 0; round < 2; round++) {
        const { problems, restored } = yield* netlink.prepareHost
        assert.deepStrictEqual(problems, [])
        if (round > 0) assert.deepStrictEqual(restored, [])
        const values = names.map((name) => readSysctl(host, `net/${name}`))
        assert.deepStrictEqual(values, ["1", "1", "1", "1", "2", "0", "0", "2", "1"])
      }
    }).pipe(Effect.scoped))
})

describe("changes", () => {
  const wanted = (change: KernelChange, ifName: string): string | undefined =>
    change._tag === "LinkRemoved" && change.ifName === ifName
      ? "link"
      : change._tag === "RouteRemoved" && change.route.protocol === PROTOCOL_POD
      ? `route ${formatCidr(change.route.destination)}`
      : change._tag === "AddressChanged"
      ? `address ${change.ifIndex}`
      : undefined

  it.live("tells of a removed route, a flush, an address and a removed link that others made", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      yield* netlink.attach(planOf(pod(), 5))
      yield* netlink.attach(planOf(pod(), 6))
      const seen = new Set<string>()
      const expected = [
        "route 10.42.1.5/32",
        "route 2001:db8:1::5/128",
        "route 10.42.1.6/32",
        "address 1",
        "link"
      ]
      const reader = yield* netlink.changes.pipe(
        Stream.map((change) => wanted(change, linkName(6))),
        Stream.tap((word) => Effect.sync(() => word !== undefined && seen.add(word))),
        Stream.takeUntil(() => expected.every((word) => seen.has(word))),
        Stream.runDrain,
        Effect.forkChild({ startImmediately: true })
      )
      ip(host, "route", "del", "10.42.1.5/32")
      ip(host, "-6", "route", "del", "2001:db8:1::5/128")
      ip(host, "-4", "route", "flush", "proto", "200")
      ip(host, "addr", "add", "198.51.100.99/32", "dev", "lo")
      ip(host, "link", "del", linkName(6))
      yield* Fiber.join(reader)
      assert.includeMembers([...seen], expected)
    }).pipe(Effect.scoped))

  it.live("tells of the node's own links, whatever they are made of, and of no pod's", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const reader = yield* netlink.linkChanges.pipe(
        Stream.takeUntil((change) => change._tag === "LinkRemoved" && change.ifName === "up2"),
        Stream.runCollect,
        Effect.forkChild({ startImmediately: true })
      )
      yield* netlink.attach(planOf(pod(), 5))
      ip(host, "link", "add", "floc0", "type", "bridge")
      ip(host, "link", "add", "up0", "type", "veth", "peer", "name", "far")
      ip(host, "link", "set", "up0", "up")
      ip(host, "link", "set", "far", "up")
      ip(host, "link", "set", "far", "down")
      ip(host, "link", "set", "up0", "down")
      ip(host, "link", "set", "up0", "name", "up2")
      ip(host, "link", "del", linkName(5))
      ip(host, "link", "del", "up2")
      const told = (yield* Fiber.join(reader)).map((change) =>
        change._tag === "LinkChanged" ? `${change.ifName} ${change.up} ${change.carrier}` : JSON.stringify(change)
      )
      assert.includeMembers(told, [
        "floc0 false false",
        "up0 false false",
        "up0 true false",
        "up0 true true",
        "up2 false false"
      ])
      assert.isTrue(told.lastIndexOf("up0 true false") > told.indexOf("up0 true true"), told.join("; "))
      assert.isFalse(told.some((it) => it.includes(linkName(5))), told.join("; "))
    }).pipe(Effect.scoped))

  it.live("a reader that falls behind learns that it must look at everything", () =>
    Effect.gen(function*() {
      const { host, netlink } = yield* makeLab
      ip(host, "link", "add", "up0", "up", "type", "bridge")
      const reader = yield* netlink.changes.pipe(
        Stream.takeUntil((change) => change._tag === "Overrun"),
        Stream.runDrain,
        Effect.forkChild({ startImmediately: true })
      )
      const routes = Array.from({ length: 40_000 }, (_, i) => `10.${i >> 14}.${(i >> 6) & 255}.${(i & 63) << 2}/30`)
      // This thread waits for `ip` meanwhile, so nobody reads what the kernel tells.
      for (const verb of ["add", "del"]) {
        ipBatch(host, routes.map((route) => `route ${verb} ${route} dev up0\n`).join(""))
      }
      yield* Fiber.join(reader)
    }).pipe(Effect.scoped))

  it.live("what means nothing is not even received", () =>
    Effect.gen(function*() {
      const { host, netlink } = yield* makeLab
      ip(host, "link", "add", "up0", "up", "type", "bridge")
      const received = () =>
        Number(inside(host, "sh", "-c", "awk 'NR > 1 { s += $5 } END { print s + 0 }' /proc/net/netlink").trim())
      const seen: Array<string> = []
      const reader = yield* netlink.changes.pipe(
        Stream.runForEach((change) => Effect.sync(() => seen.push(change._tag))),
        Effect.forkChild({ startImmediately: true })
      )
      ipBatch(host, Array.from({ length: 200 }, (_, i) => `route add 10.0.${i}.0/24 dev up0\n`).join(""))
      // Not read yet, for this thread was waiting: yet nothing is in the socket's memory.
      assert.strictEqual(received(), 0)
      ipBatch(host, Array.from({ length: 200 }, (_, i) => `route del 10.0.${i}.0/24 dev up0\n`).join(""))
      assert.isAbove(received(), 0)
      yield* Effect.sleep("100 millis")
      assert.strictEqual(received(), 0)
      assert.deepStrictEqual(seen, Array.from({ length: 200 }, () => "RouteRemoved"))
      yield* Fiber.interrupt(reader)
    }).pipe(Effect.scoped))

  it.live("a stream that is given up closes its socket", () =>
    Effect.gen(function*() {
      const { host, netlink } = yield* makeLab
      const sockets = () => inside(host, "sh", "-c", "tail -n +2 /proc/net/netlink | wc -l").trim()
      const before = sockets()
      for (let i = 0; i < 3; i++) {
        const reader = yield* Effect.forkChild(Stream.runDrain(netlink.changes), { startImmediately: true })
        assert.notStrictEqual(sockets(), before)
        yield* Fiber.interrupt(reader)
      }
      assert.strictEqual(sockets(), before)
      assert.isNotEmpty(ipJson(host, "link"))
    }).pipe(Effect.scoped))

  it.live("several who follow the same share a socket, and each is told everything", () =>
    Effect.gen(function*() {
      const { host, netlink } = yield* makeLab
      ip(host, "link", "add", "up0", "up", "type", "bridge")
      const sockets = () => Number(inside(host, "sh", "-c", "tail -n +2 /proc/net/netlink | wc -l"))
      const before = sockets()
      const follow = (until: string) =>
        netlink.changes.pipe(
          Stream.map((change) => change._tag === "RouteRemoved" ? formatCidr(change.route.destination) : change._tag),
          Stream.takeUntil((word) => word === until),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
      const first = yield* follow("10.0.1.0/24")
      const second = yield* follow("10.0.2.0/24")
      assert.strictEqual(sockets(), before + 1)
      const remove = (route: string) => ipBatch(host, `route add ${route} dev up0\nroute del ${route} dev up0\n`)
      remove("10.0.1.0/24")
      assert.deepStrictEqual([...yield* Fiber.join(first)], ["10.0.1.0/24"])
      assert.strictEqual(sockets(), before + 1, "one still follows")
      remove("10.0.2.0/24")
      assert.deepStrictEqual([...yield* Fiber.join(second)], ["10.0.1.0/24", "10.0.2.0/24"])
      assert.strictEqual(sockets(), before)
      const third = yield* follow("10.0.3.0/24")
      remove("10.0.3.0/24")
      assert.deepStrictEqual([...yield* Fiber.join(third)], ["10.0.3.0/24"])
    }).pipe(Effect.scoped))

  it.live("the gateway of a pod's host end is no address of the node's", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const reader = yield* netlink.changes.pipe(
        Stream.filter(({ _tag }) => _tag === "AddressChanged"),
        Stream.take(1),
        Stream.runCollect,
        Effect.forkChild({ startImmediately: true })
      )
      yield* netlink.attach(planOf(pod(), 5))
      yield* netlink.detach(linkName(5))
      ip(host, "addr", "add", "198.51.100.99/32", "dev", "lo")
      assert.deepStrictEqual([...yield* Fiber.join(reader)], [{ _tag: "AddressChanged", ifIndex: 1 }])
    }).pipe(Effect.scoped))
})
