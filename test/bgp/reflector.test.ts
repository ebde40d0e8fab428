/**
 * A route reflector (FRR, iBGP, multihop), whose routes name other routers as next hops: they are looked up in the node's own
 * routes, and what cannot be looked up leaves the traffic to the node's default route.
 */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ip } from "../../lab/exec.ts"
import { CLIENT4, CLIENT6, kernelRoutes, node4, ROUTER4, ROUTER6, ROUTER_ASN, ROUTER_LOOPBACK } from "../../lab/Lan.ts"
import { pinging } from "../../lab/ping.ts"
import { until } from "../../lab/until.ts"
import { type BirdNode, closeAll, established, open } from "./birdNode.ts"

afterEach(closeAll)

const REFLECTOR4 = "192.0.2.129"
/** On no interface of the lab: the node's own routes say where it is. */
const BORDER6 = "2001:db8:9::77"
const BORDER4 = "192.0.2.177"
const NETWORK6 = "2001:db8:c::/64"
const NETWORK4 = "203.0.113.0/24"

/** Sessions from the reflector's loopbacks; the client's networks are behind the border router, the default routes here. */
const reflect = async ({ lan }: BirdNode) => {
  await ip(lan.router, "addr", "add", `${REFLECTOR4}/32`, "dev", "lo")
  await lan.configure(
    `ipv6 prefix-list client6 seq 10 permit ${NETWORK6}`,
    `ip prefix-list client4 seq 10 permit ${NETWORK4}`,
    "route-map border permit 10",
    "match ipv6 address prefix-list client6",
    `set ipv6 next-hop global ${BORDER6}`,
    "exit",
    "route-map border permit 20",
    "match ip address prefix-list client4",
    `set ip next-hop ${BORDER4}`,
    "exit",
    "route-map border permit 30",
    "exit",
    `router bgp ${ROUTER_ASN}`,
    `neighbor ${node4(0)} update-source ${REFLECTOR4}`,
    ...["ipv6", "ipv4"].flatMap((family) => [
      `address-family ${family} unicast`,
      `neighbor ${family === "ipv6" ? "2001:db8:ffff::11" : node4(0)} route-map border out`,
      `neighbor ${family === "ipv6" ? "2001:db8:ffff::11" : node4(0)} route-reflector-client`,
      "exit-address-family"
    ])
  )
}

describe("a route reflector", () => {
  it("whose next hops only its own default route leads to cuts nothing; a route of the node's makes them usable", async () => {
    const node = await open(
      {
        asn: ROUTER_ASN,
        importCIDRs: ["::/0", "0.0.0.0/0"],
        peers: [ROUTER_LOOPBACK, REFLECTOR4].map((address) => ({
          address,
          asn: ROUTER_ASN,
          multihop: 3,
          holdTimeSeconds: 9
        }))
      },
      { multihop: true, asns: [ROUTER_ASN] }
    )
    const { netns } = node
    const learned = async (destination: string) =>
      (await kernelRoutes(netns, destination.includes(":") ? 6 : 4, "bird")).get(destination)
    await ip(netns, "-6", "route", "add", `${ROUTER_LOOPBACK}/128`, "via", ROUTER6)
    await ip(netns, "route", "add", `${REFLECTOR4}/32`, "via", ROUTER4)
    await reflect(node)
    const pings = [pinging(netns, CLIENT6), pinging(netns, CLIENT4)]
    await established(node, 2)

    const unusable = (count: number) =>
      until(`${count} unusable routes`, async () => {
        const { peers } = await Effect.runPromise(node.bird.status)
        if (peers.some(({ unusable }) => (unusable?.count ?? 0) !== count)) throw new Error(JSON.stringify(peers))
        return true
      }, 30)
    const defaults = async (family: 4 | 6) => (await kernelRoutes(netns, family, "bird")).get("default")?.join()
    // Their next hop is the reflector itself, to which the node has a route.
    await until("default routes", async () => await defaults(6) === ROUTER6 && await defaults(4) === ROUTER4, 20)
    await unusable(1)
    assert.deepStrictEqual([await learned(NETWORK6), await learned(NETWORK4)], [undefined, undefined])

    await ip(netns, "-6", "route", "add", `${BORDER6}/128`, "via", ROUTER6)
    await ip(netns, "route", "add", `${BORDER4}/32`, "via", ROUTER4)
    await until(
      "the client's networks",
      async () => (await learned(NETWORK6))?.join() === ROUTER6 && (await learned(NETWORK4))?.join() === ROUTER4,
      30
    )
    await unusable(0)

    await ip(netns, "-6", "route", "del", `${BORDER6}/128`)
    await ip(netns, "route", "del", `${BORDER4}/32`)
    await unusable(1)
    assert.deepStrictEqual([await learned(NETWORK6), await learned(NETWORK4)], [undefined, undefined])
    for (const ping of pings) {
      const { received, sent, text } = await ping.stop()
      assert.strictEqual(
        received,
        sent,
        text.split("\n").filter((line) => line.startsWith("From")).slice(0, 5).join("\n")
      )
      assert.isAbove(sent, 50)
    }
  })
})
