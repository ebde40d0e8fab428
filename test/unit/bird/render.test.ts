import { assert, describe, expect, it } from "@effect/vitest"
import { Redacted } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { programsOf, VERSIONS } from "../../../lab/versions.ts"
import { renderConfig } from "../../../src/bird/render.ts"
import type { RenderInput } from "../../../src/bird/sessions.ts"
import { SPECIAL_RANGES } from "../../../src/domain/addressRules.ts"
import { address, formatAddress, formatCidr } from "../../../src/domain/Ip.ts"
import { dual, hostInterface, input } from "./inputs.ts"

const CIDRS = { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24" }
const peer6 = { address: "2001:db8:ffff::1", asn: 65000 }
const peer4 = { address: "198.51.100.1", asn: 65000 }
const anycast = { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] }
const exportSet = [address("192.0.2.9"), address("2001:db8:a::2"), address("2001:db8:a::1"), address("2001:db8:a::2")]
const bgp = (peers: ReadonlyArray<object>, more: object = {}) => ({ ...CIDRS, bgp: { asn: 65001, peers, ...more } })

/** A cloud's node: one gateway on its /30, one behind a router of another network. */
const cloud = [
  hostInterface("eth0", ["fe80::1/64", "2001:db8:ffff::2/64", "10.0.0.5/24"]),
  hostInterface("eth1", ["169.254.255.2/30"], { ifIndex: 3 })
]

const GOLDEN: Readonly<Record<string, RenderInput>> = {
  bootstrap: input(undefined),
  "no-bgp": input(CIDRS),
  "both-families": input({ ...bgp([peer6, peer4]), anycast }, { exportSet }),
  "v6-peer-carries-both": input(bgp([peer6])),
  "v4-over-v6-next-hop": input(bgp([peer6]), { interfaces: [hostInterface("eth0", ["2001:db8:ffff::2/64"])] }),
  "v6-only": input({ cidr6: CIDRS.cidr6, bgp: { asn: 4200000001, peers: [peer6] } }, {
    interfaces: [hostInterface("eth0", ["2001:db8:ffff::2/64"])]
  }),
  "v4-only": input({ cidr4: CIDRS.cidr4, bgp: { asn: 65001, peers: [peer4] } }),
  drained: input(bgp([peer6, peer4]), { drained: true }),
  leaving: input(
    {
      ...bgp([{ ...peer6, communities: ["65001:100"] }, { ...peer4, asn: 65001 }], { withdraw: { med: 4294967295 } }),
      anycast
    },
    { leaving: true, exportSet }
  ),
  "grants-with-communities": input({
    ...bgp([peer6, { ...peer4, communities: ["no-export"] }]),
    anycast: {
      allowedCIDRs: ["2001:db8:a:1::/64", "192.0.2.0/24"],
      grants: [
        { cidr: "2001:db8:a::/48", namespaces: ["shop"], communities: ["65001:1", "no-export"] },
        { cidr: "2001:db8:a::/48", namespaces: ["team-*"], communities: ["65001:1", "65001:1:2"] },
        { cidr: "2001:db8:a:2::/64", namespaces: ["a"], communities: ["graceful-shutdown"] },
        { cidr: "2001:db8:b::/64", namespaces: ["b"] },
        { cidr: "192.0.2.53/32", namespaces: ["dns"], communities: ["no-peer", "no-advertise"] }
      ]
    }
  }, { exportSet }),
  source: input(bgp([peer6, peer4], { importCIDRs: ["::/0", "0.0.0.0/0"], advertise: ["203.0.113.7/32"] }), {
    interfaces: [...dual, hostInterface("lo", ["127.0.0.1/8", "203.0.113.7/32"], { ifIndex: 1 })]
  }),
  advertise: input({
    ...bgp([peer6, peer4], { advertise: ["192.0.2.0/24", "10.96.0.0/12", "2001:db8:a:1::/72", "10.42.1.128/25"] }),
    anycast
  }, { exportSet }),
  "summary-only": input({
    ...bgp([peer6, peer4], { advertise: ["192.0.2.0/24"], export: { summaryOnly: true } }),
    anycast: { allowedCIDRs: [...anycast.allowedCIDRs, "10.42.1.64/26"] }
  }, { exportSet: [...exportSet, address("10.42.1.70")] }),
  ibgp: input(bgp([{ ...peer6, asn: 65001 }, { ...peer4, asn: 65001 }], { importCIDRs: ["2001:db8::/32"] })),
  import: input(bgp([peer6, peer4], { importCIDRs: ["2001:db8::/32", "10.42.0.0/16", "0.0.0.0/0"] }), {
    interfaces: [...dual, hostInterface("dummy0", ["203.0.113.7/32", "2001:db8:7::7/128"], { ifIndex: 3 })]
  }),
  "prefer-learned": input(bgp([peer6, peer4], { importCIDRs: ["::/0", "0.0.0.0/0"], preferLearned: true })),
  multihop: input(bgp([{ address: "2001:db8:9::9", asn: 65009, multihop: 4 }], { importCIDRs: ["2001:db8::/32"] }), {
    outgoing: new Map([["2001:db8:9::9", { ifIndex: 2 }]])
  }),
  "local-address": input(
    bgp([
      { ...peer6, localAddress: "2001:db8:ffff::7" },
      { address: "203.0.113.9", asn: 65009, multihop: 3, localAddress: "192.0.2.9" }
    ]),
    {
      interfaces: [
        ...dual.filter(({ ifName }) => ifName !== "eth0"),
        hostInterface("eth0", ["2001:db8:ffff::2/64", "2001:db8:ffff::7/128 deprecated", "198.51.100.2/24"]),
        hostInterface("dummy0", ["192.0.2.9/32"], { ifIndex: 7, kind: "dummy" })
      ],
      outgoing: new Map([["203.0.113.9", { ifIndex: 2 }]])
    }
  ),
  kept: input(bgp([peer6]), {
    interfaces: [
      ...dual.filter(({ ifName }) => ifName !== "eth0"),
      hostInterface("eth0", ["2001:db8:ffff::2/64", "2001:db8:ffff::9/64", "198.51.100.2/24", "198.51.100.9/24"])
    ],
    kept: {
      routerId: "192.0.2.77",
      ends: new Map([["peer_2001_db8_ffff__1", {
        local: address("2001:db8:ffff::9"),
        hop: address("198.51.100.9")
      }]])
    }
  }),
  "link-local4-peers": input(
    bgp([
      { address: "169.254.255.1", asn: 64512 },
      { address: "169.254.7.1", asn: 64513, multihop: 2 },
      { address: "169.254.8.1", asn: 64514 }
    ], { importCIDRs: ["0.0.0.0/0"] }),
    { interfaces: cloud, outgoing: new Map([["169.254.7.1", { ifIndex: 2 }]]) }
  ),
  "peers-on-node": input(
    bgp([
      { address: "127.0.0.1", asn: 65010, port: 1179 },
      { address: "::1", asn: 65010, port: 1179 },
      { address: "198.51.100.2", asn: 65011, port: 1180, ttlSecurity: true },
      { address: "127.0.0.9", asn: 65012 }
    ]),
    { exportSet }
  ),
  "peer-on-node-carries-both": input(bgp([{ address: "::1", asn: 65010, port: 1179 }])),
  "host-prefix": input(bgp([peer6]), { interfaces: [hostInterface("eth0", ["2001:db8:ffff::2/128"])] }),
  "passive-with-roles": input(
    bgp([
      { ...peer6, passive: true, localRole: "customer", roleStrictMode: true },
      { ...peer4, localRole: "rs-client" }
    ])
  ),
  unnumbered: input(
    {
      ...bgp([
        { interface: "eth0", asn: 65000, bfd: true, passwordSecretRef: { name: "tor", key: "password" } },
        { interface: "bond0.100", asn: "external" },
        { address: "FE80::9%eth2", asn: "internal", ttlSecurity: true },
        { interface: "eth3", asn: 65000 }
      ], { importCIDRs: ["::/0", "0.0.0.0/0"] }),
      anycast
    },
    {
      interfaces: [
        hostInterface("eth0", ["fe80::2/64", "198.51.100.2/24"], { ifIndex: 2 }),
        hostInterface("bond0.100", ["fe80::2/64"], { ifIndex: 3 }),
        hostInterface("eth3", ["fe80::2/64"], { ifIndex: 5 })
      ],
      routers: [
        { ifIndex: 2, address: address("fe80::1"), gone: false },
        { ifIndex: 3, address: address("fe80::1"), gone: false }
      ],
      passwords: new Map([["tor/password", Redacted.make("secret")]]),
      exportSet
    }
  ),
  "unnumbered-beside-numbered": input(bgp([peer4, { interface: "eth0", asn: 65000 }]), {
    routers: [{ ifIndex: 2, address: address("fe80::9"), gone: false }]
  }),
  options: input(
    bgp([
      {
        ...peer6,
        port: 1179,
        holdTimeSeconds: 9,
        bfd: true,
        ttlSecurity: true,
        gracefulRestart: false,
        passwordSecretRef: { name: "tor", key: "password" },
        communities: ["65001:100", "65001:1:2", "4294967295:0:4294967295"]
      },
      { ...peer4, holdTimeSeconds: 0 }
    ], { routerID: "192.0.2.2" }),
    { passwords: new Map([["tor/password", Redacted.make("it's # } a\\b; ünïcode")]]), exportSet }
  )
}

/**
 * From 2.17 on, of each session with a password. `authentication md5` says it, and is a syntax error to 2.0.12: a file
 * with it would keep that from starting after a downgrade, and a warning harms nobody.
 */
const ASSUMED_MD5 = /: Missing authentication option, assuming MD5$/

/** Filters follow the node's networks; that touches no session. */
const sessionsOf = (text: string): string => text.slice(text.indexOf("protocol bgp"))

describe("renderConfig", () => {
  it.each(Object.entries(GOLDEN))("golden %s", async (name, it) => {
    const { text } = renderConfig(it)
    const file = new URL(`../../golden/bird/${name}.conf`, import.meta.url).pathname
    await expect(text).toMatchFileSnapshot(file)
  })

  // A BIRD that cannot be fetched fails, and says why.
  it.each(["", ...VERSIONS])("each golden file is parsed by the BIRD of this machine or of %s", { timeout: 180_000 }, (
    version
  ) => {
    const bird = version === "" ? "bird" : join(programsOf(version), "bird")
    for (const name of Object.keys(GOLDEN)) {
      const file = new URL(`../../golden/bird/${name}.conf`, import.meta.url).pathname
      const { error, status, stderr } = spawnSync(bird, ["-p", "-c", file], { encoding: "utf8" })
      assert.isUndefined(error)
      assert.deepStrictEqual(stderr.split("\n").filter((line) => line !== "" && !ASSUMED_MD5.test(line)), [], name)
      assert.strictEqual(status, 0, name)
    }
  })

  it("holds the place of an address that is gone for the moment, and says so", () => {
    const it = GOLDEN["kept"] as RenderInput
    const before = renderConfig(it)
    const [lo, eth0] = it.interfaces
    const interfaces = (...addresses: ReadonlyArray<string>) =>
      [lo, hostInterface("eth0", addresses)] as typeof it.interfaces
    assert.isDefined(eth0)
    const gone = { ...it, ends: before.ends, interfaces: interfaces("198.51.100.2/24") }
    const held = renderConfig(gone)
    assert.strictEqual(sessionsOf(held.text), sessionsOf(before.text))
    assert.deepStrictEqual(held.waiting.map(({ message }) => message), [
      "spec.bgp.peers[0].address: \"2001:db8:ffff::1\": 2001:db8:ffff::9, which the session has, is gone from eth0; " +
      "the session waits for it"
    ])
    // One that never was Established, and one whose network has another address.
    assert.strictEqual(renderConfig({ ...gone, kept: { routerId: undefined, ends: new Map() } }).peers.length, 0)
    const moved = renderConfig({ ...gone, interfaces: interfaces("2001:db8:ffff::3/64", "198.51.100.2/24") })
    assert.include(moved.text, "local 2001:db8:ffff::3 as")
    assert.deepStrictEqual(moved.waiting, [])
  })

  it("says why a named local address cannot be", () => {
    const said = (peer: object, ...addresses: ReadonlyArray<string>) =>
      renderConfig(input(bgp([{ ...peer6, ...peer }]), {
        interfaces: [
          hostInterface("eth0", ["2001:db8:ffff::2/64", ...addresses]),
          hostInterface("down0", ["2001:db8:d::9/64"], { ifIndex: 9, up: false })
        ]
      })).waiting.map(({ message }) => message)
    const field = "spec.bgp.peers[0].localAddress"
    assert.deepStrictEqual(said({ localAddress: "2001:db8:ffff::7" }), [
      `${field}: "2001:db8:ffff::7": the node does not have it; the session waits`
    ])
    assert.deepStrictEqual(said({ localAddress: "2001:db8:d::9" }), [
      `${field}: "2001:db8:d::9": down0, which has it, is down; the session waits`
    ])
    assert.deepStrictEqual(said({ localAddress: "2001:db8:e::9", address: "2001:db8:9::1" }, "2001:db8:e::9/64"), [
      `${field}: "2001:db8:e::9": no session with the router can be over it (eth0); for a router further away set multihop; ` +
      "the session waits"
    ])
    assert.deepStrictEqual(said({ localAddress: "2001:db8:ffff::2" }), [])
  })

  it("has no golden file without a case", () => {
    const files = readdirSync(new URL("../../golden/bird/", import.meta.url)).filter((file) => file.endsWith(".conf"))
    assert.deepStrictEqual(files.toSorted(), Object.keys(GOLDEN).map((name) => `${name}.conf`).toSorted())
  })

  it("gives the same text whatever the order of facts", () => {
    const spec = { ...bgp([peer6, peer4], { importCIDRs: ["2001:db8::/32", "10.0.0.0/8"] }), anycast }
    const one = renderConfig(input(spec, { exportSet }))
    const interfaces = dual.toReversed().map((it) => ({ ...it, addresses: it.addresses.toReversed() }))
    const other = renderConfig(input(spec, { exportSet: exportSet.toReversed(), interfaces }))
    assert.strictEqual(other.text, one.text)
  })

  it("changes the revision with the text", () => {
    const one = renderConfig(input(bgp([peer6])))
    const other = renderConfig(input(bgp([{ ...peer6, holdTimeSeconds: 30 }])))
    assert.notStrictEqual(one.revision, other.revision)
    assert.include(one.text, `define flock_revision = "${one.revision}";`)
  })

  it("names a session after its peer, so that removing another peer does not touch it", () => {
    const both = renderConfig(input(bgp([peer4, peer6])))
    const one = renderConfig(input(bgp([peer6])))
    assert.deepStrictEqual(both.peers[1], one.peers[0])
    assert.deepStrictEqual(one.peers, [{
      address: "2001:db8:ffff::1",
      asn: 65000,
      protocol: "peer_2001_db8_ffff__1"
    }])
  })

  it.each([
    ["BIRD itself", { address: "198.51.100.2" }, "\"198.51.100.2\": is this node's own address (eth0), where port 179"],
    ["BIRD itself", { address: "127.0.0.1" }, "\"127.0.0.1\": is this node's own address (lo), where port 179"],
    ["BIRD itself", { address: "127.9.9.9" }, "\"127.9.9.9\": is this node's own address (lo), where port 179"],
    ["BIRD itself", { address: "::1" }, "\"::1\": is this node's own address (lo), where port 179"],
    ["down", { address: "192.0.2.77", port: 1179 }, "\"192.0.2.77\": is this node's own address (eth9), which is down"],
    ["elsewhere", { address: "203.0.113.1" }, "\"203.0.113.1\": the node has no address in its subnet"],
    ["elsewhere", { address: "169.254.255.1" }, "\"169.254.255.1\": the node has no address in its subnet"],
    ["nowhere", { address: "2001:db8:9::9", multihop: 3 }, "\"2001:db8:9::9\": no interface with an address of its"]
  ])("keeps a peer that is %s out, %j, and nobody else", (_, peer, problem) => {
    const interfaces = [...dual, hostInterface("eth9", ["192.0.2.77/24"], { ifIndex: 9, up: false })]
    const healthy = renderConfig(input(bgp([peer6, peer4]), { interfaces, exportSet }))
    const rendered = renderConfig(input(bgp([peer6, { asn: 1, ...peer }, peer4]), { interfaces, exportSet }))
    assert.deepStrictEqual(rendered.peers, healthy.peers)
    assert.strictEqual(rendered.text, healthy.text)
    assert.deepStrictEqual(rendered.waiting.map((it) => it.field), ["spec.bgp.peers[1].address"])
    assert.include(rendered.waiting[0]?.detail, problem)
    assert.strictEqual(rendered.waiting[0]?.protocol, `peer_${peer.address.replace(/[.:]/g, "_")}`)
  })

  it("says of each unnumbered peer what it lacks, and keeps a session whose link is away", () => {
    const { waiting, peers } = renderConfig(GOLDEN["unnumbered"] as RenderInput)
    assert.deepStrictEqual(waiting.map(({ message }) => message), [
      "spec.bgp.peers[3].interface: \"eth3\": no router advertisement seen; the session waits",
      "spec.bgp.peers[2].address: \"fe80::9%eth2\": there is no such interface"
    ])
    assert.deepStrictEqual(peers.map(({ address, protocol }) => [address, protocol]), [
      ["fe80::1", "peer_on_eth0"],
      ["fe80::1", "peer_on_bond0_2e100"],
      ["fe80::9", "peer_fe80__9_on_eth2"]
    ])
    const away = renderConfig(input(bgp([{ interface: "eth7", asn: 65000 }]), {
      found: new Map([["peer_on_eth7", address("fe80::7")]])
    }))
    assert.deepStrictEqual([...away.found.values()].map(formatAddress), ["fe80::7"])
    assert.include(away.text, "neighbor fe80::7 port 179 as 65000;")
    assert.deepStrictEqual(away.waiting.map(({ detail }) => detail), ["\"eth7\": there is no such interface"])
  })

  it("renders a peer of each range that validation lets through", () => {
    for (const { range, uses } of SPECIAL_RANGES.filter(({ uses }) => uses.includes("peer"))) {
      assert.include(uses, "local", formatCidr(range))
      const first = { family: range.family, value: range.base + (range.prefix < 32 ? 5n : 0n) }
      const end = { ...first, value: first.value + 1n }
      const interfaces = [...dual, hostInterface("eth1", [`${formatAddress(end)}/${range.family === 4 ? 30 : 126}`])]
      const peer = { address: formatAddress(first), asn: 65000, port: 1179 }
      const { peers, waiting } = renderConfig(input(bgp([peer]), { interfaces }))
      assert.deepStrictEqual([peers.map((it) => it.address), waiting], [[peer.address], []], formatCidr(range))
    }
  })

  it.each([
    ["a double quote", "a\"b", "holds a double quote"],
    ["a line break", "a\nb", "holds a control character"],
    ["nothing", "", "is empty"],
    ["a line break alone", "\n", "is empty"],
    ["81 bytes", "x".repeat(81), "has 81 bytes; TCP MD5 takes 80"]
  ])("leaves out a peer with a password of %s, without repeating it", (_, password, problem) => {
    const spec = bgp([{ ...peer6, passwordSecretRef: { name: "tor", key: "password" } }, peer4])
    const { peers, waiting } = renderConfig(
      input(spec, { passwords: new Map([["tor/password", Redacted.make(password)]]) })
    )
    const message = waiting[0]?.message ?? ""
    assert.deepStrictEqual(peers.map((it) => it.address), ["198.51.100.1"])
    assert.include(message, "spec.bgp.peers[0].passwordSecretRef: the password")
    assert.include(message, problem)
    if (password.trim() !== "") assert.notInclude(message, password)
  })

  it.each(["s3cret\n", "s3cret\r\n", "s3cret\n\n"])(
    "takes a line break at the end of %j for none of the password",
    (text) => {
      const spec = bgp([{ ...peer6, passwordSecretRef: { name: "tor", key: "password" } }])
      const rendered = renderConfig(input(spec, { passwords: new Map([["tor/password", Redacted.make(text)]]) }))
      assert.deepStrictEqual(rendered.waiting, [])
      assert.include(rendered.text, "password \"s3cret\";")
    }
  )

  it("leaves a peer out until its password is there, and keeps the others", () => {
    const spec = bgp([{ ...peer6, passwordSecretRef: { name: "tor", key: "password" } }, peer4])
    const { peers, waiting } = renderConfig(input(spec))
    assert.deepStrictEqual(peers.map((it) => it.address), ["198.51.100.1"])
    assert.deepStrictEqual(waiting.map((it) => it.field), ["spec.bgp.peers[0].passwordSecretRef"])
  })

  it("leaves a peer out while the node has no address in its subnet, and keeps the others", () => {
    const { peers, waiting } = renderConfig(input(bgp([peer6, { address: "203.0.113.1", asn: 65000 }])))
    assert.deepStrictEqual(peers.map((it) => it.address), ["2001:db8:ffff::1"])
    assert.include(waiting[0]?.message, "spec.bgp.peers[1].address: \"203.0.113.1\": the node has no address")
  })

  it("never lets BIRD export an address of a special range, whatever a record says", () => {
    const spec = bgp([peer6, peer4])
    const hostile = ["127.0.0.1", "169.254.169.254", "fe80::1", "ff02::1", "::1"].map(address)
    assert.strictEqual(renderConfig(input(spec, { exportSet: hostile })).text, renderConfig(input(spec)).text)
  })

  it("says that IPv6 prefixes have no next hop where an IPv4 peer is all there is", () => {
    const { text, waiting } = renderConfig(
      input(bgp([peer4]), { interfaces: [hostInterface("eth0", ["198.51.100.2/24"])] })
    )
    assert.include(waiting[0]?.message, "eth0 has no IPv6 address")
    assert.notInclude(text, "ipv6 {\n    next hop self")
  })

  it("never lets a name break out of the comment", () => {
    const { text } = renderConfig({ ...input(undefined), nodeName: "a\nprotocol bgp x {" })
    assert.strictEqual(text.split("\n")[0]?.startsWith("# Written by flock-agent for node a?protocol"), true)
  })

  it("is refused by the real BIRD where it should be (the check itself works)", () => {
    const dir = mkdtempSync(join(tmpdir(), "flock-render-"))
    try {
      writeFileSync(join(dir, "bird.conf"), renderConfig(input(bgp([peer6]))).text.replace("direct;", "direkt;"))
      assert.notStrictEqual(spawnSync("bird", ["-p", "-c", join(dir, "bird.conf")]).status, 0)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})
