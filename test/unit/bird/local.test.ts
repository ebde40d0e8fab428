import { assert, describe, it } from "@effect/vitest"
import {
  type Choice,
  localEnd,
  nextHop,
  nodeAddresses,
  onlyFleeting,
  routerId,
  routerIdOfName
} from "../../../src/bird/local.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import { dual, hostInterface } from "./inputs.ts"

const chosen = (peer: string, interfaces = dual, outgoing?: number, more: Partial<Choice> = {}) => {
  const distant = outgoing !== undefined
  const way = outgoing === undefined ? undefined : { ifIndex: outgoing }
  const end = localEnd(address(peer), nodeAddresses(interfaces), { distant, way, ...more })
  return end === undefined ? undefined : `${formatAddress(end.address)}${end.reach === "link" ? "" : ` ${end.reach}`}`
}

describe("localEnd", () => {
  it("takes the address whose prefix has the peer in it", () => {
    assert.strictEqual(chosen("2001:db8:ffff::1"), "2001:db8:ffff::2")
    assert.strictEqual(chosen("198.51.100.1"), "198.51.100.2")
  })
  it("prefers the longest prefix, then the lowest address", () => {
    const many = [
      hostInterface("eth0", ["10.0.0.9/8", "10.1.0.9/16", "10.1.0.7/16"]),
      hostInterface("eth1", ["10.1.0.5/8"], { ifIndex: 3 })
    ]
    assert.strictEqual(chosen("10.1.0.1", many), "10.1.0.7")
  })
  it("falls back to the same /64 or /24 for addresses without a prefix", () => {
    const host = [hostInterface("eth0", ["2001:db8:ffff::2/128", "198.51.100.2/32"])]
    assert.strictEqual(chosen("2001:db8:ffff::1", host), "2001:db8:ffff::2 routed")
    assert.strictEqual(chosen("198.51.100.1", host), "198.51.100.2 routed")
    assert.strictEqual(chosen("198.51.101.1", host), undefined)
  })
  it("takes an address of the outgoing interface for a distant peer", () => {
    assert.strictEqual(chosen("2001:db8:9::9", dual, 2), "2001:db8:ffff::2 routed")
    assert.strictEqual(chosen("2001:db8:9::9", dual, 7), undefined)
  })
  it("is on the node for an address of its own, and for what the kernel takes for its own on lo", () => {
    assert.strictEqual(chosen("198.51.100.2"), "198.51.100.2 node")
    assert.strictEqual(chosen("127.0.0.1"), "127.0.0.1 node")
    assert.strictEqual(chosen("127.0.0.9"), "127.0.0.1 node")
    assert.strictEqual(chosen("::1"), "::1 node")
    assert.strictEqual(chosen("127.0.0.1", []), undefined)
  })
  it("is link-local for link-local peers only, where there is no ordinary one", () => {
    const cloud = [hostInterface("eth0", ["169.254.255.2/30", "10.0.0.5/24"]), hostInterface("eth1", ["10.9.0.5/24"])]
    assert.strictEqual(chosen("169.254.255.1", cloud), "169.254.255.2")
    assert.strictEqual(chosen("169.254.7.1", cloud, 2), "10.0.0.5 routed")
    assert.strictEqual(chosen("169.254.7.1", [hostInterface("eth0", ["169.254.255.2/30"])], 2), "169.254.255.2 routed")
    assert.strictEqual(chosen("10.1.0.1", [hostInterface("eth0", ["169.254.255.2/30"])], 2), undefined)
    assert.strictEqual(chosen("fe80::9", [hostInterface("eth0", ["fe80::1/64"])], 2), undefined)
  })
  it("never takes what comes and goes, whatever is lowest or the kernel's source", () => {
    const eth0 = (...addresses: ReadonlyArray<string>) => [hostInterface("eth0", addresses)]
    const four = eth0("198.51.100.1/24 secondary", "198.51.100.9/24")
    assert.strictEqual(chosen("198.51.100.254", four), "198.51.100.9")
    assert.strictEqual(
      chosen("198.51.100.254", four, undefined, { way: { ifIndex: 2, source: address("198.51.100.1") } }),
      "198.51.100.9"
    )
    const six = eth0(
      "2001:db8:f::1/64 deprecated",
      "2001:db8:f::2/64 temporary",
      "2001:db8:f::3/64 dynamic",
      "2001:db8:f::9/64"
    )
    assert.strictEqual(chosen("2001:db8:f::f", six), "2001:db8:f::9")
    const only = eth0("2001:db8:f::1/64 deprecated", "2001:db8:f::2/64 temporary")
    assert.isUndefined(chosen("2001:db8:f::f", only))
    assert.isTrue(onlyFleeting(address("2001:db8:f::f"), nodeAddresses(only)))
    assert.isFalse(onlyFleeting(address("2001:db8:e::f"), nodeAddresses(only)))
  })
  it("prefers permanent addresses, then the kernel's source, then the lowest", () => {
    const eth0 = [hostInterface("eth0", ["10.0.0.5/24 dynamic", "10.0.0.7/24", "10.0.0.6/24"])]
    const from = (source: string) =>
      chosen("10.0.0.1", eth0, undefined, { way: { ifIndex: 2, source: address(source) } })
    assert.strictEqual(chosen("10.0.0.1", eth0), "10.0.0.6")
    assert.strictEqual(from("10.0.0.7"), "10.0.0.7")
    assert.strictEqual(from("10.0.0.5"), "10.0.0.6")
    assert.strictEqual(chosen("10.0.0.1", [hostInterface("eth0", ["10.0.0.5/24 dynamic"])]), "10.0.0.5")
  })
  it("keeps what the session had while it is on the node, whatever became of it or of its link", () => {
    const kept = (text: string, interfaces: Parameters<typeof chosen>[1], outgoing?: number) =>
      chosen("2001:db8:f::f", interfaces, outgoing, { kept: address(text) })
    const eth0 = (up: boolean, ...addresses: ReadonlyArray<string>) => [hostInterface("eth0", addresses, { up })]
    assert.strictEqual(kept("2001:db8:f::9", eth0(true, "2001:db8:f::1/64", "2001:db8:f::9/64")), "2001:db8:f::9")
    assert.strictEqual(
      kept("2001:db8:f::9", eth0(true, "2001:db8:f::1/64", "2001:db8:f::9/64 deprecated")),
      "2001:db8:f::9"
    )
    assert.strictEqual(kept("2001:db8:f::9", eth0(false, "2001:db8:f::9/64")), "2001:db8:f::9")
    assert.strictEqual(kept("2001:db8:f::9", eth0(true, "2001:db8:f::1/64")), "2001:db8:f::1")
    // It leads nowhere any more: the operator made the peer a direct one, on another network.
    assert.strictEqual(kept("2001:db8:9::9", eth0(true, "2001:db8:9::9/64")), undefined)
    assert.strictEqual(kept("2001:db8:9::9", eth0(true, "2001:db8:9::9/64"), 2), "2001:db8:9::9 routed")
  })
  it("gives up what is on a link that is down where another one serves and the session has ended", () => {
    const two = [
      hostInterface("eth0", ["198.51.100.2/24"], { up: false }),
      hostInterface("eth1", ["198.51.100.3/24", "10.0.0.3/24"], { ifIndex: 3 })
    ]
    const kept = { kept: address("198.51.100.2") }
    assert.strictEqual(chosen("198.51.100.1", two, undefined, kept), "198.51.100.3")
    assert.strictEqual(chosen("198.51.100.1", two, undefined, { ...kept, isAlive: true }), "198.51.100.2")
    assert.strictEqual(chosen("198.51.100.1", two.slice(0, 1), undefined, kept), "198.51.100.2")
    assert.strictEqual(chosen("203.0.113.9", two, 3, kept), "10.0.0.3 routed")
    assert.strictEqual(chosen("203.0.113.9", two, 3, { ...kept, isAlive: true }), "198.51.100.2 routed")
  })
  it("takes what the operator names, be it secondary, on lo or of another network; and nothing else", () => {
    const host = [
      hostInterface("lo", ["127.0.0.1/8", "192.0.2.9/32"], { ifIndex: 1 }),
      hostInterface("eth0", ["198.51.100.2/24", "198.51.100.7/24 secondary"])
    ]
    const named = (text: string, outgoing?: number) =>
      chosen("198.51.100.1", host, outgoing, { named: address(text), kept: address("198.51.100.2") })
    assert.strictEqual(named("198.51.100.7"), "198.51.100.7")
    assert.strictEqual(named("192.0.2.9"), "192.0.2.9")
    assert.strictEqual(named("198.51.100.8"), undefined)
    assert.strictEqual(named("2001:db8::1"), undefined)
  })
  it("takes lo's or a dummy's address for a distant peer where the kernel does, or the way out has none", () => {
    const host = (...eth0: ReadonlyArray<string>) => [
      hostInterface("lo", ["127.0.0.1/8", "192.0.2.9/32"], { ifIndex: 1 }),
      hostInterface("eth0", eth0),
      hostInterface("dummy0", ["192.0.2.5/32"], { ifIndex: 7, kind: "dummy" })
    ]
    const from = (source: string | undefined, ...eth0: ReadonlyArray<string>) =>
      chosen("203.0.113.9", host(...eth0), 2, {
        way: { ifIndex: 2, ...(source === undefined ? {} : { source: address(source) }) }
      })
    assert.strictEqual(from(undefined, "198.51.100.2/24"), "198.51.100.2 routed")
    assert.strictEqual(from("192.0.2.9", "198.51.100.2/24"), "192.0.2.9 routed")
    assert.strictEqual(from("192.0.2.5", "198.51.100.2/24"), "192.0.2.5 routed")
    assert.strictEqual(from("198.51.100.3", "198.51.100.2/24", "198.51.100.3/24 dynamic"), "198.51.100.2 routed")
    assert.strictEqual(from(undefined), "192.0.2.5 routed")
    assert.strictEqual(chosen("203.0.113.9", host(), undefined), undefined)
  })
  it("passes over pods' links, loopback, link-local addresses and interfaces that are down", () => {
    const others = [
      hostInterface("lo", ["198.51.100.7/24"], { ifIndex: 1 }),
      hostInterface("flock0a1b2c3d", ["198.51.100.8/24"], { ifIndex: 4 }),
      hostInterface("eth1", ["198.51.100.9/24"], { ifIndex: 5, up: false }),
      hostInterface("eth2", ["fe80::1/64", "169.254.0.1/16"], { ifIndex: 6 })
    ]
    assert.strictEqual(chosen("198.51.100.1", others), undefined)
  })
})

describe("nextHop", () => {
  const eth0 = hostInterface("eth0", [
    "2001:db8:f::2/64",
    "10.0.0.3/24 secondary",
    "10.0.0.5/24 dynamic",
    "10.0.0.9/24"
  ])
  const addresses = nodeAddresses([eth0, hostInterface("eth1", ["10.1.0.1/24"], { ifIndex: 3 })])
  const peer = address("2001:db8:f::1")
  const hop = (kept?: string) => {
    const end = localEnd(peer, addresses, { distant: false })
    const found = end && nextHop(peer, end, 4, addresses, kept === undefined ? undefined : address(kept))
    return found && formatAddress(found.address)
  }
  it("is a permanent address of the session's interface", () => assert.strictEqual(hop(), "10.0.0.9"))
  it("is on the interface that leads to the peer where lo has none of the family", () => {
    const lo = hostInterface("lo", ["127.0.0.1/8", "192.0.2.9/32"], { ifIndex: 1 })
    const all = nodeAddresses([lo, hostInterface("eth0", ["198.51.100.2/24", "2001:db8:f::2/64"])])
    for (const peer of ["198.51.100.1", "203.0.113.9"].map(address)) {
      const end = localEnd(peer, all, { named: address("192.0.2.9"), distant: true, way: { ifIndex: 2 } })
      const found = end && nextHop(peer, end, 6, all)
      assert.strictEqual(found && formatAddress(found.address), "2001:db8:f::2")
    }
  })
  it("is what it was while that is on the interface", () => {
    assert.strictEqual(hop("10.0.0.3"), "10.0.0.3")
    assert.strictEqual(hop("10.0.0.4"), "10.0.0.9")
    assert.strictEqual(hop("10.1.0.1"), "10.0.0.9")
  })
})

describe("routerId", () => {
  const addresses = nodeAddresses(dual)
  it("is the explicit one", () =>
    assert.strictEqual(routerId("192.0.2.2", "192.0.2.3", [], addresses, "n"), "192.0.2.2"))
  it("is what it was, while the operator names none", () => {
    assert.strictEqual(routerId(undefined, "192.0.2.3", addresses, addresses, "n"), "192.0.2.3")
  })
  it("is no address that comes and goes", () => {
    const two = nodeAddresses([
      hostInterface("eth0", ["2001:db8::2/64", "10.0.0.3/24 secondary", "10.0.0.5/24 dynamic"])
    ])
    assert.strictEqual(routerId(undefined, undefined, two, two, "n"), "10.0.0.5")
  })
  it("is the IPv4 end of a session, or an IPv4 address on the interface of an IPv6 end", () => {
    const ends = (family: 4 | 6) => addresses.filter((it) => it.address.family === family)
    assert.strictEqual(routerId(undefined, undefined, ends(4), addresses, "n"), "198.51.100.2")
    assert.strictEqual(routerId(undefined, undefined, ends(6), addresses, "n"), "198.51.100.2")
  })
  it("is never an address that other nodes have too", () => {
    const cloud = nodeAddresses([hostInterface("eth0", ["169.254.255.2/30"]), hostInterface("lo", ["127.0.0.1/8"])])
    assert.strictEqual(routerId(undefined, undefined, cloud, cloud, "host001"), routerIdOfName("host001"))
  })
  it("is derived from the name where there is no such IPv4 address, always the same", () => {
    assert.strictEqual(routerId(undefined, undefined, [], addresses, "host001"), routerIdOfName("host001"))
    assert.strictEqual(routerIdOfName("host001"), routerIdOfName("host001"))
  })
  it("is never zero, multicast or above, and differs between nodes", () => {
    const ids = Array.from({ length: 5000 }, (_, i) => routerIdOfName(`host${i}`))
    assert.strictEqual(new Set(ids).size, ids.length)
    for (const id of ids) {
      const first = Number(id.split(".")[0])
      assert.isTrue(first >= 1 && first <= 223, id)
    }
  })
})
