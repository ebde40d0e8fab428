import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { decode, encode, keep, type Kept, NOTHING_KEPT, parseHops, parseRouterId } from "../../../src/bird/kept.ts"
import { ReplyParser } from "../../../src/bird/reply.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"

const replyOf = (text: string) => {
  const [reply] = new ReplyParser().feed(new TextEncoder().encode(text)).replies
  if (reply === undefined) throw new Error("no reply")
  return reply
}

const session = (protocol: string, state: string, localAddress?: string) => ({
  protocol,
  state,
  ...(localAddress === undefined ? {} : { localAddress })
})
const inForce = (routerId?: string, hops: Record<string, ReadonlyArray<string>> = {}) => ({
  routerId,
  hops: new Map(Object.entries(hops).map(([name, all]) => [name, all.map(address)] as const))
})
const textOf = ({ ends, routerId }: Kept) => [
  routerId,
  ...[...ends].map(([name, { hop, local }]) => `${name} ${formatAddress(local)} ${hop && formatAddress(hop)}`)
]

describe("keep", () => {
  const established = [session("a", "Established", "2001:db8::2"), session("b", "Established", "192.0.2.2")]
  const known = keep(NOTHING_KEPT, established, inForce("192.0.2.2", { a: ["2001:db8::2", "192.0.2.7"] }), undefined)

  it("takes what Established sessions have, with the other family's next hop", () => {
    assert.deepStrictEqual(textOf(known), ["192.0.2.2", "a 2001:db8::2 192.0.2.7", "b 192.0.2.2 undefined"])
  })
  it("takes nothing of a session that never was, nor its router ID", () => {
    assert.deepStrictEqual(textOf(keep(NOTHING_KEPT, [session("a", "Active")], inForce("192.0.2.2"), undefined)), [
      undefined
    ])
  })
  it("outlives sessions that are down, a BIRD that has none of them, and a router ID that is tried meanwhile", () => {
    const down = [session("a", "Active"), session("b", "Down")]
    assert.deepStrictEqual(textOf(keep(known, down, inForce("192.0.2.9"), new Set(["a", "b"]))), textOf(known))
    assert.deepStrictEqual(textOf(keep(known, [], inForce(), undefined)), textOf(known))
  })
  it("follows a session that moved, and forgets one that is not wanted any more", () => {
    const moved = keep(known, [session("a", "Established", "2001:db8::3")], inForce("192.0.2.3"), new Set(["a"]))
    assert.deepStrictEqual(textOf(moved), ["192.0.2.3", "a 2001:db8::3 undefined"])
  })
  it("comes back from its file, without what is not understood", () => {
    assert.deepStrictEqual(textOf(decode(encode(known))), textOf(known))
    assert.deepStrictEqual(textOf(decode(encode(NOTHING_KEPT))), [undefined])
    for (const text of ["", "{", "[]", "null", "{\"sessions\":{\"a\":1}}"]) {
      assert.deepStrictEqual(textOf(decode(text)), [undefined], text)
    }
    const odd =
      "{\"routerId\":\"};\",\"sessions\":{\"a\":{\"local\":\"nonsense\"},\"b\":{\"local\":\"192.0.2.2\",\"hop\":\"x\"}}}"
    assert.deepStrictEqual(textOf(decode(odd)), [undefined, "b 192.0.2.2 undefined"])
  })
})

describe("what BIRD says", () => {
  it("of next hops, those of Established sessions only", () => {
    const recorded = readFileSync(new URL("../../golden/bird/show-protocols-2.0.12.txt", import.meta.url), "utf8")
    const hops = [...parseHops(replyOf(recorded))].filter(([, all]) => all.length > 0)
    assert.deepStrictEqual(hops.map(([name, all]) => [name, ...all.map(formatAddress)]), [
      ["peer_2001_db8_ffff__1", "2001:db8:ffff::11"]
    ])
  })
  it("of the router ID", () => {
    const reply = "1000-BIRD 2.0.12\n1011-Router ID is 192.0.2.2\n Hostname is x\n0013 Daemon is up and running\n"
    assert.strictEqual(parseRouterId(replyOf(reply)), "192.0.2.2")
    assert.isUndefined(parseRouterId(replyOf("0013 Daemon is up and running\n")))
  })
})
