import { assert, describe, it } from "@effect/vitest"
import { type BirdStatus, initial, type PeerStatus } from "../../../src/bird/birdStatus.ts"
import { hasLostRouter, routersOf } from "../../../src/bird/routerMemory.ts"
import { formatAddress } from "../../../src/domain/Ip.ts"

const peer = (protocol: string, state: string, address: string, ifName?: string): PeerStatus => ({
  address,
  ...(ifName === undefined ? {} : { interface: ifName }),
  asn: 65000,
  protocol,
  state,
  since: "",
  lastError: "",
  ipv6: { announced: 0, learned: 0 },
  ipv4: { announced: 0, learned: 0 }
})
const status = (...peers: ReadonlyArray<PeerStatus>): BirdStatus => ({ ...initial(true), up: true, peers })

describe("routerMemory", () => {
  it("knows link-local sessions, and no others", () => {
    const found = routersOf([
      peer("peer_on_eth0", "Established", "fe80::1%eth0"),
      peer("peer_on_eth1", "Idle", "fe80::1%eth1"),
      peer("peer_2001_db8__1", "Established", "2001:db8::1"),
      peer("peer_on_eth2", "Down", "")
    ])
    assert.deepStrictEqual([...found].map(([protocol, it]) => [protocol, formatAddress(it)]), [
      ["peer_on_eth0", "fe80::1"],
      ["peer_on_eth1", "fe80::1"]
    ])
  })

  it("hears when an unnumbered session ends", () => {
    const up = status(peer("a", "Established", "fe80::1%eth0", "eth0"), peer("b", "Established", "192.0.2.1"))
    assert.isTrue(hasLostRouter(status(peer("a", "Idle", "fe80::1%eth0", "eth0")), up))
    assert.isFalse(hasLostRouter(up, up))
    assert.isFalse(
      hasLostRouter(status(peer("a", "Established", "fe80::1%eth0", "eth0"), peer("b", "Idle", "192.0.2.1")), up)
    )
    assert.isFalse(hasLostRouter(up, status(peer("a", "Idle", "fe80::1%eth0", "eth0"))))
    assert.isFalse(hasLostRouter(status(), up))
  })
})
