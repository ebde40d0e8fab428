/** A peer's fault is that peer's: a real agent with two healthy sessions, odd peers that work, and faulty ones. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { startBird } from "../../lab/bird.ts"
import { ip, run } from "../../lab/exec.ts"
import { node4, node6, ROUTER4, ROUTER6 } from "../../lab/Lan.ts"
import { ANYCAST4, ANYCAST6, Network, nodeSpec, peers } from "../../lab/Network.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
afterAll(() => world.close(), 30_000)

const CLOUD = "169.254.255.1"
const secret = (key: string) => ({ passwordSecretRef: { name: "tor", key } })

const BOTH = "ipv4 { import all; export none; }; ipv6 { import all; export none; };"

/** A BIRD whose sessions are with the node at `local`, by port 1179. */
const startRouter = async (netns: string, sessions: ReadonlyArray<readonly [string, string, string]>) => {
  const directory = world.folder("router")
  writeFileSync(
    join(directory, "bird.conf"),
    [
      "log stderr all;",
      "router id 192.0.2.99;",
      "protocol device {}",
      "protocol direct { ipv4; ipv6; }",
      ...sessions.map(([name, local, node]) =>
        `protocol bgp ${name} { local ${local} port 1179 as 64512; neighbor ${node} port 179 as 65001; multihop 2; ` +
        `strict bind on; connect retry time 1; error wait time 1, 2; ${BOTH} }`
      )
    ].join("\n")
  )
  await startBird(world, netns, directory)
  return async (protocol: string) =>
    run("birdc", "-s", join(directory, "bird.ctl"), "show", "route", "protocol", protocol)
}

describe("one peer's fault", () => {
  it("keeps nothing of the others back, and each is said by status, why and doctor", async () => {
    const lab = await Network.open(world, { nodes: 1 })
    const node = lab.node(0)
    const healthy = (await node.status()).bird.peers.map(({ since }) => since)
    await ip(lab.lan.router, "addr", "add", `${CLOUD}/32`, "dev", "lo")
    const onNode = await startRouter(node.netns, [
      ["lo4", "127.0.0.1", "127.0.0.1"],
      ["lo6", "::1", "::1"],
      ["own6", node6(0), node6(0)]
    ])
    const inCloud = await startRouter(lab.lan.router, [["cloud", CLOUD, node4(0)]])
    mkdirSync(join(node.config, "secrets", "tor"), { recursive: true })
    for (const [key, value] of [["echoed", "s3cret\n"], ["quote", "a\"b"]] as const) {
      writeFileSync(join(node.config, "secrets", "tor", key), value)
    }
    const odd = { asn: 64512, port: 1179 }
    node.writeNodeConfig(nodeSpec(0, {
      peers: [
        ...peers(),
        { address: CLOUD, multihop: 2, ...odd },
        { address: "127.0.0.1", ...odd },
        { address: "::1", ...odd },
        { address: node6(0), ...odd },
        { address: "198.51.100.77", asn: 65077, ...secret("echoed") },
        { address: node4(0), asn: 65001 },
        { address: "203.0.113.9", asn: 65009 },
        { address: "198.51.100.78", asn: 65078, ...secret("quote") },
        { address: "198.51.100.79", asn: 65079, ...secret("absent") }
      ]
    }))
    const bird = await until("five sessions", async () => {
      const { bird } = await node.status()
      const up = bird.peers.filter(({ state }) => state === "Established").map(({ address }) => address)
      if (up.length !== 6) throw new Error(JSON.stringify(bird.peers))
      return bird
    }, 40)
    assert.deepStrictEqual(bird.peers.slice(0, 2).map(({ since }) => since), healthy)
    const problems = Object.fromEntries(
      bird.peers.flatMap(({ address, problem }) => problem === undefined ? [] : [[address, problem]])
    )
    assert.match(problems[node4(0)] ?? "", /^spec\.bgp\.peers\[7\]\.address: .* own address \(uplink\), where port 179/)
    assert.match(problems["203.0.113.9"] ?? "", /^spec\.bgp\.peers\[8\]\.address: .* no address in its subnet/)
    assert.match(problems["198.51.100.78"] ?? "", /^spec\.bgp\.peers\[9\]\.passwordSecretRef: .* double quote/)
    assert.match(
      problems["198.51.100.79"] ?? "",
      /^spec\.bgp\.peers\[10\]\.passwordSecretRef: "tor\/absent": there is no/
    )
    assert.lengthOf(Object.keys(problems), 4)
    assert.include(node.readConf(), "password \"s3cret\";")

    // What comes later is announced: to the healthy ones and to the odd ones.
    const pod = await lab.pod(0, "dns", { anycast: [ANYCAST6, ANYCAST4] })
    pod.set({ ready: true })
    for (const address of [ANYCAST6, ANYCAST4]) await lab.ways(address, 1)
    for (
      const [ask, protocol, address] of [
        [onNode, "lo4", ANYCAST4],
        [onNode, "lo6", ANYCAST6],
        [onNode, "own6", ANYCAST6],
        [inCloud, "cloud", ANYCAST4]
      ] as const
    ) await until(`${protocol} has ${address}`, async () => (await ask(protocol)).includes(`${address}/`))

    const why = await node.tool("why", ANYCAST4)
    assert.strictEqual(why.code, 0, why.stdout)
    const [status, doctor] = [(await node.tool("status")).stdout, (await node.tool("doctor")).stdout]
    for (const problem of Object.values(problems)) {
      for (const text of [why.stdout, status, doctor]) assert.include(text, problem)
    }
    assert.notInclude(why.stdout + status + doctor + node.readLog(), "s3cret")

    // An edit of the list is in force although faulty ones are still in it.
    node.writeNodeConfig(nodeSpec(0, {
      peers: [{ ...peers()[0], communities: ["65001:9"] }, peers()[1], { address: "203.0.113.9", asn: 65009 }]
    }))
    await until("the edit", async () => {
      const { paths: [path] = [] } = await lab.lan.vtysh(`show bgp ipv6 unicast ${ANYCAST6} json`)
      return path?.community?.string === "65001:9"
    })
    const after = (await node.status()).bird.peers
    assert.deepStrictEqual(after.slice(0, 2).map(({ since }) => since), healthy)
    assert.deepStrictEqual(after.map(({ address }) => address), [ROUTER6, ROUTER4, "203.0.113.9"])
  })
})
