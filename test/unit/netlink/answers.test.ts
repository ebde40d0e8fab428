import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { address, cidr, formatAddress, formatCidr } from "../../../src/domain/Ip.ts"
import * as A from "../../../src/netlink/answers.ts"
import { changeOf, linkChangeOf } from "../../../src/netlink/changes.ts"
import {
  attr,
  attrs,
  be32,
  concat,
  decode,
  encode,
  errnoName,
  i32At,
  nested,
  putU16,
  putU32,
  readAck,
  readText,
  text,
  u16At,
  u32,
  u32At
} from "../../../src/netlink/codec.ts"
import * as C from "../../../src/netlink/constants.ts"
import type { HostRoute } from "../../../src/netlink/Netlink.ts"
import * as R from "../../../src/netlink/requests.ts"

/** What a request would look like as the kernel's answer. */
const received = (type: number, body: Uint8Array, flags = 0) => ({ type, flags, seq: 1, body })

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"))

describe("decode", () => {
  it("gives back what was encoded", () => {
    const messages = [{ type: 16, flags: 5, body: Uint8Array.of(1, 2, 3) }, { type: 20, flags: 0, body: u32(7) }]
    const back = decode(encode(messages, 41))
    assert.deepStrictEqual(back.map((m) => m.seq), [41, 42])
    assert.deepStrictEqual(back.map(({ type, flags, body }) => ({ type, flags, body })), messages)
  })

  it("never fails and never reads beyond the end, whatever the bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (junk) => {
      for (const message of decode(junk)) {
        assert.isAtMost(message.body.length + 16, junk.length)
        for (const type of [2, 3, 16, 17, 20, 24, 25, 28]) {
          const as = { ...message, type }
          readAck(as)
          A.readLink(as)
          A.readAddress(as)
          A.readNeighbour(as)
          A.readRoute(as)
          A.readLocal(as)
          A.readLookup(as)
          A.isForeign(as, 1)
          changeOf(as)
        }
      }
      const found = attrs(junk, 0)
      for (let at = 0; at + 4 <= junk.length; at++) {
        const value = found.get(u16At(junk, at + 2) & C.NLA_TYPE_MASK)
        assert.isTrue(value === undefined || value.byteOffset + value.length <= junk.byteOffset + junk.length)
      }
    }))
  })
})

describe("attributes", () => {
  it("the last of a type, without flags, and none where there is none", () => {
    const body = concat([bytes("ffffffff"), attr(3, u32(1)), nested(1, u32(2)), attr(3, u32(3)), attr(0, u32(4))])
    const found = attrs(body, 4)
    assert.deepStrictEqual([0, 1, 3].map((type) => found.get(type)), [u32(4), u32(2), u32(3)])
    assert.isUndefined(found.get(2))
    assert.isUndefined(attrs(body, body.length).get(0))
    assert.isUndefined(attrs(attr(9, u32(1)).subarray(0, 7), 0).get(9))
  })

  it("numbers of both signs, in the machine's order", () => {
    const four = Uint8Array.of(0xfe, 0xff, 0xff, 0xff)
    assert.deepStrictEqual([i32At(four, 0), u32At(four, 0), u16At(four, 0)], [-2, 4294967294, 65534])
    assert.deepStrictEqual(u32(4294967294), four)
    const put = new Uint8Array(8)
    putU16(put, 1, 0x1234)
    putU32(put, 4, -2)
    assert.deepStrictEqual(put, Uint8Array.of(0, 0x34, 0x12, 0, ...four))
    assert.deepStrictEqual(be32(0x01020304), Uint8Array.of(1, 2, 3, 4))
  })
})

describe("acknowledgements", () => {
  it("success", () =>
    assert.deepStrictEqual(readAck(received(2, bytes("00000000 20000000 13000500 01000000 00000000"))), { code: 0 }))

  it("an error with the kernel's words, behind a capped or a whole request", () => {
    const words = attr(C.NLMSGERR_ATTR_MSG, text("Nexthop has invalid gateway"))
    const request = encode([R.linkUp(5)], 1)
    const error = bytes("95ffffff")
    const expected = { code: 107, detail: "Nexthop has invalid gateway" }
    assert.deepStrictEqual(
      readAck(received(2, concat([error, request.subarray(0, 16), words]), C.NLM_F_CAPPED | C.NLM_F_ACK_TLVS)),
      expected
    )
    assert.deepStrictEqual(readAck(received(2, concat([error, request, words]), C.NLM_F_ACK_TLVS)), expected)
  })

  it("the error that ends a dump", () => {
    assert.deepStrictEqual(readAck(received(3, bytes("fcffffff"))), { code: 4 })
    assert.deepStrictEqual(readAck(received(3, bytes("00000000"))), { code: 0 })
  })

  it("errno by name", () => {
    assert.deepStrictEqual([17, 3, 19, 105, 4711].map(errnoName), ["EEXIST", "ESRCH", "ENODEV", "ENOBUFS", "OTHER"])
  })
})

describe("answers", () => {
  it("a link", () => {
    const body = concat([
      bytes("00000100 07000000 43100100 00000000"),
      attr(C.IFLA_IFNAME, text("flock00000001")),
      attr(C.IFLA_ADDRESS, R.macBytes("ee:ee:ee:ee:ee:ee")),
      attr(C.IFLA_MTU, u32(9000)),
      attr(C.IFLA_IFALIAS, text("default/a 1 eth0")),
      attr(C.IFLA_LINK, u32(2)),
      attr(C.IFLA_LINK_NETNSID, u32(0)),
      nested(C.IFLA_LINKINFO, attr(C.IFLA_INFO_KIND, text("veth")))
    ])
    const link = {
      ifIndex: 7,
      ifName: "flock00000001",
      up: true,
      mtu: 9000,
      mac: "ee:ee:ee:ee:ee:ee",
      alias: "default/a 1 eth0",
      peerIndex: 2,
      peerNsid: 0
    }
    assert.deepStrictEqual(A.readLink(received(C.RTM_NEWLINK, body)), link)
    assert.deepStrictEqual(changeOf(received(C.RTM_DELLINK, body)), {
      _tag: "LinkRemoved",
      ifName: "flock00000001",
      ifIndex: 7
    })
    assert.isUndefined(changeOf(received(C.RTM_NEWLINK, body)))
    const uplink = concat([body.subarray(0, 16), attr(C.IFLA_IFNAME, text("eth0"))])
    assert.deepStrictEqual(linkChangeOf(received(C.RTM_NEWLINK, uplink)), {
      _tag: "LinkChanged",
      ifName: "eth0",
      ifIndex: 7,
      up: true,
      carrier: A.readHostEnd(received(C.RTM_NEWLINK, body))?.carrier ?? false
    })
    assert.strictEqual(A.readKind(received(C.RTM_NEWLINK, body)), "veth")
    // Bridges speak of their ports in messages of the same type and another family.
    assert.isUndefined(changeOf(received(C.RTM_DELLINK, concat([Uint8Array.of(7), body.subarray(1)]))))
  })

  it("an address: the own end of a point-to-point link; not usable while in DAD or found to be a duplicate", () => {
    const head = (flags: string) => bytes(`0280${flags}00 05000000`)
    const parts = [attr(C.IFA_ADDRESS, bytes("c0000202")), attr(C.IFA_LOCAL, bytes("c0000201"))]
    const read = (...more: ReadonlyArray<Uint8Array>) =>
      A.readAddress(received(C.RTM_NEWADDR, concat([head("80"), ...parts, ...more])))
    assert.strictEqual(formatAddress(read()?.address ?? address("::")), "192.0.2.1")
    assert.isTrue(read()?.usable)
    assert.isFalse(read(attr(C.IFA_FLAGS, u32(0xc0)))?.usable)
    assert.isFalse(read(attr(C.IFA_FLAGS, u32(0x88)))?.usable)
  })

  it("routes with one and with several next hops, as they were asked for", () => {
    const route: HostRoute = {
      destination: cidr("2001:db8:a::1/128"),
      protocol: 201,
      nextHops: [
        { ifIndex: 5, via: address("2001:db8:1::5"), onlink: true },
        { ifIndex: 6, onlink: false },
        { ifIndex: 7, via: address("fe80::7"), onlink: false }
      ]
    }
    assert.deepStrictEqual(A.readRoute(received(C.RTM_NEWROUTE, R.replaceRoute(route).body)), route)
    const single = { ...route, nextHops: route.nextHops.slice(0, 1) }
    assert.deepStrictEqual(A.readRoute(received(C.RTM_NEWROUTE, R.replaceRoute(single).body)), single)
    assert.deepStrictEqual(changeOf(received(C.RTM_DELROUTE, R.replaceRoute(single).body)), {
      _tag: "RouteRemoved",
      route: single
    })
  })

  it("a gateway of the other family (RFC 5549, RTA_VIA)", () => {
    const body = concat([
      bytes("02200000 fec90001 00000000"),
      attr(C.RTA_DST, bytes("c0000201")),
      attr(C.RTA_OIF, u32(3)),
      attr(C.RTA_VIA, bytes("0a00 fe80000000000000 0000000000000001"))
    ])
    const via = A.readRoute(received(C.RTM_NEWROUTE, body))?.nextHops[0]?.via
    assert.strictEqual(via && formatAddress(via), "fe80::1")
  })

  it("other tables, other kinds and cached routes are none of ours", () => {
    const body =
      R.replaceRoute({ destination: cidr("192.0.2.1/32"), protocol: 201, nextHops: [{ ifIndex: 3, onlink: false }] })
        .body
    const changed = (index: number, value: number) => {
      const copy = body.slice()
      copy[index] = value
      return A.readRoute(received(C.RTM_NEWROUTE, copy))
    }
    assert.isDefined(A.readRoute(received(C.RTM_NEWROUTE, body)))
    assert.isUndefined(changed(4, 255))
    assert.isUndefined(changed(7, C.RTN_LOCAL))
    assert.isUndefined(changed(9, C.RTM_F_CLONED >> 8))
    assert.isUndefined(changed(0, 7))
  })

  it("IPv6 next hops that come one by one become one route; other protocols and destinations do not", () => {
    const one = (text: string, protocol: number, ifIndex: number): HostRoute => ({
      destination: cidr(text),
      protocol,
      nextHops: [{ ifIndex, onlink: true }]
    })
    const merged = A.mergeRoutes([
      one("2001:db8::1/128", 201, 1),
      one("2001:db8::1/128", 200, 2),
      one("2001:db8::1/128", 201, 3),
      one("2001:db8::2/128", 201, 4)
    ])
    assert.deepStrictEqual(
      merged.map((r) => `${formatCidr(r.destination)} ${r.protocol} ${r.nextHops.map((h) => h.ifIndex).join()}`),
      ["2001:db8::1/128 201 1,3", "2001:db8::1/128 200 2", "2001:db8::2/128 201 4"]
    )
  })

  it("text ends at its first zero", () => {
    assert.strictEqual(readText(bytes("61620063")), "ab")
    assert.strictEqual(readText(bytes("6162")), "ab")
    assert.strictEqual(readText(undefined), "")
  })
})
