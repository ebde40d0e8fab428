/** Peers with addresses out of special ranges: a router on the node itself, and a cloud's link-local gateways. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { startBird } from "../../lab/bird.ts"
import { inside, run } from "../../lab/exec.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import type { HostInterface } from "../../src/netlink/Netlink.ts"
import { hostInterface, nodeConfig } from "../unit/bird/inputs.ts"
import * as BirdNode from "./birdNode.ts"

const world = new World()
afterEach(() => world.close())

const namespace = async (kind: string): Promise<string> => {
  const name = world.netns(kind)
  await inside(name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
  await run("ip", "-n", name, "link", "set", "lo", "up")
  return name
}

/** A node and a router, joined by `uplink` and `lan`. */
const network = async (nodeAddresses: ReadonlyArray<string>, routerAddresses: ReadonlyArray<string>) => {
  const directory = world.folder("peers")
  const [node, router] = [await namespace("node"), await namespace("router")]
  await run("ip", "-n", node, "link", "add", "uplink", "type", "veth", "peer", "name", "lan", "netns", router)
  await run("ip", "-n", node, "link", "set", "uplink", "up")
  await run("ip", "-n", router, "link", "set", "lan", "up")
  const add = (netns: string, device: string) => (address: string) =>
    run("ip", "-n", netns, "addr", "add", address, "dev", device, ...(address.includes(":") ? ["nodad"] : []))
  for (const address of nodeAddresses) await add(node, "uplink")(address)
  for (const address of routerAddresses) await add(router, "lan")(address)
  return { directory, node, router }
}

const startRouter = async (netns: string, directory: string, lines: ReadonlyArray<string>): Promise<string> => {
  mkdirSync(directory)
  writeFileSync(
    join(directory, "bird.conf"),
    ["log stderr all;", "router id 192.0.2.99;", "protocol device {}", "protocol direct { ipv4; ipv6; }", ...lines]
      .join("\n")
  )
  await startBird(world, netns, directory)
  return join(directory, "bird.ctl")
}

const startNode = async (
  netns: string,
  interfaces: ReadonlyArray<HostInterface>,
  peers: ReadonlyArray<object>
) => {
  const bgp = { asn: 65001, peers: peers.map((peer) => ({ holdTimeSeconds: 9, ...peer })) }
  const { bird, facts } = await BirdNode.startNode(world, netns, bgp, interfaces)
  const states = (expected: Record<string, string>) =>
    until(`sessions ${JSON.stringify(expected)}`, async () => {
      const { peers } = await Effect.runPromise(bird.status)
      const seen = Object.fromEntries(peers.map(({ address, state }) => [address, state]))
      if (peers.length === 0 || Object.entries(expected).some(([address, state]) => seen[address] !== state)) {
        throw new Error(JSON.stringify(peers))
      }
      return peers
    }, 30)
  return { bird, facts, states }
}

/** The prefixes that the router has from the node over this session. */
const learned = async (socket: string, protocol: string): Promise<ReadonlyArray<string>> =>
  [...(await run("birdc", "-s", socket, "show", "route", "protocol", protocol)).matchAll(/^([0-9a-f.:]+\/\d+) /gm)]
    .map(([, prefix = ""]) => prefix)

const hears = (socket: string, protocol: string, prefixes: ReadonlyArray<string>) =>
  until(`${protocol} has ${prefixes.join(", ")}`, async () => {
    const has = await learned(socket, protocol)
    return prefixes.every((prefix) => has.includes(prefix))
  })

const BOTH = "ipv4 { import all; export none; }; ipv6 { import all; export none; };"
const listener = (name: string, address: string, port: number, asn: number) =>
  `protocol bgp ${name} { local ${address} port ${port} as ${asn}; neighbor ${address} port 179 as 65001; multihop 1; ` +
  `strict bind on; ${BOTH} }`

describe("a router on the node itself", () => {
  it("is a peer on 127.0.0.1, ::1 and an address of the node, and hears what is announced", async () => {
    const lab = await network(["2001:db8:ffff::11/64", "198.51.100.11/24"], ["198.51.100.1/24"])
    const socket = await startRouter(lab.node, join(lab.directory, "router"), [
      listener("lo4", "127.0.0.1", 1179, 65010),
      listener("lo6", "::1", 1179, 65010),
      listener("global4", "198.51.100.11", 1180, 65011)
    ])
    const interfaces = [
      hostInterface("lo", ["127.0.0.1/8", "::1/128"], { ifIndex: 1 }),
      hostInterface("uplink", ["2001:db8:ffff::11/64", "198.51.100.11/24"])
    ]
    const { states } = await startNode(lab.node, interfaces, [
      { address: "127.0.0.1", port: 1179, asn: 65010 },
      { address: "::1", port: 1179, asn: 65010 },
      { address: "198.51.100.11", port: 1180, asn: 65011 },
      { address: "127.0.0.2", asn: 65012 }
    ])
    const peers = await states({
      "127.0.0.1": "Established",
      "::1": "Established",
      "198.51.100.11": "Established",
      "127.0.0.2": "Down"
    })
    assert.deepStrictEqual(peers.map(({ problem }) => problem === undefined), [true, true, true, false])
    assert.match(peers[3]?.problem ?? "", /^spec\.bgp\.peers\[3\]\.address: "127\.0\.0\.2": .* port 179 is BIRD's own/)
    await hears(socket, "lo4", ["10.42.0.0/24"])
    await hears(socket, "lo6", ["2001:db8:100::/64"])
    await hears(socket, "global4", ["10.42.0.0/24"])
  })

  it("carries both families over the one session that there is", async () => {
    const lab = await network(["2001:db8:ffff::11/64", "198.51.100.11/24"], ["198.51.100.1/24"])
    const socket = await startRouter(lab.node, join(lab.directory, "router"), [listener("lo6", "::1", 1179, 65010)])
    const interfaces = [
      hostInterface("lo", ["127.0.0.1/8", "::1/128"], { ifIndex: 1 }),
      hostInterface("uplink", ["2001:db8:ffff::11/64", "198.51.100.11/24"])
    ]
    const { states } = await startNode(lab.node, interfaces, [{ address: "::1", port: 1179, asn: 65010 }])
    const peers = await states({ "::1": "Established" })
    assert.deepStrictEqual(peers.map(({ problem }) => problem), [undefined])
    await hears(socket, "lo6", ["10.42.0.0/24", "2001:db8:100::/64"])
  })
})

describe("link-local IPv4 gateways", () => {
  it("are peers on a /30 of the node's, and some hops away", async () => {
    const lab = await network(["169.254.255.2/30", "198.51.100.11/24"], ["169.254.255.1/30", "198.51.100.1/24"])
    await run("ip", "-n", lab.router, "addr", "add", "169.254.7.1/32", "dev", "lo")
    await run("ip", "-n", lab.node, "route", "add", "169.254.7.1", "via", "198.51.100.1")
    const socket = await startRouter(lab.router, join(lab.directory, "router"), [
      `protocol bgp near { local 169.254.255.1 as 64512; neighbor 169.254.255.2 as 65001; direct; ` +
      `ipv4 { import all; export none; }; }`,
      `protocol bgp far { local 169.254.7.1 as 64513; neighbor 198.51.100.11 as 65001; multihop 2; ` +
      `ipv4 { import all; export none; }; }`,
      "protocol kernel { ipv4 { export all; }; }"
    ])
    const interfaces = [hostInterface("uplink", ["169.254.255.2/30", "198.51.100.11/24"])]
    const { states } = await startNode(lab.node, interfaces, [
      { address: "169.254.255.1", asn: 64512 },
      { address: "169.254.7.1", asn: 64513, multihop: 2 }
    ])
    await states({ "169.254.255.1": "Established", "169.254.7.1": "Established" })
    await hears(socket, "near", ["10.42.0.0/24"])
    await hears(socket, "far", ["10.42.0.0/24"])
    // Over the /30, what the router sends to the node's pods goes to the node's end of it.
    await until(
      "the router's kernel has the prefix",
      async () =>
        /^10\.42\.0\.0\/24 via (169\.254\.255\.2|198\.51\.100\.11) dev lan/m.test(
          await run("ip", "-n", lab.router, "route")
        )
    )
  })
})

describe("one peer's fault", () => {
  it("keeps no edit, no address and no session of another peer back, and is over when it is mended", async () => {
    const lab = await network(["198.51.100.11/24", "203.0.113.11/24"], ["198.51.100.1/24", "203.0.113.3/24"])
    const socket = await startRouter(lab.router, join(lab.directory, "router"), [
      `protocol bgp good { local 198.51.100.1 as 65000; neighbor 198.51.100.11 as 65001; direct; ` +
      `ipv4 { import all; export none; }; }`,
      `protocol bgp bad { local 203.0.113.3 as 65000; neighbor 203.0.113.11 as 65001; direct; password "right"; ` +
      `ipv4 { import all; export none; }; }`
    ])
    const good = { address: "198.51.100.1", asn: 65000, holdTimeSeconds: 9 }
    const bad = {
      address: "203.0.113.3",
      asn: 65000,
      holdTimeSeconds: 9,
      passwordSecretRef: { name: "tor", key: "password" }
    }
    const { bird, facts, states } = await startNode(lab.node, [
      hostInterface("uplink", ["198.51.100.11/24", "203.0.113.11/24"])
    ], [good, bad])
    await Effect.runPromise(facts.kube.setSecret({ name: "tor", key: "password" }, "two\nlines"))
    await Effect.runPromise(bird.requestReload)
    await states({ "198.51.100.1": "Established", "203.0.113.3": "Down" })
    await hears(socket, "good", ["10.42.0.0/24"])
    const edited = nodeConfig({ cidr4: "10.43.0.0/24", bgp: { asn: 65001, peers: [good, bad] } }, "node1")
    await Effect.runPromise(
      facts.kube.setNodeConfig({ current: Option.some(edited), rejected: Option.none() })
    )
    await hears(socket, "good", ["10.43.0.0/24"])
    const { peers } = await Effect.runPromise(bird.status)
    assert.match(
      peers.find(({ address }) => address === "203.0.113.3")?.problem ?? "",
      /^spec\.bgp\.peers\[1\]\.passwo/
    )
    await Effect.runPromise(facts.kube.setSecret({ name: "tor", key: "password" }, "right"))
    await Effect.runPromise(bird.requestReload)
    const mended = await states({ "198.51.100.1": "Established", "203.0.113.3": "Established" })
    assert.isTrue(mended.every(({ problem }) => problem === undefined))
  })
})
