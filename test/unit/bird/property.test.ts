import { assert, describe, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import fc from "fast-check"
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { protocolName } from "../../../src/bird/protocolName.ts"
import { renderConfig } from "../../../src/bird/render.ts"
import { secretKey } from "../../../src/bird/sessions.ts"
import { addressProblem, SPECIAL_RANGES } from "../../../src/domain/addressRules.ts"
import { bitsOf, type Family, formatAddress, formatCidr, lastOf, networkOf } from "../../../src/domain/Ip.ts"
import { API_VERSION, decode } from "../../../src/domain/NodeConfig.ts"
import { peerName } from "../../../src/domain/peerAddress.ts"
import type { HostInterface, Standing } from "../../../src/netlink/Netlink.ts"
import { dual } from "./inputs.ts"

const ipAddress = (family: Family) =>
  fc.bigInt({ min: 0n, max: (1n << BigInt(bitsOf(family))) - 1n }).map((value) => ({ family, value }))
const anyAddress = fc.oneof(
  ipAddress(6),
  ipAddress(4),
  // Near the node's own, where sessions can be direct.
  fc.bigInt({ min: 1n, max: 9n }).map((n) => ({ family: 6 as const, value: (0x20010db8ffffn << 80n) + n })),
  fc.bigInt({ min: 1n, max: 9n }).map((n) => ({ family: 4 as const, value: 0xc6336400n + n })),
  // Special ranges, their first addresses and any.
  fc.constantFrom(...SPECIAL_RANGES).chain(({ range }) =>
    fc.oneof(fc.bigInt({ min: range.base, max: lastOf(range) }), fc.constantFrom(range.base, lastOf(range)))
      .map((value) => ({ family: range.family, value }))
  )
)
const cidr = (family: Family, minimum: number, maximum: number) =>
  fc.tuple(ipAddress(family), fc.integer({ min: minimum, max: maximum }))
    .map(([address, prefix]) => formatCidr(networkOf(address, prefix)))
const anyCidr = fc.oneof(cidr(6, 0, 128), cidr(4, 0, 32))
const asn = fc.integer({ min: 1, max: 4294967294 })
const u16 = fc.integer({ min: 0, max: 65535 })
const u32 = fc.integer({ min: 0, max: 4294967295 })
const community = fc.oneof(
  fc.tuple(u16, u16).map((parts) => parts.join(":")),
  fc.tuple(u32, u32, u32).map((parts) => parts.join(":")),
  fc.constantFrom("no-export", "no-advertise", "no-peer", "graceful-shutdown")
)
const linkLocal = fc.bigInt({ min: 1n, max: 4n }).map((n) => ({ family: 6 as const, value: (0xfe80n << 112n) + n }))
const link = fc.constantFrom("eth0", "eth1", "bond0.100", "br-lan")
const place = fc.oneof(
  // What validation refuses is not rendered; one in twenty is left, to see that it says so.
  {
    weight: 14,
    arbitrary: anyAddress.filter((it) => addressProblem("peer", it) === undefined).map((it) => ({
      address: formatAddress(it)
    }))
  },
  { weight: 1, arbitrary: anyAddress.map((it) => ({ address: formatAddress(it) })) },
  { weight: 3, arbitrary: fc.record({ interface: link }) },
  {
    weight: 2,
    arbitrary: fc.tuple(linkLocal, link).map(([it, zone]) => ({ address: `${formatAddress(it)}%${zone}` }))
  }
)
const peer = fc.record({
  place,
  asn: fc.oneof(asn, fc.constantFrom("external", "internal")),
  port: fc.integer({ min: 1, max: 65535 }),
  holdTimeSeconds: fc.oneof(fc.constant(0), fc.integer({ min: 3, max: 65535 })),
  bfd: fc.boolean(),
  passwordSecretRef: fc.constant({ name: "tor", key: "password" }),
  hops: fc.oneof(fc.constant({}), fc.constant({ ttlSecurity: true }), fc.record({ multihop: fc.nat(255) })),
  gracefulRestart: fc.boolean(),
  bfdTimers: fc.record({
    receiveIntervalMilliseconds: fc.integer({ min: 10, max: 60000 }),
    transmitIntervalMilliseconds: fc.integer({ min: 10, max: 60000 }),
    detectMultiplier: fc.integer({ min: 2, max: 255 })
  }, { requiredKeys: [] }),
  passive: fc.boolean(),
  role: fc.oneof(
    fc.constant({}),
    fc.record({
      localRole: fc.constantFrom("provider", "customer", "peer", "rs-server", "rs-client"),
      roleStrictMode: fc.boolean()
    }, { requiredKeys: ["localRole"] })
  ),
  communities: fc.array(community, { maxLength: 5 })
}, { requiredKeys: ["place", "asn", "hops", "role"] }).map(
  ({ hops, place, role, ...rest }) => ({ ...rest, ...place, ...hops, ...role })
)
const grant = fc.record({
  cidr: fc.oneof(cidr(6, 1, 128), cidr(4, 1, 32)),
  namespaces: fc.constant(["shop"]),
  communities: fc.array(community, { maxLength: 4 })
})
const spec = fc.record({
  cidr6: cidr(6, 16, 126),
  cidr4: cidr(4, 8, 30),
  anycast: fc.record({
    allowedCIDRs: fc.array(anyCidr, { maxLength: 4 }),
    grants: fc.array(grant, { maxLength: 3 })
  }, { requiredKeys: ["allowedCIDRs"] }),
  bgp: fc.record({
    asn,
    routerID: ipAddress(4).map(formatAddress),
    importCIDRs: fc.array(anyCidr, { maxLength: 6 }),
    advertise: fc.array(fc.oneof(cidr(6, 1, 128), cidr(4, 1, 32)), { maxLength: 2 }),
    export: fc.record({ summaryOnly: fc.boolean() }),
    withdraw: fc.record({ gracefulShutdownSeconds: fc.nat(60), med: u32 }, { requiredKeys: [] }),
    peers: fc.array(peer, { maxLength: 6 })
  }, { requiredKeys: ["asn"] })
}, { requiredKeys: [] })
const interfaces: fc.Arbitrary<ReadonlyArray<HostInterface>> = fc.array(
  fc.record({
    ifName: fc.constantFrom("lo", "eth0", "eth1", "flock0a1b2c3d"),
    ifIndex: fc.integer({ min: 1, max: 4 }),
    mtu: fc.constant(1500),
    up: fc.boolean(),
    addresses: fc.array(
      fc.tuple(
        anyAddress,
        fc.nat(128),
        fc.constantFrom<Standing>("permanent", "dynamic", "deprecated", "temporary", "secondary")
      ).map(([address, prefix, standing]) => ({
        address,
        prefix: Math.min(prefix, bitsOf(address.family)),
        standing
      })),
      { maxLength: 4 }
    )
  }),
  { maxLength: 4 }
).chain((some) => fc.constantFrom(some, [...dual, ...some]))

const parse = (file: string): Promise<string> =>
  new Promise((resolve) => execFile("bird", ["-p", "-c", file], (error, _, stderr) => resolve(error ? stderr : "")))

describe("renderConfig", () => {
  it("gives what BIRD parses, for any NodeConfig, or says which field is wrong", { timeout: 60_000 }, async () => {
    const directory = mkdtempSync(join(tmpdir(), "flock-property-"))
    let files = 0
    let sessions = 0
    try {
      await fc.assert(
        fc.asyncProperty(
          spec,
          interfaces,
          fc.string({ unit: "binary", maxLength: 90 }),
          fc.array(anyAddress, { maxLength: 8 }),
          fc.string(),
          fc.array(fc.record({ ifIndex: fc.integer({ min: 1, max: 4 }), address: linkLocal, gone: fc.boolean() }), {
            maxLength: 3
          }),
          async (it, interfaces, password, exportSet, nodeName, routers) => {
            const object = { apiVersion: API_VERSION, kind: "NodeConfig", metadata: { name: "n" }, spec: it }
            const decoded = decode("n", object)
            if (Result.isFailure(decoded)) {
              assert.isTrue(decoded.failure.problems.every(({ field, message }) => field !== "" && message !== ""))
              return
            }
            const peers = decoded.success.spec.bgp?.peers ?? []
            const own = interfaces.flatMap(({ addresses }) => addresses.map(({ address }) => address))
            const result = renderConfig({
              nodeName,
              config: decoded.success,
              interfaces,
              outgoing: new Map(peers.map((p, i) => {
                const source = own[3 * i]
                return [peerName(p), source === undefined ? { ifIndex: i } : { ifIndex: i, source }]
              })),
              kept: {
                routerId: own.length % 2 === 1 ? "192.0.2.9" : undefined,
                ends: new Map(peers.flatMap((p, i) => {
                  const [local, hop] = [own[2 * i], own[2 * i + 1]]
                  return local === undefined ? [] : [[protocolName(p), hop === undefined ? { local } : { local, hop }]]
                }))
              },
              established: new Set(),
              ends: new Map(),
              routers,
              found: new Map(routers.slice(1).map(({ address }) => ["peer_on_eth0", address])),
              passwords: new Map([[secretKey({ name: "tor", key: "password" }), Redacted.make(password)]]),
              ceiling: 256,
              exportSet,
              drained: nodeName.length % 2 === 1,
              leaving: nodeName.length % 3 === 1
            })
            for (const { message } of result.waiting) {
              assert.match(message, /^spec\.bgp\.peers\[\d\]\.(address|interface|passwordSecretRef): /)
            }
            const left = result.waiting.filter(({ protocol }) => result.peers.every((it) => it.protocol !== protocol))
            assert.strictEqual(result.peers.length + left.length, peers.length)
            sessions += result.peers.length
            const file = join(directory, `${files++ % 8}.conf`)
            writeFileSync(file, result.text)
            assert.strictEqual(await parse(file), "")
          }
        ),
        { numRuns: 800 }
      )
      assert.isAbove(files, 60)
      assert.isAbove(sessions, 20)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
