/** Host ends of pods' links in the kernel of {@link TestKernel}. */
import { Effect } from "effect"
import { formatAddress, formatCidr, hostCidr, type IpAddress, parseAddress } from "../domain/Ip.ts"
import { primariesOf } from "../domain/PodAddresses.ts"
import {
  type HostDifference,
  type HostRoute,
  type Netlink,
  NetlinkError,
  type PodLinkPlan,
  PROTOCOL_POD
} from "./Netlink.ts"
import { routeKey, type TestKernel } from "./TestKernel.ts"

const podRoute = (address: IpAddress, ifIndex: number): HostRoute => ({
  destination: hostCidr(address),
  protocol: PROTOCOL_POD,
  nextHops: [{ ifIndex, onlink: false }]
})

/** The routes that `attach` makes on the host. */
export const podRoutes = (plan: PodLinkPlan, ifIndex: number): ReadonlyArray<HostRoute> =>
  primariesOf(plan.addresses).map((address) => podRoute(address, ifIndex))

/** Of links, only that they are there; of the rest, routes. */
export const hostDifferencesOf = (
  kernel: TestKernel,
  { addresses, hostIfName }: PodLinkPlan
): ReadonlyArray<HostDifference> => {
  const link = kernel.links.get(hostIfName)
  if (link === undefined) {
    return [{
      hostIfName,
      kind: "gone",
      what: "link",
      words: `host link ${hostIfName} is missing`,
      cuts: [4, 6],
      repair: undefined
    }]
  }
  return primariesOf(addresses).flatMap((address): ReadonlyArray<HostDifference> => {
    const name = formatAddress(address)
    const foreign = kernel.foreign.get(name)
    const route = podRoute(address, link.ifIndex)
    const has = kernel.routes.get(routeKey(route))?.nextHops[0]?.ifIndex === link.ifIndex
    const about = { hostIfName, cuts: [address.family] }
    return [
      ...(has ? [] : [{
        ...about,
        kind: "route" as const,
        what: `route to ${name}`,
        words: `host route ${formatCidr(route.destination)} is missing`,
        repair: { messages: [], enableIpv6: false }
      }]),
      ...(foreign === undefined ? [] : [{
        ...about,
        kind: "foreign-route" as const,
        what: `way to ${name}`,
        words: `the host sends what is for ${name} elsewhere: ${foreign}`,
        repair: undefined
      }])
    ]
  })
}

export const repair = (kernel: TestKernel): Netlink["Service"]["repairHostEnds"] => (differences) =>
  Effect.sync(() =>
    differences.flatMap((difference) => {
      const link = kernel.links.get(difference.hostIfName)
      const address = parseAddress(difference.what.split(" ").at(-1) ?? "")
      if (link === undefined || address === undefined) return []
      const route = podRoute(address, link.ifIndex)
      const errno = kernel.refused.get(formatCidr(route.destination))
      if (errno !== undefined) return [{ difference, error: new NetlinkError({ op: difference.what, errno }) }]
      kernel.putRoute(route)
      return []
    })
  )
