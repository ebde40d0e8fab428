import { assert, describe, expect, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { renderConfig } from "../../../src/bird/render.ts"
import type { RenderInput } from "../../../src/bird/sessions.ts"
import { address } from "../../../src/domain/Ip.ts"
import { dual, hostInterface, input } from "./inputs.ts"

const CIDRS = { cidr6: "2001:db8:1::/64", cidr4: "10.42.1.0/24" }
const peer6 = { address: "2001:db8:ffff::1", asn: 65000 }
const peer4 = { address: "198.51.100.1", asn: 65000 }
const anycast = { allowedCIDRs: ["2001:db8:a::/64", "192.0.2.0/24"] }
const exportSet = [address("192.0.2.9"), address("2001:db8:a::2"), address("2001:db8:a::1"), address("2001:db8:a::2")]
const bgp = (peers: ReadonlyArray<object>, more: object = {}) => ({ ...CIDRS, bgp: { asn: 65001, peers, ...more } })

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
  ibgp: input(bgp([{ ...peer6, asn: 65001 }, { ...peer4, asn: 65001 }], { importCIDRs: ["2001:db8::/32"] })),
  import: input(bgp([peer6, peer4], { importCIDRs: ["2001:db8::/32", "10.42.0.0/16", "0.0.0.0/0"] }), {
    interfaces: [...dual, hostInterface("dummy0", ["203.0.113.7/32", "2001:db8:7::7/128"], { ifIndex: 3 })]
  }),
  multihop: input(bgp([{ address: "2001:db8:9::9", asn: 65009, multihop: 4 }], { importCIDRs: ["2001:db8::/32"] }), {
    outgoing: new Map([["2001:db8:9::9", 2]])
  }),
  "host-prefix": input(bgp([peer6]), { interfaces: [hostInterface("eth0", ["2001:db8:ffff::2/128"])] }),
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

const success = (it: RenderInput) => {
  const rendered = renderConfig(it)
  if (Result.isFailure(rendered)) throw rendered.failure
  return rendered.success
}

const failure = (it: RenderInput): string => {
  const rendered = renderConfig(it)
  return Result.isFailure(rendered) ? rendered.failure.message : ""
}

describe("renderConfig", () => {
  it.each(Object.entries(GOLDEN))("golden %s", async (name, it) => {
    const { text } = success(it)
    const file = new URL(`../../golden/bird/${name}.conf`, import.meta.url).pathname
    await expect(text).toMatchFileSnapshot(file)
    const { status, stderr } = spawnSync("bird", ["-p", "-c", file], { encoding: "utf8" })
    assert.strictEqual(stderr, "")
    assert.strictEqual(status, 0)
  })

  it("has no golden file without a case", () => {
    const files = readdirSync(new URL("../../golden/bird/", import.meta.url)).filter((file) => file.endsWith(".conf"))
    assert.deepStrictEqual(files.toSorted(), Object.keys(GOLDEN).map((name) => `${name}.conf`).toSorted())
  })

  it("gives the same text whatever the order of facts", () => {
    const spec = { ...bgp([peer6, peer4], { importCIDRs: ["2001:db8::/32", "10.0.0.0/8"] }), anycast }
    const one = success(input(spec, { exportSet }))
    const interfaces = dual.toReversed().map((it) => ({ ...it, addresses: it.addresses.toReversed() }))
    const other = success(input(spec, { exportSet: exportSet.toReversed(), interfaces }))
    assert.strictEqual(other.text, one.text)
  })

  it("changes the revision with the text", () => {
    const one = success(input(bgp([peer6])))
    const other = success(input(bgp([{ ...peer6, holdTimeSeconds: 30 }])))
    assert.notStrictEqual(one.revision, other.revision)
    assert.include(one.text, `define flock_revision = "${one.revision}";`)
  })

  it("names a session after its peer, so that removing another peer does not touch it", () => {
    const both = success(input(bgp([peer4, peer6])))
    const one = success(input(bgp([peer6])))
    assert.deepStrictEqual(both.peers[1], one.peers[0])
    assert.deepStrictEqual(one.peers, [{
      address: "2001:db8:ffff::1",
      asn: 65000,
      protocol: "peer_2001_db8_ffff__1"
    }])
  })

  it("refuses a peer that is the node itself, on any interface", () => {
    assert.strictEqual(
      failure(input(bgp([peer6, { address: "198.51.100.2", asn: 1 }]))),
      "spec.bgp.peers[1].address: \"198.51.100.2\": is this node's own address (eth0); write the router's"
    )
  })

  it.each([
    ["a double quote", "a\"b", "holds a double quote"],
    ["a trailing line break", "secret\n", "ends with a line break"],
    ["a line break", "a\nb", "holds a control character"],
    ["nothing", "", "is empty"],
    ["81 bytes", "x".repeat(81), "has 81 bytes; TCP MD5 takes 80"]
  ])("refuses a password of %s without repeating it", (_, password, problem) => {
    const spec = bgp([{ ...peer6, passwordSecretRef: { name: "tor", key: "password" } }])
    const message = failure(input(spec, { passwords: new Map([["tor/password", Redacted.make(password)]]) }))
    assert.include(message, "spec.bgp.peers[0].passwordSecretRef: the password")
    assert.include(message, problem)
    if (password !== "") assert.notInclude(message, password)
  })

  it("leaves a peer out until its password is there, and keeps the others", () => {
    const spec = bgp([{ ...peer6, passwordSecretRef: { name: "tor", key: "password" } }, peer4])
    const { peers, waiting } = success(input(spec))
    assert.deepStrictEqual(peers.map((it) => it.address), ["198.51.100.1"])
    assert.deepStrictEqual(waiting.map((it) => it.field), ["spec.bgp.peers[0].passwordSecretRef"])
  })

  it("leaves a peer out while the node has no address in its subnet, and keeps the others", () => {
    const { peers, waiting } = success(input(bgp([peer6, { address: "203.0.113.1", asn: 65000 }])))
    assert.deepStrictEqual(peers.map((it) => it.address), ["2001:db8:ffff::1"])
    assert.include(waiting[0]?.message, "spec.bgp.peers[1].address: \"203.0.113.1\": the node has no address")
  })

  it("says that IPv6 prefixes have no next hop where an IPv4 peer is all there is", () => {
    const { text, waiting } = success(input(bgp([peer4]), { interfaces: [hostInterface("eth0", ["198.51.100.2/24"])] }))
    assert.include(waiting[0]?.message, "eth0 has no IPv6 address")
    assert.notInclude(text, "ipv6 {\n    next hop self")
  })

  it("never lets a name break out of the comment", () => {
    const { text } = success({ ...input(undefined), nodeName: "a\nprotocol bgp x {" })
    assert.strictEqual(text.split("\n")[0]?.startsWith("# Written by flock-agent for node a?protocol"), true)
  })

  it("is refused by the real BIRD where it should be (the check itself works)", () => {
    const dir = mkdtempSync(join(tmpdir(), "flock-render-"))
    try {
      writeFileSync(join(dir, "bird.conf"), success(input(bgp([peer6]))).text.replace("direct;", "direkt;"))
      assert.notStrictEqual(spawnSync("bird", ["-p", "-c", join(dir, "bird.conf")]).status, 0)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})
