/**
 * The host end of a pod's link, item by item: what each is, how it is seen to differ, and the requests that make it so. ADD
 * makes a new link of it, CHECK says what differs, and what somebody else changed is restored. Pure.
 */
import {
  equalAddress,
  equalCidr,
  formatAddress,
  formatCidr,
  hostCidr,
  type IpAddress,
  networkOf
} from "../domain/Ip.ts"
import { GATEWAY6, primariesOf } from "../domain/PodAddresses.ts"
import { isForeign, type Neighbour } from "./answers.ts"
import type { Received } from "./codec.ts"
import { BOTH, type HostItem, linkItems, NONE, type SeenHostEnd, type Target, whereOf } from "./hostLinkItems.ts"
import { type HostDifference, type PodLinkPlan, PROTOCOL_POD } from "./Netlink.ts"
import * as R from "./requests.ts"
import type { Step } from "./step.ts"

/** The kernel makes the route to it with the gateway's address. */
export const GATEWAY6_NETWORK = networkOf(GATEWAY6, 64)

/** A pod that asks for its gateway from a link-local address is answered by the route to those. */
const gatewayItem = (where: string): HostItem => {
  const what = `address ${formatAddress(GATEWAY6)}`
  return {
    kind: "address",
    what,
    cuts: NONE,
    differs: ({ addresses, connected, link }) =>
      !addresses.some((x) => x.ifIndex === link.ifIndex && equalAddress(x.address, GATEWAY6))
        ? `${what} is missing on ${where}`
        : connected
        ? undefined
        : `the route to ${formatCidr(GATEWAY6_NETWORK)} is missing on ${where}`,
    create: ({ ifIndex, ifName }) => [
      { op: `add ${what} to ${ifName}`, message: R.addAddress(ifIndex, GATEWAY6, 64) }
    ],
    // Where only the route is gone the address has to go too. It may be there no more: that is no error.
    restore: ({ ifIndex }) => [R.deleteAddress(ifIndex, GATEWAY6, 64), R.addAddress(ifIndex, GATEWAY6, 64)]
  }
}

/** What differs in a fixed neighbour entry, to follow its name; also of the pod's end. */
export const neighbourDiffers = (
  neighbours: ReadonlyArray<Neighbour>,
  ifIndex: number,
  address: IpAddress,
  mac: string | undefined
): string | undefined => {
  const entry = neighbours.find((n) => n.ifIndex === ifIndex && equalAddress(n.address, address))
  return entry === undefined
    ? "is missing"
    : mac !== undefined && entry.mac !== mac
    ? `has MAC ${entry.mac}, should have ${mac}`
    : entry.permanent
    ? undefined
    : "is not permanent"
}

const neighbourItem = (address: IpAddress, where: string): HostItem => {
  const what = `neighbour entry for ${formatAddress(address)}`
  return {
    kind: "neighbour",
    what,
    cuts: [address.family],
    differs: ({ link, neighbours, podMac }) => {
      const problem = neighbourDiffers(neighbours, link.ifIndex, address, podMac)
      return problem && `${what} on ${where} ${problem}`
    },
    create: ({ ifIndex, ifName, podMac }) =>
      podMac === undefined ? [] : [
        {
          op: `add neighbour ${formatAddress(address)} to ${ifName}`,
          message: R.putNeighbour(ifIndex, address, podMac)
        }
      ]
  }
}

const HELD = "another link holds a route to this address"

/**
 * Ours stands beside a foreign route with a better metric, and would never be used: so a new link is refused where there
 * is one, and of a link that has lived it is said. Whose route it is, is not ours to decide.
 */
const routeItems = (address: IpAddress, hostIfName: string): ReadonlyArray<HostItem> => {
  const name = formatAddress(address)
  const what = `route to ${name}`
  const destination = hostCidr(address)
  const route = (ifIndex: number) => ({ destination, protocol: PROTOCOL_POD, nextHops: [{ ifIndex, onlink: false }] })
  return [{
    kind: "route",
    what,
    cuts: [address.family],
    differs: ({ link, routes }) => {
      const found = routes.find((r) => equalCidr(r.destination, destination))
      return found === undefined
        ? `host route ${formatCidr(destination)} is missing`
        : found.nextHops.length === 1 && found.nextHops[0]?.ifIndex === link.ifIndex
        ? undefined
        : `host route ${formatCidr(destination)} does not lead to ${hostIfName}`
    },
    create: ({ ifIndex, ifName }) => {
      const op = `add route to ${name} on ${ifName}`
      return [
        { op, message: R.addRoute(route(ifIndex)), exists: HELD, claims: address },
        {
          op,
          message: R.matchRoute(address),
          taken: (answers: ReadonlyArray<Received>) => answers.some((answer) => isForeign(answer, ifIndex)),
          exists: HELD,
          claims: address
        }
      ]
    },
    restore: ({ ifIndex }) => [R.replaceRoute(route(ifIndex))]
  }, {
    kind: "foreign-route",
    what: `way to ${name}`,
    cuts: [address.family],
    differs: ({ foreignRoute }) => {
      const foreign = foreignRoute(address)
      return foreign === undefined ? undefined : `the host sends what is for ${name} elsewhere: ${foreign}`
    },
    restore: () => []
  }]
}

/** In the order in which the kernel needs them. */
const hostItems = (plan: PodLinkPlan): ReadonlyArray<HostItem> => [
  ...linkItems(plan),
  ...(plan.addresses.ipv6 === undefined ? [] : [gatewayItem(whereOf(plan))]),
  ...primariesOf(plan.addresses).flatMap((address) => [
    neighbourItem(address, whereOf(plan)),
    ...routeItems(address, plan.hostIfName)
  ])
]

/** The requests that make a host end of a new link. */
export const createSteps = (plan: PodLinkPlan, target: Target): ReadonlyArray<Step> =>
  hostItems(plan).flatMap((item) => item.create?.(target) ?? [])

/** What differs of a host end, with the requests that put it right. `seen` undefined: there is no such link. */
export const hostDifferences = (
  plan: PodLinkPlan,
  seen: SeenHostEnd | undefined,
  ipv6: boolean
): ReadonlyArray<HostDifference> => {
  const { hostIfName } = plan
  if (seen === undefined) {
    return [{
      hostIfName,
      kind: "gone",
      what: "link",
      words: `${whereOf(plan)} is missing`,
      cuts: BOTH,
      repair: undefined
    }]
  }
  const { ifIndex, ifName } = seen.link
  const podMac = seen.podMac === undefined ? undefined : R.macBytes(seen.podMac)
  const target: Target = { ifIndex, ifName, podMac, ipv6 }
  return hostItems(plan).flatMap((item): ReadonlyArray<HostDifference> => {
    const words = item.differs(seen)
    if (words === undefined) return []
    const messages = item.restore?.(target) ?? item.create?.(target).map(({ message }) => message) ?? []
    const { cuts, kind, what } = item
    const repair = messages.length > 0 || item.enableIpv6
      ? { messages, enableIpv6: item.enableIpv6 === true }
      : undefined
    return [{ hostIfName, kind, what, words, cuts, repair }]
  })
}
