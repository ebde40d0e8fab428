import { assert, describe, it } from "@effect/vitest"
import { doubted, NO_PROBE, type Probe, routerOn } from "../../../src/bird/linkRouter.ts"
import { address, formatAddress } from "../../../src/domain/Ip.ts"
import type { HostInterface } from "../../../src/netlink/Netlink.ts"
import { hostInterface, nodeConfig } from "./inputs.ts"

const eth0 = hostInterface("eth0", ["fe80::2/64", "2001:db8:ffff::2/64"])
const interfaces: ReadonlyArray<HostInterface> = [
  eth0,
  hostInterface("eth1", ["fe80::2/64"], { ifIndex: 3, up: false }),
  hostInterface("eth2", ["192.0.2.2/24"], { ifIndex: 4 })
]
/** `address@ifIndex`, with `!` where it is gone. */
const router = (text: string) => {
  const [, at = "", index = "2", gone = ""] = /^([^@!]+)(?:@(\d))?(!?)$/.exec(text) ?? []
  return { address: address(at), ifIndex: Number(index), gone: gone !== "" }
}

interface Case {
  readonly on?: string
  readonly seen: ReadonlyArray<string>
  readonly running?: string
  readonly finds?: string
  readonly problem?: RegExp
}

const CASES: Readonly<Record<string, Case>> = {
  "one": { seen: ["fe80::1"], finds: "fe80::1" },
  "none yet": { seen: [], problem: /^no router advertisement seen$/ },
  "one on another link": { seen: ["fe80::1@3"], problem: /^no router advertisement seen$/ },
  "one that is gone": { seen: ["fe80::1!"], problem: /^no router advertisement seen$/ },
  "the node itself": { seen: ["fe80::2"], problem: /^no router advertisement seen$/ },
  "several": {
    seen: ["fe80::9", "fe80::1"],
    problem: /^several .*\(fe80::1, fe80::9\); write the address of the one that is meant, with %eth0$/
  },
  "a host that advertises itself from a hundred addresses": {
    seen: Array.from({ length: 100 }, (_, i) => `fe80::${i + 256}`),
    problem: /^several .*\(fe80::256, fe80::257, fe80::258, fe80::259, and 96 more\); write/
  },
  "several, one of them gone": { seen: ["fe80::1!", "fe80::9"], finds: "fe80::9" },
  "a second one, beside the session's": { seen: ["fe80::1", "fe80::9"], running: "fe80::9", finds: "fe80::9" },
  "another address of the router": { seen: ["fe80::1!", "fe80::3"], running: "fe80::1", finds: "fe80::3" },
  "another one, and nothing of the session's": { seen: ["fe80::3"], running: "fe80::1", finds: "fe80::3" },
  "several others": { seen: ["fe80::3", "fe80::4"], running: "fe80::1", finds: "fe80::1", problem: /^several/ },
  "the session's, gone": { seen: ["fe80::1!"], running: "fe80::1", finds: "fe80::1" },
  "nothing any more": { seen: [], running: "fe80::1", finds: "fe80::1" },
  "a link that is down": { on: "eth1", seen: [], problem: /^the interface is down$/ },
  "a link that went down": { on: "eth1", seen: [], running: "fe80::1", finds: "fe80::1", problem: /is down$/ },
  "no link": { on: "eth9", seen: ["fe80::1"], problem: /^there is no such interface$/ },
  "a link that is gone": { on: "eth9", seen: [], running: "fe80::1", finds: "fe80::1", problem: /no such interface$/ },
  "a port of a bridge": { on: "eth2", seen: ["fe80::1@4"], finds: "fe80::1", problem: /has no IPv6 link-local address/ }
}

describe("routerOn", () => {
  it.each(Object.entries(CASES))("%s", (_, { finds, on = "eth0", problem, running, seen }) => {
    const found = routerOn(
      on,
      { interfaces, routers: seen.map(router) },
      running === undefined ? undefined : address(running)
    )
    assert.strictEqual(found.address && formatAddress(found.address), finds)
    if (problem === undefined) assert.isUndefined(found.problem)
    else assert.match(found.problem ?? "", problem)
  })
})

describe("doubted", () => {
  const { spec } = nodeConfig({
    cidr6: "2001:db8:1::/64",
    bgp: { asn: 65001, peers: [{ interface: "eth0", asn: 65000 }, { address: "fe80::1%eth1", asn: 65000 }] }
  })
  const judge = (seen: ReadonlyArray<string>, before: Probe, at: number, ...up: ReadonlyArray<string>) =>
    doubted(spec.bgp?.peers ?? [], { interfaces, routers: seen.map(router) }, new Set(up), before, at)
  const ask = (seen: ReadonlyArray<string>, ...up: ReadonlyArray<string>) =>
    judge(seen, NO_PROBE, 1, ...up).ask.map((it) => formatAddress(it.address))

  it("are all routers of a link that has several, and no session", () => {
    assert.deepStrictEqual(ask(["fe80::1", "fe80::9"]), ["fe80::1", "fe80::9"])
    assert.deepStrictEqual(ask(["fe80::1", "fe80::9"], "peer_on_eth0"), [])
    assert.deepStrictEqual(ask(["fe80::1"]), [])
    assert.deepStrictEqual(ask(["fe80::1", "fe80::9!"]), [])
    assert.deepStrictEqual(ask(["fe80::1", "fe80::9@3"]), [])
  })

  it("are not asked for ever: their answers are news, and somebody may make a thousand up", () => {
    const seen = ["fe80::1", "fe80::9"]
    const { probe } = judge(seen, NO_PROBE, 1000)
    assert.deepStrictEqual(judge(seen.toReversed(), probe, 2000), { ask: [], probe })
    assert.strictEqual(judge(seen, probe, 16_000).ask.length, 2)
    assert.strictEqual(judge([...seen, "fe80::a"], probe, 2000).ask.length, 3)
    assert.deepStrictEqual(judge(seen, probe, 2000, "peer_on_eth0"), { ask: [], probe: NO_PROBE })
    assert.deepStrictEqual(ask(Array.from({ length: 100 }, (_, i) => `fe80::${i + 256}`)), [])
  })
})
