/** What a pod may send, tried with real packets from raw sockets. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { constants } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { address, cidr, hostCidr } from "../../src/domain/Ip.ts"
import { verdict } from "../../src/firewall/expressions.ts"
import { Firewall, type Wanted } from "../../src/firewall/Firewall.ts"
import * as N from "../../src/firewall/nft.ts"
import { TABLE } from "../../src/firewall/ruleset.ts"
import * as Transactions from "../../src/firewall/transactions.ts"
import { attr, be32, type Message, text } from "../../src/netlink/codec.ts"
import { SystemCallError } from "../../src/netlink/libc.ts"
import { Namespaces } from "../../src/netlink/namespace.ts"
import { type HostRoute, PROTOCOL_EXPORT } from "../../src/netlink/Netlink.ts"
import { RequestSocket } from "../../src/netlink/socket.ts"
import { inside, ip, ipJson, linkName, makeLab, NODE4, NODE6, ping, planOf, sysctl, without } from "./lab.ts"
import { arp, neighbourSolicitation, openRaw, routerAdvertisement, sourceOf, syn, udp } from "./packets.ts"

const ON: Wanted = { antiSpoofing: true, exempt: [], sources: [] }
const ANYCAST = [address("2001:db8:a::1"), address("192.0.2.1")]
const indexOf = (host: string, n: number): number => Number(ipJson(host, "link", "show", linkName(n))[0]?.["ifindex"])
const settled = Effect.promise(() => sleep(150))

/** Two pods (5 and 6), the outside, and the node, with the firewall as wanted. */
const makeNode = Effect.fnUntraced(function*(wanted: Wanted = ON, changes: Parameters<typeof planOf>[2] = {}) {
  const lab = yield* makeLab
  const { host, netlink, pod } = lab
  const [a, b, out] = [pod(), pod(), pod()]
  yield* netlink.attach(planOf(a, 5, changes))
  yield* netlink.attach(planOf(b, 6))
  ip(host, "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", out)
  sysctl(host, "net/ipv6/conf/up0/accept_dad", "0")
  for (const [ns, dev, n] of [[host, "up0", 1], [out, "eth0", 2]] as const) {
    ip(ns, "addr", "add", `198.51.100.${n}/24`, "dev", dev)
    ip(ns, "addr", "add", `2001:db8:ffff:1::${n}/64`, "dev", dev, "nodad")
    ip(ns, "link", "set", dev, "up")
  }
  ip(out, "route", "add", "default", "via", "198.51.100.1")
  ip(out, "route", "add", "default", "via", "2001:db8:ffff:1::1")
  ip(host, "route", "add", "default", "via", "198.51.100.2")
  ip(host, "route", "add", "default", "via", "2001:db8:ffff:1::2")
  const firewall = yield* Effect.service(Firewall).pipe(
    Effect.provide(yield* Layer.build(Firewall.layer({ netns: `/run/netns/${host}` })))
  )
  yield* firewall.apply(wanted)
  yield* settled
  const raw = (netns: string, ifName: string) =>
    Effect.acquireRelease(Effect.sync(() => openRaw(netns, ifName)), (link) => Effect.sync(() => link.close()))
  const links = { a: yield* raw(a, "eth0"), b: yield* raw(b, "eth0"), out: yield* raw(out, "eth0") }
  const drops = Effect.map(
    firewall.drops,
    (all) => Object.fromEntries(all.map(({ ifName, packets, reason }) => [`${ifName} ${reason}`, packets]))
  )
  return { ...lab, a, b, out, firewall, links, drops }
})

type Node = Effect.Success<ReturnType<typeof makeNode>>

/** Which of the sources reach the place: each says so in its own words. */
const arriving = Effect.fnUntraced(function*(node: Node, sources: ReadonlyArray<string>, to: string) {
  const place = node.links[to === "10.42.1.6" || to === "2001:db8:1::6" ? "b" : "out"]
  place.heard()
  for (const source of sources) node.links.a.send(udp(source, to, 53, `from ${source}`))
  yield* settled
  const heard = place.heard().map((one) => Buffer.from(one.bytes).toString("latin1"))
  return sources.filter((source) => heard.some((text) => text.endsWith(`from ${source}`)))
})

/** UDP to an address of the node's, by what its kernel counts as without a socket. */
const noPorts = (host: string, family: 4 | 6): number =>
  family === 4
    ? Number(/^Udp: (\d.*)$/m.exec(inside(host, "cat", "/proc/net/snmp"))?.[1]?.split(" ")[1])
    : Number(/^Udp6NoPorts\s+(\d+)/m.exec(inside(host, "cat", "/proc/net/snmp6"))?.[1])

/** Which of the sources the node itself takes, at an address of its own. */
const takenByNode = Effect.fnUntraced(function*(node: Node, sources: ReadonlyArray<string>) {
  const taken: Array<string> = []
  for (const source of sources) {
    const family = source.includes(":") ? 6 : 4
    const before = noPorts(node.host, family)
    node.links.a.send(udp(source, family === 6 ? NODE6 : NODE4, 5353))
    yield* Effect.promise(() => sleep(20))
    if (noPorts(node.host, family) > before) taken.push(source)
  }
  return taken
})

const FOREIGN4 = [
  "10.42.1.6",
  "10.42.1.1",
  "10.42.1.99",
  NODE4,
  "198.51.100.1",
  "198.51.100.2",
  "203.0.113.1",
  "0.0.0.0",
  "127.0.0.1",
  "169.254.1.1",
  "192.0.2.1",
  "224.0.0.5",
  "255.255.255.255"
]
const FOREIGN6 = [
  "2001:db8:1::6",
  "2001:db8:1::99",
  NODE6,
  "2001:db8:ffff:1::1",
  "2001:db8:ffff:1::2",
  "2001:db8:77::1",
  "::",
  "::1",
  "fe80::1",
  "2001:db8:a::1",
  "ff02::5"
]

describe("anti-spoofing", () => {
  it.live("of all sources only the pod's own reach other pods, the outside and the node", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      for (const to of ["10.42.1.6", "198.51.100.2"]) {
        assert.deepStrictEqual(yield* arriving(node, ["10.42.1.5", ...FOREIGN4], to), ["10.42.1.5"], to)
      }
      for (const to of ["2001:db8:1::6", "2001:db8:ffff:1::2"]) {
        assert.deepStrictEqual(yield* arriving(node, ["2001:db8:1::5", ...FOREIGN6], to), ["2001:db8:1::5"], to)
      }
      const [before4, before6] = [noPorts(node.host, 4), noPorts(node.host, 6)]
      for (const source of FOREIGN4) node.links.a.send(udp(source, NODE4, 5353))
      for (const source of FOREIGN6) node.links.a.send(udp(source, NODE6, 5353))
      yield* settled
      assert.deepStrictEqual([noPorts(node.host, 4), noPorts(node.host, 6)], [before4, before6])
      node.links.a.send(udp("10.42.1.5", NODE4, 5353))
      node.links.a.send(udp("2001:db8:1::5", NODE6, 5353))
      yield* settled
      assert.deepStrictEqual([noPorts(node.host, 4), noPorts(node.host, 6)], [before4 + 1, before6 + 1])
      const { [`${linkName(5)} spoofed`]: spoofed = 0 } = yield* node.drops
      // What the kernel drops by itself before the hook (martians of the IPv6 header) is not among them.
      assert.isAtLeast(spoofed, 3 * (FOREIGN4.length + FOREIGN6.length) - 15)
      ping(node.a, "10.42.1.6")
      ping(node.a, "2001:db8:1::6")
      ping(node.a, "198.51.100.2")
      ping(node.a, "2001:db8:ffff:1::2")
      ping(node.a, NODE4)
      ping(node.a, NODE6)
    }).pipe(Effect.scoped))

  it.live("without it the same packets do arrive", () =>
    Effect.gen(function*() {
      const node = yield* makeNode({ ...ON, antiSpoofing: false })
      assert.includeMembers(yield* arriving(node, ["10.42.1.5", ...FOREIGN4], "10.42.1.6"), [
        "10.42.1.99",
        "203.0.113.1"
      ])
      assert.includeMembers(yield* arriving(node, FOREIGN6, "2001:db8:ffff:1::2"), ["2001:db8:1::6", "2001:db8:77::1"])
      yield* node.firewall.apply(ON)
      assert.deepStrictEqual(yield* arriving(node, FOREIGN4, "10.42.1.6"), [])
      yield* node.firewall.apply({ ...ON, antiSpoofing: false })
      assert.include(yield* arriving(node, FOREIGN4, "10.42.1.6"), "203.0.113.1")
    }).pipe(Effect.scoped))

  it.live("an anycast address is the pod's own while it is announced; and, by the set, when it is not", () =>
    Effect.gen(function*() {
      const node = yield* makeNode(ON, { addresses: { anycast: ANYCAST } })
      const sources = ["2001:db8:a::1"]
      const route = (n: number, to: typeof ANYCAST[number], via: string): HostRoute => ({
        destination: hostCidr(to),
        protocol: PROTOCOL_EXPORT,
        nextHops: [{
          ifIndex: indexOf(node.host, n),
          via: address(via),
          onlink: true
        }]
      })
      const [any6, any4] = ANYCAST as [typeof ANYCAST[number], typeof ANYCAST[number]]
      yield* node.netlink.putRoutes([route(5, any6, "2001:db8:1::5"), route(5, any4, "10.42.1.5")])
      assert.deepStrictEqual(yield* arriving(node, sources, "2001:db8:1::6"), sources)
      assert.deepStrictEqual(yield* arriving(node, ["192.0.2.1"], "198.51.100.2"), ["192.0.2.1"])
      // Another node announces it as well: the way to it leads elsewhere while this pod is not Ready.
      yield* node.netlink.deleteRoutes([route(5, any6, "2001:db8:1::5"), route(5, any4, "10.42.1.5")])
      ip(node.host, "route", "add", "192.0.2.1/32", "via", "198.51.100.2")
      ip(node.host, "route", "add", "2001:db8:a::1/128", "via", "2001:db8:ffff:1::2")
      assert.deepStrictEqual(yield* arriving(node, sources, "2001:db8:1::6"), [])
      assert.deepStrictEqual(yield* arriving(node, ["192.0.2.1"], "198.51.100.2"), [])
      const known = { ...ON, sources: ANYCAST.map((one) => ({ ifName: linkName(5), address: one })) }
      assert.isTrue(yield* node.firewall.apply(known))
      assert.isFalse(yield* node.firewall.apply(known))
      assert.deepStrictEqual(yield* arriving(node, sources, "2001:db8:1::6"), sources)
      assert.deepStrictEqual(yield* arriving(node, ["192.0.2.1"], "198.51.100.2"), ["192.0.2.1"])
      // Of that link only.
      node.links.b.send(udp("192.0.2.1", "10.42.1.5", 53, "stolen"))
      yield* settled
      assert.isFalse(node.links.a.heardText("stolen"))
    }).pipe(Effect.scoped))

  it.live("a chosen address is the pod's own, and takes the place of one of the node's prefix; it is no other pod's", () =>
    Effect.gen(function*() {
      const [chosen4, chosen6] = ["192.0.2.7", "2001:db8:a::7"] as const
      const chosen = [address(chosen6), address(chosen4)]
      const node = yield* makeNode(ON, { addresses: { ipv6: address(chosen6), ipv4: address(chosen4), chosen } })
      const sources4 = [chosen4, "10.42.1.5", ...FOREIGN4]
      const sources6 = [chosen6, "2001:db8:1::5", ...FOREIGN6]
      for (const to of ["10.42.1.6", "198.51.100.2"]) {
        assert.deepStrictEqual(yield* arriving(node, sources4, to), [chosen4], to)
      }
      for (const to of ["2001:db8:1::6", "2001:db8:ffff:1::2"]) {
        assert.deepStrictEqual(yield* arriving(node, sources6, to), [chosen6], to)
      }
      assert.deepStrictEqual(yield* takenByNode(node, [...sources4, ...sources6]), [chosen4, chosen6])
      // The other pod speaks for neither, to anybody.
      for (const to of ["198.51.100.2", chosen4]) node.links.b.send(udp(chosen4, to, 53, "stolen"))
      for (const to of ["2001:db8:ffff:1::2", chosen6]) node.links.b.send(udp(chosen6, to, 53, "stolen"))
      yield* settled
      assert.isFalse(node.links.a.heardText("stolen"))
      assert.isFalse(node.links.out.heardText("stolen"))
      // While the pod is not Ready only its route of protocol 201 goes, as here there is none.
      ping(node.a, "198.51.100.2")
      ping(node.a, "2001:db8:ffff:1::2")
    }).pipe(Effect.scoped))

  it.live("an exempt pod has any source towards pods, the outside and the node, in both families, but is no router", () =>
    Effect.gen(function*() {
      const node = yield* makeNode({ ...ON, exempt: [linkName(5)] })
      const four = ["10.42.1.5", "10.42.1.99", "203.0.113.1", "198.51.100.2", "192.0.2.1"]
      const six = ["2001:db8:1::5", "2001:db8:1::99", "2001:db8:77::1", "2001:db8:ffff:1::2", "2001:db8:a::1"]
      for (const to of ["10.42.1.6", "198.51.100.2"]) assert.deepStrictEqual(yield* arriving(node, four, to), four, to)
      for (const to of ["2001:db8:1::6", "2001:db8:ffff:1::2"]) {
        assert.deepStrictEqual(yield* arriving(node, six, to), six, to)
      }
      assert.deepStrictEqual(yield* takenByNode(node, [...four, ...six]), [...four, ...six])
      // What no exemption is for.
      sysctl(node.host, "net/ipv4/conf/all/route_localnet", "1")
      const before = (yield* node.drops)[`${linkName(5)} forbidden`] ?? 0
      assert.deepStrictEqual(yield* takenByNode(node, ["127.0.0.1"]), [])
      node.links.a.send(udp("203.0.113.1", NODE4, 3784))
      node.links.a.send(udp("2001:db8:77::1", NODE6, 3784))
      node.links.a.send(routerAdvertisement("fe80::66", "2001:db8:66::", 64), { everybody: true })
      yield* settled
      assert.strictEqual((yield* node.drops)[`${linkName(5)} forbidden`], before + 4)
      assert.isUndefined((yield* node.drops)[`${linkName(5)} spoofed`])
      // The pod beside it is not exempt, in either family.
      node.links.b.send(udp("203.0.113.1", "10.42.1.5", 53, "not exempt"))
      node.links.b.send(udp("2001:db8:77::1", "2001:db8:1::5", 53, "not exempt"))
      yield* settled
      assert.isFalse(node.links.a.heardText("not exempt"))
    }).pipe(Effect.scoped))

  it.live("two pods of a node with one anycast address both speak for it (multipath)", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      const index = (n: number) => indexOf(node.host, n)
      const hops = (...vias: ReadonlyArray<string>) =>
        vias.map((via, i) => ({ ifIndex: index(5 + i), via: address(via), onlink: true }))
      yield* node.netlink.putRoutes([
        {
          destination: cidr("2001:db8:a::1/128"),
          protocol: PROTOCOL_EXPORT,
          nextHops: hops("2001:db8:1::5", "2001:db8:1::6")
        },
        { destination: cidr("192.0.2.1/32"), protocol: PROTOCOL_EXPORT, nextHops: hops("10.42.1.5", "10.42.1.6") }
      ])
      // Of an IPv6 route with several next hops the lookup takes one by flow, whatever link the packet came by (6.18).
      yield* node.firewall.apply({
        ...ON,
        sources: [5, 6].flatMap((n) => ANYCAST.map((one) => ({ ifName: linkName(n), address: one })))
      })
      for (const [name, link] of [["a", node.links.a], ["b", node.links.b]] as const) {
        // The kernel chooses a next hop by flow: many flows, each of which must pass from either pod.
        for (let i = 0; i < 32; i++) {
          link.send(udp("192.0.2.1", "198.51.100.2", 1000 + i, `four ${name} ${i}.`, 2000 + 7 * i))
          link.send(udp("2001:db8:a::1", "2001:db8:ffff:1::2", 1000 + i, `six ${name} ${i}.`, 2000 + 7 * i))
        }
        yield* settled
        const heard = node.links.out.heard().map((one) => Buffer.from(one.bytes).toString("latin1"))
        for (const family of ["four", "six"]) {
          const passed = Array.from({ length: 32 }, (_, i) => i).filter((i) =>
            heard.some((text) => text.includes(`${family} ${name} ${i}.`))
          )
          assert.strictEqual(passed.length, 32, `${family} ${name}`)
        }
      }
    }).pipe(Effect.scoped))

  for (const family of [4, 6] as const) {
    it.live(`a pod with IPv${family} only has no source of the other family`, () =>
      Effect.gen(function*() {
        const node = yield* makeNode()
        const only = node.pod()
        const keys = family === 4 ? ["ipv6"] as const : ["ipv4", "gateway4"] as const
        yield* node.netlink.attach(without(planOf(only, 7), ...keys))
        const link = openRaw(only, "eth0")
        link.send(udp("10.42.1.7", "198.51.100.2", 53, "four"))
        link.send(udp("2001:db8:1::7", "2001:db8:ffff:1::2", 53, "six"))
        yield* settled
        link.close()
        const heard = node.links.out.heard().map((one) => Buffer.from(one.bytes).toString("latin1"))
        assert.deepStrictEqual([heard.some((t) => t.endsWith("four")), heard.some((t) => t.endsWith("six"))], [
          family === 4,
          family === 6
        ])
        ping(only, family === 4 ? "198.51.100.2" : "2001:db8:ffff:1::2")
      }).pipe(Effect.scoped))
  }

  it.live("what an operator routes to a pod's link is the pod's own too; and an exempt link sends what it likes", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      ip(node.host, "route", "add", "203.0.113.64/26", "via", "10.42.1.5", "dev", linkName(5), "onlink")
      assert.deepStrictEqual(yield* arriving(node, ["203.0.113.65", "203.0.113.1"], "10.42.1.6"), ["203.0.113.65"])
      yield* node.firewall.apply({ ...ON, exempt: [linkName(5)] })
      assert.deepStrictEqual(yield* arriving(node, ["203.0.113.65", "203.0.113.1"], "10.42.1.6"), [
        "203.0.113.65",
        "203.0.113.1"
      ])
      node.links.b.send(udp("203.0.113.1", "10.42.1.5", 53, "not exempt"))
      yield* settled
      assert.isFalse(node.links.a.heardText("not exempt"))
      yield* node.firewall.apply(ON)
      assert.deepStrictEqual(yield* arriving(node, ["203.0.113.1"], "10.42.1.6"), [])
    }).pipe(Effect.scoped))
})

describe("what speaks as a router", () => {
  it.live("BGP and BFD of the node are not for pods, nor is its loopback; other ports are, and other hosts' BGP is", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      sysctl(node.host, "net/ipv4/conf/all/route_localnet", "1")
      const reached = (host: string) => ({
        udp: noPorts(host, 4) + noPorts(host, 6),
        resets: Number(/^Tcp: (\d.*)$/m.exec(inside(host, "cat", "/proc/net/snmp"))?.[1]?.split(" ")[13])
      })
      const before = reached(node.host)
      for (const port of [3784, 3785, 4784]) {
        node.links.a.send(udp("10.42.1.5", NODE4, port))
        node.links.a.send(udp("2001:db8:1::5", NODE6, port))
        node.links.a.send(udp("2001:db8:1::5", "fe80::1", port))
      }
      node.links.a.send(syn("10.42.1.5", NODE4, 179))
      node.links.a.send(syn("2001:db8:1::5", NODE6, 179))
      node.links.a.send(udp("10.42.1.5", "127.0.0.1", 5353))
      yield* settled
      assert.deepStrictEqual(reached(node.host), before)
      assert.strictEqual((yield* node.drops)[`${linkName(5)} forbidden`], 12)
      node.links.a.send(udp("10.42.1.5", NODE4, 3783))
      node.links.a.send(syn("2001:db8:1::5", NODE6, 180))
      yield* settled
      assert.deepStrictEqual(reached(node.host), { udp: before.udp + 1, resets: before.resets + 1 })
      node.links.out.heard()
      node.links.a.send(syn("10.42.1.5", "198.51.100.2", 179))
      yield* settled
      assert.strictEqual(node.links.out.heard().filter((one) => sourceOf(one) === "10.42.1.5").length, 1)
    }).pipe(Effect.scoped))

  it.live("nothing comes from 127.0.0.0/8 of a pod where portmap has opened its link, with anti-spoofing off too", () =>
    Effect.gen(function*() {
      const node = yield* makeNode({ ...ON, antiSpoofing: false })
      sysctl(node.host, `net/ipv4/conf/${linkName(5)}/route_localnet`, "1")
      // Other programs set it, and the kernel's own check of sources is off with it.
      sysctl(node.host, "net/ipv4/conf/all/accept_local", "1")
      assert.deepStrictEqual(yield* takenByNode(node, ["127.0.0.1", "127.9.9.9"]), [])
      assert.strictEqual((yield* node.drops)[`${linkName(5)} forbidden`], 2)
      // That is the firewall's doing: the kernel takes them.
      yield* node.firewall.remove
      assert.deepStrictEqual(yield* takenByNode(node, ["127.0.0.1"]), ["127.0.0.1"])
    }).pipe(Effect.scoped))

  it.live("a router advertisement is dropped even on a link that would believe it", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      sysctl(node.host, `net/ipv6/conf/${linkName(5)}/accept_ra`, "2")
      node.links.a.send(routerAdvertisement("fe80::66", "2001:db8:66::", 64), { everybody: true })
      yield* settled
      assert.notMatch(ip(node.host, "-6", "route"), /proto ra/)
      assert.strictEqual((yield* node.drops)[`${linkName(5)} forbidden`], 1)
    }).pipe(Effect.scoped))

  it.live("a pod cannot fill the neighbour table that all links share", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      const entries = () => ip(node.host, "neigh", "show", "dev", linkName(5)).split("\n").length
      for (let i = 0; i < 500; i++) {
        node.links.a.send(neighbourSolicitation(`fe80::${(i + 0x100).toString(16)}`, "fe80::1"), { everybody: true })
        node.links.a.send(arp(1, `10.99.${i >> 8}.${i & 255}`, NODE4), { everybody: true })
      }
      yield* settled
      assert.isBelow(entries(), 150)
      assert.isAtLeast((yield* node.drops)[`${linkName(5)} flooding`] ?? 0, 800)
      ping(node.a, NODE6)
      ping(node.a, "10.42.1.6")
      ping(node.b, "10.42.1.5")
    }).pipe(Effect.scoped))
})

describe("the tables", () => {
  /** Each makes one change that leaves pods' packets through. */
  const tampering: ReadonlyArray<readonly [string, ReadonlyArray<Message>]> = [
    ["deletes the table", [N.deleteTable(N.NFPROTO_INET, TABLE)]],
    ["empties a chain", [
      N.message(N.NFT_MSG_DELRULE, 0, N.NFPROTO_INET, attr(1, text(TABLE)), attr(2, text("prerouting")))
    ]],
    ["puts a rule before ours", [
      { ...N.newRule(N.NFPROTO_INET, TABLE, "pod", [verdict("return")], "other"), flags: 0x400 }
    ]],
    ["puts the table to sleep", [
      N.message(N.NFT_MSG_NEWTABLE, 0, N.NFPROTO_INET, attr(1, text(TABLE)), attr(2, be32(1)))
    ]],
    ["exempts a link", [N.addElements(N.NFPROTO_INET, TABLE, "exempt", [N.ifName(linkName(5))])]]
  ]

  for (const [what, messages] of tampering) {
    it.live(`are put back when somebody ${what}`, () =>
      Effect.gen(function*() {
        const node = yield* makeNode()
        const watching = yield* node.firewall.changes.pipe(
          Stream.take(1),
          Stream.runDrain,
          Effect.forkChild({ startImmediately: true })
        )
        const namespaces = new Namespaces(`/run/netns/${node.host}`)
        const other = namespaces.visit(namespaces.host, () => new RequestSocket(0, N.NETLINK_NETFILTER))
        const replies = yield* other.request(N.batch(messages))
        assert.deepStrictEqual(replies.slice(1, -1).map(({ ack }) => ack.code), messages.map(() => 0))
        other.close()
        namespaces.close()
        yield* Fiber.join(watching)
        assert.include(yield* arriving(node, FOREIGN4, "10.42.1.6"), "203.0.113.1")
        assert.isTrue(yield* node.firewall.apply(ON))
        assert.deepStrictEqual(yield* arriving(node, FOREIGN4, "10.42.1.6"), [])
        assert.isFalse(yield* node.firewall.apply(ON))
      }).pipe(Effect.scoped))
  }

  it.live("are gone after they are removed, once or twice", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      yield* node.firewall.remove
      yield* node.firewall.remove
      assert.deepStrictEqual(yield* node.firewall.drops, [])
      assert.include(yield* arriving(node, FOREIGN4, "10.42.1.6"), "203.0.113.1")
    }).pipe(Effect.scoped))

  it.live("are made by the try after one for which the kernel had no socket", () =>
    Effect.gen(function*() {
      const { host } = yield* makeLab
      const namespaces = new Namespaces(`/run/netns/${host}`)
      let refused = 0
      const refusing = {
        host: namespaces.host,
        visit: <A>(netns: typeof namespaces.host, visit: () => A): A => {
          // A module that is loaded later, or descriptors that had run out.
          if (refused++ < 2) throw new SystemCallError("socket", constants.errno.EPROTONOSUPPORT)
          return namespaces.visit(netns, visit)
        }
      }
      const { dump } = yield* Transactions.make(refusing)
      const tables = dump("list tables", N.getTables(N.NFPROTO_INET))
      assert.match((yield* Effect.flip(tables)).message, /^open nf_tables: EPROTONOSUPPORT/)
      assert.match((yield* Effect.flip(tables)).message, /^open nf_tables: EPROTONOSUPPORT/)
      assert.deepStrictEqual(yield* tables, [])
      const visits = refused
      yield* tables
      assert.strictEqual(refused, visits)
      namespaces.close()
    }).pipe(Effect.scoped))

  it.live("counts stay over an agent's restart, and go with the link", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      node.links.a.send(udp("203.0.113.1", "10.42.1.6", 53))
      yield* settled
      const key = `${linkName(5)} spoofed`
      assert.strictEqual((yield* node.drops)[key], 1)
      yield* Effect.gen(function*() {
        const next = yield* Firewall
        assert.isFalse(yield* next.apply(ON))
        node.links.a.send(udp("203.0.113.1", "10.42.1.6", 53))
        yield* settled
        const drops = yield* next.drops
        assert.deepStrictEqual(drops, [{ ifName: linkName(5), reason: "spoofed", packets: 2 }])
        yield* next.forget(drops)
        yield* next.forget(drops)
        assert.deepStrictEqual(yield* next.drops, [])
      }).pipe(Effect.provide(Firewall.layer({ netns: `/run/netns/${node.host}` })))
    }).pipe(Effect.scoped))

  it.live("a thousand sources and a hundred exempt links are no problem", () =>
    Effect.gen(function*() {
      const node = yield* makeNode()
      const many: Wanted = {
        antiSpoofing: true,
        exempt: Array.from({ length: 100 }, (_, i) => linkName(1000 + i)),
        sources: Array.from({ length: 1500 }, (_, i) => ({
          ifName: linkName(i >> 3),
          address: address(i % 2 === 0 ? `2001:db8:a::${(i + 16).toString(16)}` : `192.0.${i >> 8}.${i & 255}`)
        }))
      }
      assert.isTrue(yield* node.firewall.apply(many))
      assert.isFalse(yield* node.firewall.apply(many))
      yield* node.firewall.remove
      assert.isTrue(yield* node.firewall.apply(many))
      assert.isFalse(yield* node.firewall.apply(many))
      assert.isTrue(yield* node.firewall.apply(ON))
      assert.isFalse(yield* node.firewall.apply(ON))
    }).pipe(Effect.scoped))
})
