/**
 * Requests as bytes, laid out by hand from linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h and neighbour.h. Groups are
 * of four bytes, little-endian where the kernel reads numbers.
 */
import { assert, describe, it } from "@effect/vitest"
import { address, cidr } from "../../../src/domain/Ip.ts"
import { encode, type Message } from "../../../src/netlink/codec.ts"
import { PROTOCOL_EXPORT, PROTOCOL_POD } from "../../../src/netlink/Netlink.ts"
import * as R from "../../../src/netlink/requests.ts"

const hex = (message: Message): string =>
  Buffer.from(encode([message], 7)).toString("hex").replaceAll(/(.{8})(?=.)/g, "$1 ")

const MAC = R.macBytes("ee:ee:ee:ee:ee:ee")

const golden: ReadonlyArray<readonly [name: string, message: Message, header: string, ...body: ReadonlyArray<string>]> =
  [
    ["link up", R.linkUp(5), "20000000 13000000 07000000 00000000", "00000000 05000000 01000000 01000000"],
    [
      "veth pair, the peer in another namespace",
      R.createVeth({
        hostIfName: "flock0a1b2c3d",
        hostMac: MAC,
        ifName: "eth0",
        podMac: R.macBytes("02:00:00:00:00:01"),
        mtu: 1500,
        netnsFd: 9
      }),
      "98000000 10000006 07000000 00000000",
      "00000000 00000000 00000000 00000000",
      "12000300 666c6f63 6b306131 62326333 64000000",
      "0a000100 eeeeeeee eeee0000",
      "08000400 dc050000",
      "50001280 09000100 76657468 00000000",
      "40000280 3c000180 00000000 00000000 00000000 00000000",
      "09000300 65746830 00000000 0a000100 02000000 00010000 08000400 dc050000 08001c00 09000000"
    ],
    [
      "host end's alias and ways",
      R.hostLinkSettings(5, "a/b c eth0", true),
      "b8000000 13000000 07000000 00000000",
      "00000000 05000000 00000000 00000000",
      "0e001400 612f6220 63206574 68300000",
      "88001a80 78000280 74000180 08000100 01000000 08000300 01000000 08000800 00000000 08000400 00000000",
      "08000500 00000000 08000600 00000000 08000900 00000000 08000a00 00000000 08000e00 00000000",
      "08001300 00000000 08001500 00000000 08001700 00000000 08001900 00000000 08001a00 00000000",
      "0c000a80 05000800 01000000"
    ],
    [
      "IPv6 address without DAD",
      R.addAddress(5, address("2001:db8::1"), 128),
      "40000000 14000006 07000000 00000000",
      "0a800200 05000000",
      "14000200 20010db8 00000000 00000000 00000001",
      "14000100 20010db8 00000000 00000000 00000001"
    ],
    [
      "IPv4 address",
      R.addAddress(5, address("192.0.2.1"), 32),
      "28000000 14000006 07000000 00000000",
      "02200000 05000000",
      "08000200 c0000201 08000100 c0000201"
    ],
    [
      "permanent neighbour",
      R.putNeighbour(5, address("10.42.1.1"), MAC),
      "30000000 1c000005 07000000 00000000",
      "02000000 05000000 80000000",
      "08000100 0a2a0101 0a000200 eeeeeeee eeee0000"
    ],
    [
      "pod route: link scope, protocol 200, metric 1024",
      R.addRoute({
        destination: cidr("10.42.1.5/32"),
        protocol: PROTOCOL_POD,
        nextHops: [{ ifIndex: 5, onlink: false }]
      }),
      "34000000 18000006 07000000 00000000",
      "02200000 fec8fd01 00000000",
      "08000100 0a2a0105 08000600 00040000 08000400 05000000"
    ],
    [
      "announced route: via, onlink, protocol 201, metric 512",
      R.replaceRoute({
        destination: cidr("2001:db8:a::1/128"),
        protocol: PROTOCOL_EXPORT,
        nextHops: [{ ifIndex: 5, via: address("2001:db8:1::5"), onlink: true }]
      }),
      "54000000 18000005 07000000 00000000",
      "0a800000 fec90001 04000000",
      "14000100 20010db8 000a0000 00000000 00000001",
      "08000600 00020000",
      "14000500 20010db8 00010000 00000000 00000005",
      "08000400 05000000"
    ],
    [
      "announced route with two next hops",
      R.replaceRoute({
        destination: cidr("192.0.2.1/32"),
        protocol: PROTOCOL_EXPORT,
        nextHops: [
          { ifIndex: 5, via: address("10.42.1.5"), onlink: true },
          { ifIndex: 6, via: address("10.42.1.6"), onlink: true }
        ]
      }),
      "50000000 18000005 07000000 00000000",
      "02200000 fec90001 00000000",
      "08000100 c0000201 08000600 00020000",
      "24000900 10000400 05000000 08000500 0a2a0105 10000400 06000000 08000500 0a2a0106"
    ],
    [
      "default route: no destination attribute, no metric of ours",
      R.addRoute({
        destination: cidr("0.0.0.0/0"),
        protocol: 3,
        nextHops: [{ ifIndex: 2, via: address("10.42.1.1"), onlink: true }]
      }),
      "2c000000 18000006 07000000 00000000",
      "02000000 fe030001 04000000",
      "08000500 0a2a0101 08000400 02000000"
    ],
    [
      "route deletion: any next hop, any metric, one protocol",
      R.deleteRoute(cidr("192.0.2.1/32"), PROTOCOL_EXPORT),
      "24000000 19000000 07000000 00000000",
      "02200000 fec9ff01 00000000",
      "08000100 c0000201"
    ],
    [
      "group",
      R.setGroup("flock0a1b2c3d", 0x4000_0001),
      "3c000000 13000000 07000000 00000000",
      "00000000 00000000 00000000 00000000",
      "12000300 666c6f63 6b306131 62326333 64000000 08001b00 01000040"
    ],
    [
      "deletion of a group",
      R.deleteGroup(0x4000_0001),
      "28000000 11000000 07000000 00000000",
      "00000000 00000000 00000000 00000000",
      "08001b00 01000040"
    ],
    [
      "dump of one protocol's routes",
      R.dumpRoutes(6, PROTOCOL_EXPORT),
      "1c000000 1a000000 07000000 00000000",
      "0a000000 fec90001 00000000"
    ]
  ]

describe("requests", () => {
  const cases = golden.map(([name, message, ...bytes]) => ({ name, message, bytes: bytes.join(" ") }))
  it.each(cases)("$name", ({ bytes, message }) => assert.strictEqual(hex(message), bytes))

  it("several messages lie end to end, each on a multiple of four, numbered in order", () => {
    const bytes = encode([{ type: 1, flags: 2, body: Uint8Array.of(9) }, {
      type: 3,
      flags: 4,
      body: new Uint8Array(0)
    }], 8)
    assert.strictEqual(
      Buffer.from(bytes).toString("hex"),
      "110000000100020008000000000000000900000010000000030004000900000000000000"
    )
  })

  it("an alias and names keep their UTF-8", () => {
    assert.include(hex(R.hostLinkSettings(1, "é", false)), "06001400 c3a90000")
  })
})
