import { assert, describe, it } from "@effect/vitest"
import { bfdSessions, withBfd } from "../../../src/bird/bfd.ts"
import { type PeerStatus, troubleOf } from "../../../src/bird/birdStatus.ts"
import { ReplyParser } from "../../../src/bird/reply.ts"

/** BIRD 2.0.12's. */
const text = `1020-bfd1:
 IP address                Interface  State      Since         Interval  Timeout
 2001:db8:9::9             ---        Init       2026-11-26 00:51:11    1.000    3.000
 198.51.100.1              uplink     Up         2026-11-26 00:51:12    0.150    0.900
 192.0.2.7                 uplink     AdminDown  2026-11-26 00:51:12    1.000    0.000
 fe80::1                   eth0       Up         2026-11-26 00:51:12    0.150    0.900
 fe80::1                   eth1       Down       2026-11-26 00:51:12    1.000    0.000
0000 
`

describe("BFD sessions", () => {
  const sessions = bfdSessions(new ReplyParser().feed(Buffer.from(text)).replies[0] ?? { code: 0, lines: [] })

  it("are read from BIRD's table", () => {
    assert.deepStrictEqual([...sessions], [
      ["2001:db8:9::9", { state: "Init", timeoutMilliseconds: 3000 }],
      ["198.51.100.1", { state: "Up", timeoutMilliseconds: 900 }],
      ["192.0.2.7", { state: "AdminDown", timeoutMilliseconds: 0 }],
      ["fe80::1%eth0", { state: "Up", timeoutMilliseconds: 900 }],
      ["fe80::1%eth1", { state: "Down", timeoutMilliseconds: 0 }]
    ])
  })

  it("are the peers' that are to have one, Down where BIRD has none", () => {
    const peers = ["198.51.100.1", "198.51.100.2", "198.51.100.3"].map((address) => ({ address, protocol: address }))
    const states = withBfd(peers, new Set(["198.51.100.1", "198.51.100.2"]), sessions).map(({ bfd }) => bfd?.state)
    assert.deepStrictEqual(states, ["Up", "Down", undefined])
  })

  it("that are not Up are a trouble of an Established session alone", () => {
    const peer = (state: string, bfd: string): PeerStatus => ({
      address: "192.0.2.1",
      asn: 1,
      protocol: "p",
      state,
      since: "",
      lastError: "",
      bfd: { state: bfd, timeoutMilliseconds: 0 },
      ipv6: { announced: 0, learned: 0 },
      ipv4: { announced: 0, learned: 0 }
    })
    assert.match(troubleOf(peer("Established", "Init")), /^BFD is Init: a dead link is noticed by the hold time only/)
    assert.strictEqual(troubleOf(peer("Established", "Up")) + troubleOf(peer("Connect", "Down")), "")
  })
})
