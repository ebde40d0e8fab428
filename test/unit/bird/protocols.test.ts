import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { parseProtocols } from "../../../src/bird/protocols.ts"
import { type Reply, ReplyParser } from "../../../src/bird/reply.ts"

const replyOf = (text: string): Reply => {
  const { garbage, replies } = new ReplyParser().feed(Buffer.from(text))
  assert.isUndefined(garbage)
  assert.strictEqual(replies.length, 1)
  return replies[0] ?? { code: 0, lines: [] }
}

/** Recorded from BIRD 2.0.12 with an FRR 8.4 router; the second and third peers refuse and are silent. */
const recorded = readFileSync(new URL("../../golden/bird/show-protocols-2.0.12.txt", import.meta.url), "utf8")

/** As `proto_cmd_show`, `bgp_show_proto_info` and `channel_show_info` of 3.x print. */
const version3 = `2002-Name       Proto      Table      State  Since         Info
1002-static6    Static     master6    up     10:11:12.345  
1006-  Created:            10:11:12.345
   Channel ipv6
     State:          UP
     Import state:   UP
     Export state:   READY
     Routes:         1 imported, 0 exported, 1 preferred
 
1002-peer_198_51_100_1 BGP        ---        up     10:11:15.678  Established   
1006-  Created:            10:11:12.345
   Last autorestart:   10:11:14.000
   BGP state:          Established
     Neighbor address: 198.51.100.1%uplink onlink
     Neighbor AS:      4200000001
     Local AS:         65001
     Last error:       Received: Administrative shutdown
   Channel ipv4
     State:          UP
     Import state:   UP
     Export state:   READY
     Table:          master4
     Preference:     100
     Input filter:   flock_import4
     Output filter:  (unnamed)
     Receive limit:  2000
       Action:       block
     Import limit:   1000 [HIT]
       Action:       block
     Routes:         1000 imported, 7 filtered, 3 exported, 1000 preferred
     Route change stats:     received   rejected   filtered    ignored   RX limit      limit   accepted
       Import updates:           1010          0          0          0          0         10       1000
     BGP Next hop:   198.51.100.11
     Pending 0 attribute sets with total 0 prefixes to send
   Channel ipv6
     State:          DOWN
     Table:          master6
 
0000 
`

describe("parseProtocols", () => {
  it("reads what 2.0.12 printed", () => {
    const none = { announced: 0, learned: 0 }
    assert.deepStrictEqual(parseProtocols(replyOf(recorded)), [
      {
        address: "2001:db8:ffff::1",
        asn: 65000,
        localAddress: "2001:db8:ffff::11",
        protocol: "peer_2001_db8_ffff__1",
        state: "Established",
        since: "2026-11-22 22:15:44",
        lastError: "",
        ipv6: { announced: 1, learned: 2 },
        ipv4: none
      },
      {
        address: "198.51.100.1",
        asn: 65000,
        protocol: "peer_198_51_100_1",
        state: "Active",
        since: "2026-11-22 22:15:43",
        lastError: "Socket: Connection refused",
        ipv6: none,
        ipv4: none
      },
      {
        address: "198.51.100.9",
        asn: 65000,
        protocol: "peer_198_51_100_9",
        state: "Connect",
        since: "2026-11-22 22:15:43",
        lastError: "Socket: No route to host",
        ipv6: none,
        ipv4: none
      }
    ])
  })

  it("reads what 3.x prints: more fields, more columns, a scope after the address", () => {
    assert.deepStrictEqual(parseProtocols(replyOf(version3)), [{
      address: "198.51.100.1",
      asn: 4200000001,
      protocol: "peer_198_51_100_1",
      state: "Established",
      since: "10:11:15.678",
      lastError: "Received: Administrative shutdown",
      ipv6: { announced: 0, learned: 0 },
      ipv4: { announced: 3, learned: 1000 }
    }])
  })

  it("keeps the interface of a link-local address", () => {
    const linkLocal = version3.replace("198.51.100.1%uplink", "fe80::1%bond0.100")
    assert.notStrictEqual(linkLocal, version3)
    assert.strictEqual(parseProtocols(replyOf(linkLocal))[0]?.address, "fe80::1%bond0.100")
  })

  it("does not mistake a channel's counts of one protocol for another's", () => {
    const swapped = version3.replace("1002-static6    Static", "1002-static6    BGP")
    assert.deepStrictEqual(parseProtocols(replyOf(swapped)).map(({ ipv6 }) => ipv6.learned), [1, 0])
  })

  it("gives nothing for no protocols", () => {
    assert.deepStrictEqual(parseProtocols(replyOf("0000 \n")), [])
  })
})

describe("ReplyParser", () => {
  it("gives the same however the bytes are cut", () => {
    const bytes = Buffer.from(recorded)
    const whole = replyOf(recorded)
    for (const size of [1, 2, 3, 7, 64, 1000]) {
      const parser = new ReplyParser()
      const replies: Array<Reply> = []
      for (let i = 0; i < bytes.length; i += size) {
        replies.push(...parser.feed(bytes.subarray(i, i + size)).replies)
      }
      assert.deepStrictEqual(replies, [whole])
    }
  })

  it("passes over log messages in between", () => {
    const { replies } = new ReplyParser().feed(Buffer.from("1000-BIRD\n+2026 <INFO> peer up\n0013 up\n"))
    assert.deepStrictEqual(replies[0]?.lines.map(({ text }) => text), ["BIRD", "up"])
  })

  it("does not collect without end", () => {
    const parser = new ReplyParser()
    const chunk = Buffer.alloc(1 << 20, "x")
    const results = Array.from({ length: 20 }, () => parser.feed(chunk))
    assert.strictEqual(results.at(-1)?.garbage, "a reply without end")
  })
})
