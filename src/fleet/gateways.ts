/** The node's default gateways, for templates whose peers are given as `gateway: ipv6` or `gateway: ipv4`. */
import { Effect } from "effect"
import { formatAddress } from "../domain/Ip.ts"
import type { NodeConfigTemplate } from "../domain/NodeConfigTemplate.ts"
import { isLinkLocal } from "../domain/peerAddress.ts"
import { record, records } from "../domain/record.ts"
import { type HostInterface, type HostRoute, type Netlink, PROTOCOL_BIRD, PROTOCOL_KEPT } from "../netlink/Netlink.ts"
import type { NodeFacts } from "./resolve.ts"

/** What was learned from a peer does not say who the peer is to be, nor does the copy that is kept over BIRD's restart. */
const LEARNED: ReadonlySet<number> = new Set([PROTOCOL_BIRD, PROTOCOL_KEPT])

export const asksForGateway = ({ spec }: NodeConfigTemplate): boolean =>
  records(record(spec.template["bgp"])["peers"]).some((peer) => "gateway" in peer)

/** Of the main table's routes; a link-local gateway is given with its interface. */
export const gatewaysOf = (
  routes: ReadonlyArray<HostRoute>,
  interfaces: ReadonlyArray<HostInterface>
): NodeFacts["gateways"] => {
  const of = (family: 4 | 6): string | undefined => {
    // The kernel lists the one with the lowest metric, which it uses, first.
    const route = routes.find(({ destination, protocol }) =>
      destination.family === family && destination.prefix === 0 && !LEARNED.has(protocol)
    )
    const hop = route?.nextHops.find(({ via }) => via?.family === family)
    if (hop?.via === undefined) return undefined
    const text = formatAddress(hop.via)
    const link = interfaces.find(({ ifIndex }) => ifIndex === hop.ifIndex)
    return isLinkLocal(hop.via) && link !== undefined ? `${text}%${link.ifName}` : text
  }
  return { ipv6: of(6), ipv4: of(4) }
}

/** Nothing is asked of the kernel where no template wants to know. */
export const defaultGateways = (
  netlink: Netlink["Service"],
  templates: ReadonlyArray<NodeConfigTemplate>
): Effect.Effect<NodeFacts["gateways"]> =>
  templates.some(asksForGateway)
    ? Effect.all([netlink.routes(), netlink.interfaces]).pipe(
      Effect.map(([routes, interfaces]) => gatewaysOf(routes, interfaces)),
      Effect.catch((error) => Effect.as(Effect.logWarning(`default gateways not read: ${error.message}`), {}))
    )
    : Effect.succeed({})
