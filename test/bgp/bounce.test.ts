/** Uplinks that bounce: how long the router is without its sessions, by FRR's own word. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { AgentNode } from "../../lab/AgentNode.ts"
import { ip } from "../../lab/exec.ts"
import { Lan, node4, node6, ROUTER4, ROUTER6, ROUTER_ASN } from "../../lab/Lan.ts"
import { until } from "../../lab/until.ts"
import { World } from "../../lab/World.ts"

const world = new World()
afterEach(() => world.close())

type Families = ReadonlyArray<4 | 6>

const local = (family: 4 | 6): string => family === 6 ? node6(0) : node4(0)

const open = async (families: Families) => {
  const peers = families.map((family) => ({
    address: family === 6 ? ROUTER6 : ROUTER4,
    asn: ROUTER_ASN,
    holdTimeSeconds: 9
  }))
  const cidrs = { cidr6: "2001:db8:100::/64", cidr4: "10.42.0.0/24" }
  const spec = {
    ...(families.includes(6) ? { cidr6: cidrs.cidr6 } : {}),
    ...(families.includes(4) ? { cidr4: cidrs.cidr4 } : {})
  }
  const node = await AgentNode.open(world, { flags: [], spec: { ...spec, bgp: { asn: 65001, peers } } })
  const lan = await Lan.open(world, { router: "frr", nodes: [node.netns] })
  const other = families.includes(6) ? undefined : "-6"
  if (other !== undefined) await node.ip("-6", "addr", "flush", "dev", "uplink")
  if (!families.includes(4)) await node.ip("-4", "addr", "flush", "dev", "uplink")
  await node.start()
  await node.startBird()
  const neighbors = async () =>
    Promise.all(
      families.map(async (family) => (await lan.vtysh(`show bgp neighbors ${local(family)} json`))[local(family)])
    )
  const up = () =>
    until("the router has the sessions", async () => {
      const seen = await neighbors()
      if (seen.some(({ bgpState }) => bgpState !== "Established")) throw new Error(seen.map((it) => it.bgpState).join())
      return true
    }, 40)
  const established = async (): Promise<number> => {
    const counts = (await neighbors()).map((it) => Number(it.connectionsEstablished))
    return Math.min(...counts)
  }
  await up()
  return { node, lan, up, established, address: () => addressAgain(node, families) }
}

/** What a network manager does. */
const addressAgain = async (node: AgentNode, families: Families, device = "uplink") => {
  for (const family of families) {
    const prefix = family === 6 ? 64 : 24
    await node.ip("addr", "replace", `${local(family)}/${prefix}`, "dev", device, ...(family === 6 ? ["nodad"] : []))
  }
}

type Case = Awaited<ReturnType<typeof open>>

/** Seconds from `comeBack`'s end until the router has its sessions again. */
const measure = async (it: Case, what: string, goAway: () => Promise<unknown>, comeBack: () => Promise<unknown>) => {
  const before = await it.established()
  await goAway()
  await new Promise((resolve) => setTimeout(resolve, 700))
  await comeBack()
  const at = performance.now()
  await until("anew", async () => {
    await it.up()
    return (await it.established()) > before
  }, 40)
  const seconds = (performance.now() - at) / 1000
  console.log(`${what}: sessions again after ${seconds.toFixed(1)} s`)
  return seconds
}

/** A router that has lost its link tries every second here, and BIRD waits a second after an error. */
const SOON = 8

describe("an uplink", () => {
  it.each<[string, Families]>([["IPv4-only", [4]], ["IPv6-only", [6]], ["dual-stack", [6, 4]]])(
    "that goes down and up, that loses its carrier, and that is made anew: %s",
    async (name, families) => {
      const it = await open(families)
      const { lan, node } = it
      const down = await measure(
        it,
        `${name}, set down and up`,
        () => node.ip("link", "set", "uplink", "down"),
        async () => {
          await node.ip("link", "set", "uplink", "up")
          // The kernel keeps IPv4 addresses: nothing but the link tells of it then.
          if (families.includes(6)) await addressAgain(node, [6])
        }
      )
      const carrier = await measure(
        it,
        `${name}, carrier lost and found`,
        () => ip(lan.router, "link", "set", "n0", "down"),
        () => ip(lan.router, "link", "set", "n0", "up")
      )
      const anew = await measure(
        it,
        `${name}, removed and made anew`,
        () => node.ip("link", "del", "uplink"),
        async () => {
          await ip(lan.router, "link", "add", "n0", "type", "veth", "peer", "name", "uplink", "netns", node.netns)
          await ip(lan.router, "link", "set", "n0", "master", "lan", "up")
          await node.ip("link", "set", "uplink", "up")
          await it.address()
        }
      )
      for (const seconds of [down, carrier, anew]) assert.isBelow(seconds, SOON)
    }
  )

  it("that is renamed, that a bridge takes, and that is given back, as a bond or a VLAN would", async () => {
    const it = await open([6, 4])
    const { node } = it
    const down = () => node.ip("link", "set", "uplink", "down")
    const named = await measure(it, "renamed", down, async () => {
      await node.ip("link", "set", "uplink", "name", "lan0")
      await node.ip("link", "set", "lan0", "up")
      await addressAgain(node, [6], "lan0")
    })
    // The link has no address any more: another device has them.
    const taken = await measure(
      it,
      "with its addresses on a bridge",
      () => node.ip("addr", "flush", "dev", "lan0"),
      async () => {
        await node.ip("link", "add", "br0", "type", "bridge")
        await node.ip("link", "set", "lan0", "master", "br0")
        await node.ip("link", "set", "br0", "up")
        await addressAgain(node, [6, 4], "br0")
      }
    )
    const back = await measure(
      it,
      "without the bridge",
      () => node.ip("link", "del", "br0"),
      () => addressAgain(node, [6, 4], "lan0")
    )
    for (const seconds of [named, taken, back]) assert.isBelow(seconds, SOON)
  })
})
