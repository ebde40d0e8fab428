/** One leaf with the configuration that docs/router-examples.md shows, and what else an unnumbered peer can be. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join, resolve } from "node:path"
import { AgentNode } from "../../lab/AgentNode.ts"
import { inside, ip, ipBatch } from "../../lab/exec.ts"
import { Frr } from "../../lab/frr.ts"
import { plainSysctls } from "../../lab/Lan.ts"
import { cidr4, cidr6, nodeSpec } from "../../lab/Network.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"
import { openRaw, routerAdvertisement } from "../kernel/packets.ts"

const LEAF_ASN = 65100
const more = { holdTimeSeconds: 9, bfd: true, passwordSecretRef: { name: "tor", key: "password" } }

const examples = readFileSync(resolve(import.meta.dirname, "../../docs/router-examples.md"), "utf8")

/** The first block of a section of the document. */
const block = (heading: string): string => {
  const [, text = ""] = /\n```\n(.*?)\n```\n/s.exec(examples.slice(examples.indexOf(`\n## ${heading}\n`))) ?? []
  return text
}

const config = [
  ...block("FRR").split("\n").filter((line) => /^ip(v6)? prefix-list /.test(line)),
  block("Unnumbered"),
  ""
]
  .join("\n")

describe("a leaf", () => {
  const world = new World()
  let node: AgentNode
  let leaf: Frr
  let router: string

  beforeAll(async () => {
    const spec = nodeSpec(0, { peers: [{ interface: "eth0", asn: "external", ...more }] })
    node = await AgentNode.open(world, { flags: [], spec })
    mkdirSync(join(node.config, "secrets", "tor"), { recursive: true })
    writeFileSync(join(node.config, "secrets", "tor", "password"), "s3cret")
    leaf = new Frr(world, world.netns("leaf"))
    await inside(leaf.netns, "sysctl", "-qw", ...plainSysctls)
    await inside(node.netns, "sysctl", "-qw", ...plainSysctls.slice(0, 2))
    ipBatch(
      leaf.netns,
      `link set lo up\nlink add swp1 type veth peer name eth0 netns ${node.netns}\nlink set swp1 up\n`
    )
    await node.ip("link", "set", "eth0", "up")
    const [link] = JSON.parse(await ip(leaf.netns, "-j", "-6", "addr", "show", "swp1", "scope", "link"))
    router = link.addr_info[0].local
    await leaf.start(config, { bfd: true, zebra: config })
    await node.start()
    await node.startBird()
  })
  afterAll(() => world.close())

  const peer = (wanted: (it: Awaited<ReturnType<typeof peers>>[number]) => boolean, what: string) =>
    until(what, async () => {
      const all = await peers()
      const found = all.find(wanted)
      if (found === undefined || all.length !== 1) throw new Error(JSON.stringify(all))
      return found
    }, 60)
  const peers = async () => (await node.status()).bird.peers
  const established = (protocol: string) =>
    peer((it) => it.protocol === protocol && it.state === "Established", `${protocol} is Established`)

  const routed = () =>
    until("both prefixes in the leaf's kernel", async () => {
      const text = await ip(leaf.netns, "route") + await ip(leaf.netns, "-6", "route")
      return [`${cidr4(0)} nhid `, `${cidr6(0)} nhid `].every((it) => text.includes(it)) &&
        /^10\.42\.0\.0\/24 .*via inet6 fe80\S+ dev swp1 proto bgp/m.test(text)
    }, 30)

  it("configured as docs/router-examples.md says", async () => {
    assert.strictEqual((await established("peer_on_eth0")).address, `${router}%eth0`)
    await leaf.bfdUp(1)
    assert.isTrue(await routed())
    // Nobody on the link takes the node for a default router, or a prefix from it.
    assert.strictEqual(await ip(leaf.netns, "-6", "route", "show", "proto", "ra"), "")
    assert.strictEqual(await ip(leaf.netns, "-6", "addr", "show", "dev", "swp1", "scope", "global"), "")
    assert.strictEqual(await node.ip("-6", "route", "show", "proto", "ra"), "")
  })

  it("named by its link-local address", async () => {
    const address = `${router}%eth0`
    node.writeNodeConfig(nodeSpec(0, { peers: [{ address, asn: LEAF_ASN, ...more }] }))
    const { asn } = await established(`peer_${router.replaceAll(":", "_")}_on_eth0`)
    assert.strictEqual(asn, LEAF_ASN)
    assert.isTrue(await routed())
  })

  it("beside another router on the link: none is chosen, until one is named", async () => {
    const advertise = openRaw(leaf.netns, "swp1")
    const other = setInterval(() => {
      advertise.send(routerAdvertisement("fe80::66", "2001:db8:66::", 64), { everybody: true })
    }, 200)
    try {
      await until(
        "the other router in the kernel",
        async () => (await node.ip("-6", "neigh", "show", "fe80::66", "dev", "eth0")).includes("router")
      )
      node.writeNodeConfig(nodeSpec(0, { peers: [{ interface: "eth0", asn: LEAF_ASN, ...more }] }))
      const { problem, state } = await peer((it) => it.problem !== undefined, "a problem")
      assert.strictEqual(state, "Down")
      const [first = "", second = ""] = ["fe80::66", router].toSorted()
      assert.strictEqual(
        problem,
        `spec.bgp.peers[0].interface: "eth0": several routers advertise themselves there (${first}, ${second}); write ` +
          "the address of the one that is meant, with %eth0; the session waits"
      )
      node.writeNodeConfig(nodeSpec(0, { peers: [{ address: `${router}%eth0`, asn: LEAF_ASN, ...more }] }))
      assert.isOk(await established(`peer_${router.replaceAll(":", "_")}_on_eth0`))
    } finally {
      clearInterval(other)
    }
  })

  it("of the node's own AS", async () => {
    await node.ip("-6", "neigh", "flush", "dev", "eth0")
    await leaf.configure(`router bgp ${LEAF_ASN}`, "neighbor swp1 interface remote-as internal")
    const bgp = { asn: LEAF_ASN, peers: [{ interface: "eth0", asn: "internal", ...more }] }
    node.writeNodeConfig({ ...nodeSpec(0), bgp })
    const { asn } = await established("peer_on_eth0")
    assert.strictEqual(asn, LEAF_ASN)
    assert.isTrue(await routed())
  })
})
