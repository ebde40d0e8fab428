import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { address, formatAddress } from "../../src/domain/Ip.ts"
import type { PodLinkPlan } from "../../src/netlink/Netlink.ts"
import {
  inside,
  ip,
  ipJson,
  makeLab,
  NODE4,
  NODE6,
  ping,
  planOf,
  readSysctl,
  snapshot,
  sysctl,
  without
} from "./lab.ts"

const ANYCAST = [address("2001:db8:a::1"), address("192.0.2.1")]

const find = (list: ReadonlyArray<Record<string, unknown>>, key: string, value: string) =>
  list.find((entry) => entry[key] === value)

describe("attach", () => {
  it.live("makes a dual-stack pod as designed, at once usable from both sides", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const name = pod()
      const plan = planOf(name, 5, { addresses: { anycast: ANYCAST } })
      const link = yield* netlink.attach(plan)
      ping(host, "10.42.1.5", "-I", NODE4)
      ping(name, NODE4)
      ping(host, "2001:db8:1::5", "-I", NODE6)
      ping(name, NODE6)
      const [hostLink] = ipJson(host, "link", "show", plan.hostIfName)
      assert.strictEqual(hostLink?.["address"], "ee:ee:ee:ee:ee:ee")
      assert.strictEqual(hostLink?.["ifalias"], plan.alias)
      assert.strictEqual(hostLink?.["mtu"], 1500)
      assert.strictEqual(hostLink?.["ifindex"], link.hostIfIndex)
      assert.strictEqual(hostLink?.["inet6_addr_gen_mode"], "none")
      const [podLink] = ipJson(name, "link", "show", "eth0")
      assert.strictEqual(podLink?.["address"], link.podMac)
      assert.strictEqual(readSysctl(host, `net/ipv4/conf/${plan.hostIfName}/proxy_arp`), "1")
      assert.strictEqual(readSysctl(host, `net/ipv4/conf/${plan.hostIfName}/rp_filter`), "0")
      assert.strictEqual(readSysctl(name, "net/ipv6/conf/eth0/accept_ra"), "0")
      const addresses = ip(host, "-o", "addr", "show", plan.hostIfName)
      assert.strictEqual(addresses.trim().split("\n").length, 1)
      assert.match(addresses, /inet6 fe80::1\/64 scope link nodad/)
      for (const family of ["-4", "-6"]) {
        const [route] = ipJson(host, family, "route", "show", "proto", "200")
        assert.strictEqual(route?.["dev"], plan.hostIfName)
      }
      const neighbours = ipJson(host, "neigh", "show", "dev", plan.hostIfName)
      for (const dst of ["10.42.1.5", "2001:db8:1::5"]) {
        assert.deepInclude(find(neighbours, "dst", dst), { lladdr: link.podMac, state: ["PERMANENT"] })
      }
      assert.match(ip(name, "addr", "show", "dev", "lo"), /2001:db8:a::1\/128/)
      assert.match(ip(name, "addr", "show", "dev", "lo"), /192\.0\.2\.1\/32/)
      assert.match(ip(name, "route"), /default via 10\.42\.1\.1 dev eth0/)
      assert.match(ip(name, "-6", "route"), /default via fe80::1 dev eth0/)
      assert.deepStrictEqual(yield* netlink.verify(plan), [])
    }).pipe(Effect.scoped))

  for (const family of [4, 6] as const) {
    it.live(`makes an IPv${family}-only pod`, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const name = pod()
        const plan = without(planOf(name, 5), ...(family === 4 ? ["ipv6"] as const : ["ipv4", "gateway4"] as const))
        yield* netlink.attach(plan)
        ping(host, family === 4 ? "10.42.1.5" : "2001:db8:1::5")
        ping(name, family === 4 ? NODE4 : NODE6)
        const other = family === 4 ? "-6" : "-4"
        assert.deepStrictEqual(ipJson(host, other, "route", "show", "dev", plan.hostIfName), [])
        assert.deepStrictEqual(ipJson(host, other, "addr", "show", "dev", plan.hostIfName), [])
        assert.notMatch(ip(name, other, "route"), /default/)
        assert.deepStrictEqual(yield* netlink.verify(plan), [])
        yield* netlink.detach(plan.hostIfName)
      }).pipe(Effect.scoped))
  }

  for (const mtu of [1280, 9000, 65535]) {
    it.live(`carries whole packets at MTU ${mtu}`, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const name = pod()
        const plan = planOf(name, 5, { mtu })
        yield* netlink.attach(plan)
        ping(host, "10.42.1.5", "-M", "do", "-s", String(Math.min(mtu, 65507 + 28) - 28))
        ping(host, "2001:db8:1::5", "-M", "do", "-s", String(Math.min(mtu, 65507 + 28) - 48))
        assert.strictEqual(ipJson(name, "link", "show", "eth0")[0]?.["mtu"], mtu)
        assert.deepStrictEqual(yield* netlink.verify(plan), [])
      }).pipe(Effect.scoped))
  }

  it.live("connects two pods with each other", () =>
    Effect.gen(function*() {
      const { netlink, pod } = yield* makeLab
      const [a, b] = [pod(), pod()]
      yield* Effect.all([netlink.attach(planOf(a, 5)), netlink.attach(planOf(b, 6))], { concurrency: "unbounded" })
      ping(a, "10.42.1.6")
      ping(b, "10.42.1.5")
      ping(a, "2001:db8:1::6")
      ping(b, "2001:db8:1::5")
    }).pipe(Effect.scoped))

  for (const where of ["all", "default"]) {
    it.live(`turns IPv6 on where net.ipv6.conf.${where}.disable_ipv6=1 in the pod`, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const name = pod()
        sysctl(name, `net/ipv6/conf/${where}/disable_ipv6`, "1")
        const plan = planOf(name, 5, { addresses: { anycast: ANYCAST } })
        yield* netlink.attach(plan)
        ping(host, "2001:db8:1::5")
        ping(name, NODE6)
        assert.strictEqual(readSysctl(name, `net/ipv6/conf/${where}/disable_ipv6`), "1")
        assert.deepStrictEqual(yield* netlink.verify(plan), [])
      }).pipe(Effect.scoped))
  }

  it.live("turns IPv6 on at the host's end where the host's default is off", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      sysctl(host, "net/ipv6/conf/default/disable_ipv6", "1")
      const name = pod()
      yield* netlink.attach(planOf(name, 5))
      ping(host, "2001:db8:1::5")
    }).pipe(Effect.scoped))

  it.live("leaves IPv6 off in the pod of an IPv4-only plan", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const name = pod()
      sysctl(name, "net/ipv6/conf/all/disable_ipv6", "1")
      yield* netlink.attach(without(planOf(name, 5), "ipv6"))
      ping(host, "10.42.1.5")
      assert.strictEqual(readSysctl(name, "net/ipv6/conf/eth0/disable_ipv6"), "1")
    }).pipe(Effect.scoped))

  it.live("passes an anycast source where the host's rp_filter is strict", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      sysctl(host, "net/ipv4/conf/all/rp_filter", "1")
      sysctl(host, "net/ipv4/conf/default/rp_filter", "1")
      assert.deepStrictEqual((yield* netlink.prepareHost).problems, [])
      const [a, b] = [pod(), pod()]
      yield* netlink.attach(planOf(a, 5, { addresses: { anycast: ANYCAST } }))
      const { hostIfName } = planOf(b, 6)
      yield* netlink.attach(planOf(b, 6))
      // The way to the source does not lead through the pod that sends: strict drops it, and loose too.
      ip(host, "route", "add", "default", "via", "10.42.1.6", "dev", hostIfName, "onlink")
      const echoes = () => Number(/^Icmp: (\d.*)$/m.exec(inside(b, "cat", "/proc/net/snmp"))?.[1]?.split(" ")[8])
      assert.strictEqual(echoes(), 0)
      inside(a, "sh", "-c", "ping -c1 -W0.2 -I 192.0.2.1 10.42.1.6 || true")
      assert.strictEqual(echoes(), 1)
    }).pipe(Effect.scoped))

  it.live("makes a second interface in a pod; the first keeps the default routes", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const name = pod()
      const [first, second] = [planOf(name, 5), planOf(name, 6, { ifName: "net1" })]
      yield* netlink.attach(first)
      yield* netlink.attach(second)
      assert.match(ip(name, "route"), /default via 10\.42\.1\.1 dev eth0/)
      assert.notMatch(ip(name, "route") + ip(name, "-6", "route"), /default .*net1/)
      ping(host, "10.42.1.6")
      ping(host, "2001:db8:1::6")
      assert.deepStrictEqual(yield* netlink.verify(first), [])
      assert.deepStrictEqual(yield* netlink.verify(second), [])
      yield* netlink.detach(second.hostIfName)
      ping(host, "2001:db8:1::5")
    }).pipe(Effect.scoped))

  it.live("takes a namespace given as /proc/PID/ns/net", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const name = pod()
      const child = yield* Effect.acquireRelease(
        Effect.sync(() => spawn("nsenter", [`--net=/run/netns/${name}`, "cat"], { stdio: ["pipe", "pipe", "ignore"] })),
        (process) => Effect.sync(() => process.kill("SIGKILL"))
      )
      yield* Effect.promise(() =>
        new Promise<void>((resolve) => {
          child.stdout.once("data", () => resolve())
          child.stdin.write("ready\n")
        })
      )
      const plan = planOf(name, 5, { netns: `/proc/${child.pid}/ns/net` })
      yield* netlink.attach(plan)
      ping(host, "10.42.1.5")
      assert.deepStrictEqual(yield* netlink.verify(plan), [])
    }).pipe(Effect.scoped))

  it.live("says what is wrong with a namespace path, and makes nothing", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const directory = mkdtempSync(join(tmpdir(), "flock-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(directory, { recursive: true })))
      const file = join(directory, "file")
      writeFileSync(file, "")
      const before = snapshot(host)
      for (
        const [path, detail] of [
          ["/run/netns/flock-no-such", "cannot be opened (ENOENT)"],
          ["/proc/4194305/ns/net", "cannot be opened (ENOENT)"],
          ["", "cannot be opened (ENOENT)"],
          ["/run/netns/a\0b", "cannot be opened (ERR_INVALID_ARG_VALUE)"],
          [file, "is not a network namespace"],
          [directory, "is not a network namespace"],
          ["/proc/self/ns/mnt", "is not a network namespace"],
          [`/run/netns/${host}`, "is the host's own network namespace"]
        ] as const
      ) {
        const error = yield* Effect.flip(netlink.attach(planOf("", 5, { netns: path })))
        assert.strictEqual(error._tag, "NetnsError")
        assert.include(error.message, detail)
      }
      assert.deepStrictEqual(snapshot(host), before)
      // The thread came home each time.
      yield* netlink.attach(planOf(pod(), 5))
      ping(host, "10.42.1.5")
    }).pipe(Effect.scoped))
})

describe("a failed attach leaves nothing", () => {
  const refuses = (
    title: string,
    plan: (pod: string) => PodLinkPlan,
    prepare: (host: string, pod: string) => void,
    expected: { readonly _tag: string; readonly message: RegExp }
  ) =>
    it.live(title, () =>
      Effect.gen(function*() {
        const { host, netlink, pod } = yield* makeLab
        const name = pod()
        ip(name, "link", "set", "lo", "up")
        prepare(host, name)
        const before = [snapshot(host), snapshot(name)]
        const error = yield* Effect.flip(netlink.attach(plan(name)))
        assert.strictEqual(error._tag, expected._tag)
        assert.match(error.message, expected.message)
        assert.deepStrictEqual([snapshot(host), snapshot(name)], before)
      }).pipe(Effect.scoped))

  refuses("interface exists", (pod) => planOf(pod, 5), (_, pod) => ip(pod, "link", "add", "eth0", "type", "bridge"), {
    _tag: "InterfaceExists",
    message: /^interface eth0 already exists in \/run\/netns\//
  })
  refuses("interface is lo", (pod) => planOf(pod, 5, { ifName: "lo" }), () => {}, {
    _tag: "InterfaceExists",
    message: /lo already exists/
  })
  refuses(
    "host name taken by a foreign link, which stays as it was",
    (pod) => planOf(pod, 5),
    (host) => ip(host, "link", "add", "flock00000005", "type", "bridge"),
    { _tag: "LinkNameTaken", message: /^the host has a link named flock00000005 already$/ }
  )
  refuses(
    "host name taken as a foreign link's second name",
    (pod) => planOf(pod, 5),
    (host) => {
      ip(host, "link", "add", "other", "type", "bridge")
      ip(host, "link", "property", "add", "dev", "other", "altname", "flock00000005")
    },
    { _tag: "LinkNameTaken", message: /flock00000005/ }
  )
  refuses(
    "both names taken: another host name would not help",
    (pod) => planOf(pod, 5),
    (host, pod) => {
      ip(host, "link", "add", "flock00000005", "type", "bridge")
      ip(pod, "link", "add", "eth0", "type", "bridge")
    },
    { _tag: "InterfaceExists", message: /eth0 already exists/ }
  )
  for (
    const [a, metric] of [
      ["10.42.1.5/32", "0"],
      ["10.42.1.5/32", "1024"],
      ["2001:db8:1::5/128", "1024"],
      ["2001:db8:1::5/128", "1"]
    ] as const
  ) {
    refuses(
      `another link holds the route to ${a} with metric ${metric}`,
      (pod) => planOf(pod, 5, { addresses: { anycast: ANYCAST } }),
      (host) => {
        // With a carrier: of a link without one the kernel marks routes a second later.
        ip(host, "link", "add", "other", "type", "veth", "peer", "name", "far")
        for (const end of ["other", "far"]) {
          ip(host, "link", "set", end, "addrgenmode", "none")
          ip(host, "link", "set", end, "up")
        }
        ip(host, "route", "add", a, "dev", "other", "metric", metric)
      },
      { _tag: "AddressHeld", message: /^\S+ is in use on the host already: .*another link holds a route/ }
    )
  }
  for (const kind of ["unreachable", "blackhole", "prohibit"]) {
    for (const a of ["10.42.1.5/32", "2001:db8:1::5/128"]) {
      refuses(
        `somebody makes ${a} ${kind}`,
        (pod) => planOf(pod, 5, { addresses: { anycast: ANYCAST } }),
        (host) => ip(host, "route", "add", kind, a, "metric", "1"),
        { _tag: "AddressHeld", message: /^\S+ is in use on the host already/ }
      )
    }
  }
  refuses(
    "the host has the address itself",
    (pod) => planOf(pod, 5),
    (host) => ip(host, "addr", "add", "10.42.1.5/32", "dev", "lo"),
    { _tag: "AddressHeld", message: /^10\.42\.1\.5 is in use on the host already/ }
  )
  for (const ifName of ["", "..", "a/b", "../../x", "eth%d", "sixteen-bytes-xx", "a b", "a:b"]) {
    refuses(`interface name ${JSON.stringify(ifName)}`, (pod) => planOf(pod, 5, { ifName }), () => {}, {
      _tag: "NetlinkError",
      message: /^create veth flock00000005: EINVAL \(".*" is no interface name\)/
    })
  }
  refuses("MTU too small for the kernel", (pod) => planOf(pod, 5, { mtu: 20 }), () => {}, {
    _tag: "NetlinkError",
    message: /^create veth flock00000005: EINVAL/
  })
  refuses("alias too long", (pod) => planOf(pod, 5, { alias: "x".repeat(300) }), () => {}, {
    _tag: "NetlinkError",
    message: /^configure flock00000005: (EINVAL|ERANGE)/
  })

  it.live("an anycast address that was on lo before stays there", () =>
    Effect.gen(function*() {
      const { host, netlink, pod } = yield* makeLab
      const name = pod()
      ip(name, "addr", "add", "192.0.2.1/32", "dev", "lo")
      ip(host, "link", "add", "other", "up", "type", "bridge")
      ip(host, "route", "add", "10.42.1.5/32", "dev", "other")
      yield* Effect.flip(netlink.attach(planOf(name, 5, { addresses: { anycast: ANYCAST } })))
      assert.include(ip(name, "addr", "show", "lo"), formatAddress(address("192.0.2.1")))
      assert.notInclude(ip(name, "addr", "show", "lo"), "2001:db8:a::1")
    }).pipe(Effect.scoped))
})
