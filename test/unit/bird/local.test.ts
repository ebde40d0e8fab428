import { assert, describe, it } from "@effect/vitest"
import { localEnd, nodeAddresses, routerId, routerIdOfName } from "../../../src/bird/local.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import { dual, hostInterface } from "./inputs.ts"

const chosen = (peer: string, interfaces = dual, outgoing?: number) => {
  const end = localEnd(address(peer), nodeAddresses(interfaces), outgoing)
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

describe("routerId", () => {
  const addresses = nodeAddresses(dual)
  it("is the explicit one", () => assert.strictEqual(routerId("192.0.2.2", [], addresses, "n"), "192.0.2.2"))
  it("is the IPv4 end of a session, or an IPv4 address on the interface of an IPv6 end", () => {
    const ends = (family: 4 | 6) => addresses.filter((it) => it.address.family === family)
    assert.strictEqual(routerId(undefined, ends(4), addresses, "n"), "198.51.100.2")
    assert.strictEqual(routerId(undefined, ends(6), addresses, "n"), "198.51.100.2")
  })
  it("is never an address that other nodes have too", () => {
    const cloud = nodeAddresses([hostInterface("eth0", ["169.254.255.2/30"]), hostInterface("lo", ["127.0.0.1/8"])])
    assert.strictEqual(routerId(undefined, cloud, cloud, "host001"), routerIdOfName("host001"))
  })
  it("is derived from the name where there is no such IPv4 address, always the same", () => {
    assert.strictEqual(routerId(undefined, [], addresses, "host001"), routerIdOfName("host001"))
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
