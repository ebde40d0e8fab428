import { assert, it } from "@effect/vitest"
import { parseAddress, parseCidr } from "../../../src/domain/Ip.ts"
import { gatewaysOf } from "../../../src/fleet/gateways.ts"
import { type HostInterface, type HostRoute, PROTOCOL_BIRD, PROTOCOL_KEPT } from "../../../src/netlink/Netlink.ts"

/** `RTPROT_STATIC`, `RTPROT_RA` (linux/rtnetlink.h). */
const [STATIC, RA] = [4, 9]

const route = (destination: string, via: string, protocol: number): HostRoute => {
  const [cidr, address] = [parseCidr(destination), parseAddress(via)]
  if ("problem" in cidr || address === undefined) throw new Error(destination)
  return { destination: cidr, protocol, nextHops: [{ ifIndex: 2, via: address, onlink: false }] }
}
const uplinks: ReadonlyArray<HostInterface> = [{ ifName: "uplink", ifIndex: 2, mtu: 1500, up: true, addresses: [] }]
const of = (...routes: ReadonlyArray<HostRoute>) => gatewaysOf(routes, uplinks)

it("gives the first default route of each family, a link-local one with its interface", () => {
  assert.deepStrictEqual(
    of(route("::/0", "fe80::1", RA), route("::/0", "2001:db8::2", STATIC), route("0.0.0.0/0", "192.0.2.1", STATIC)),
    { ipv6: "fe80::1%uplink", ipv4: "192.0.2.1" }
  )
})

it("takes no default route that a peer gave, nor the copy that is kept of one while BIRD is away", () => {
  const learned = [PROTOCOL_BIRD, PROTOCOL_KEPT].map((protocol) => route("::/0", "fe80::1", protocol))
  assert.deepStrictEqual(of(...learned), { ipv6: undefined, ipv4: undefined })
  assert.deepStrictEqual(of(...learned, route("::/0", "2001:db8::2", STATIC)).ipv6, "2001:db8::2")
})

it("takes no route to anything but everything, and none that leads over the other family", () => {
  assert.deepStrictEqual(
    of(route("2001:db8::/32", "fe80::1", STATIC), route("0.0.0.0/0", "fe80::1", STATIC)),
    { ipv6: undefined, ipv4: undefined }
  )
})
