import { assert, describe, it } from "@effect/vitest"
import type { PeerStatus } from "../../../src/bird/birdStatus.ts"
import {
  type Overlap,
  parseOverlaps,
  seenNow,
  standing,
  STANDS_FOR,
  withoutOverlaps
} from "../../../src/bird/overlaps.ts"
import { cidr, formatCidr } from "../../../src/domain/Ip.ts"

/** As BIRD 2.0.12 prints them. */
const REPLY = [
  ["1007", "2001:db8:100:0:8000::/66 unicast [peer_2001_db8_ffff__1 01:12:33.015] (1) [AS65002i]"],
  ["1007", "\tvia 2001:db8:ffff::1 on uplink"],
  ["1007", "2001:db8:100::/64    unicast [peer_2001_db8_ffff__1 01:12:33.015 from 2001:db8:ffff::9] * (1) [AS65003?]"],
  ["1007", "                     unreachable [peer_2001_db8_ffff__2 01:12:34.000] (1) [i]"],
  ["0000", ""]
].map(([code, text]) => ({ code: Number(code), text: text ?? "" }))

const peer = (protocol: string, address: string): PeerStatus => ({
  address,
  asn: 65000,
  protocol,
  state: "Established",
  since: "",
  lastError: "",
  ipv6: { announced: 1, learned: 5 },
  ipv4: { announced: 1, learned: 1 }
})

const PEERS = [peer("a", "192.0.2.1"), peer("b", "192.0.2.2")]
const overlap = (text: string, protocol = "a", origin?: number): Overlap => ({
  destination: cidr(text),
  protocol,
  origin
})

describe("what routers announce of the node's prefixes", () => {
  it("is read from BIRD's reply, with the session and where it began", () => {
    assert.deepStrictEqual(
      parseOverlaps({ code: 0, lines: REPLY }).map(({ destination, origin, protocol }) => [
        formatCidr(destination),
        protocol,
        origin
      ]),
      [
        ["2001:db8:100:0:8000::/66", "peer_2001_db8_ffff__1", 65002],
        ["2001:db8:100::/64", "peer_2001_db8_ffff__1", 65003],
        ["2001:db8:100::/64", "peer_2001_db8_ffff__2", undefined]
      ]
    )
  })

  it("counts when it has stood for a while, and no more when it is gone; a return begins anew", () => {
    const said = (seen: ReturnType<typeof seenNow>, at: number) => standing(seen, PEERS, at).map(({ by }) => by)
    const first = seenNow(new Map(), [overlap("10.42.1.0/25")], 1000)
    assert.deepStrictEqual(said(first, 1000 + STANDS_FOR - 1), [])
    const still = seenNow(first, [overlap("10.42.1.0/25")], 5000)
    assert.deepStrictEqual(said(still, 1000 + STANDS_FOR), ["192.0.2.1 (AS 65000)"])
    const back = seenNow(seenNow(still, [], 20_000), [overlap("10.42.1.0/25")], 21_000)
    assert.deepStrictEqual(said(back, 21_000), [])
  })

  it("is each prefix once, the widest first, by the first session that has it", () => {
    const all = [
      overlap("10.42.1.9/32"),
      overlap("10.42.1.0/25", "a", 65002),
      overlap("10.42.1.0/25", "b"),
      overlap("10.42.1.0/24", "b")
    ]
    assert.deepStrictEqual(
      standing(seenNow(new Map(), all, 0), PEERS, STANDS_FOR).map(({ by, destination, origin }) => [
        formatCidr(destination),
        by,
        origin
      ]),
      [
        ["10.42.1.0/24", "192.0.2.2 (AS 65000)", undefined],
        ["10.42.1.0/25", "192.0.2.1 (AS 65000)", 65002],
        ["10.42.1.9/32", "192.0.2.1 (AS 65000)", undefined]
      ]
    )
  })

  it("is not counted as learned", () => {
    const found = [overlap("10.42.1.0/25"), overlap("10.42.1.128/25"), overlap("2001:db8:1::/65", "b")]
    assert.deepStrictEqual(withoutOverlaps(PEERS, found).map(({ ipv4, ipv6 }) => [ipv6.learned, ipv4.learned]), [
      [5, 0],
      [4, 1]
    ])
  })
})
