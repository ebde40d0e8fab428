/** The requests that make a plan true, in the order the kernel needs, each with the words for its failure. */
import { bitsOf, formatAddress, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { gatewaysOf, primariesOf } from "../domain/PodAddresses.ts"
import type { Link } from "./answers.ts"
import * as C from "./constants.ts"
import { createSteps } from "./hostItems.ts"
import { hostMac } from "./hostLinkItems.ts"
import type { PodLinkPlan } from "./Netlink.ts"
import * as R from "./requests.ts"
import type { Step } from "./step.ts"

const bits = (a: IpAddress): number => bitsOf(a.family)

/** `onlink`: of a second interface, whose route to the gateway is the first one's, the default route is EEXIST too. */
const hop = (ifIndex: number, via?: IpAddress) => ({
  ifIndex,
  ...(via === undefined ? { onlink: false } : { via, onlink: true })
})

/**
 * Pod's end, in the order the kernel needs: up, addresses, gateways, default routes; then anycast. Of several
 * interfaces in one pod (Multus) the first keeps the routes.
 */
export const podSteps = (plan: PodLinkPlan, index: number): ReadonlyArray<Step> => {
  const { addresses } = plan
  return [
    { op: "set lo up in the pod", message: R.linkUp(1) },
    { op: `set ${plan.ifName} up in the pod`, message: R.linkUp(index) },
    ...primariesOf(addresses).map((a) => ({
      op: `add address ${formatAddress(a)} to ${plan.ifName}`,
      message: R.addAddress(index, a, bits(a)),
      ...(a.family === 6 ? { adds: a } : {})
    })),
    ...gatewaysOf(addresses).flatMap((gateway) => {
      const name = formatAddress(gateway)
      const everything = { family: gateway.family, base: 0n, prefix: 0 }
      return [
        { op: `add neighbour ${name} to ${plan.ifName}`, message: R.putNeighbour(index, gateway, hostMac) },
        {
          op: `add route to gateway ${name} in the pod`,
          message: R.addRoute({ destination: hostCidr(gateway), protocol: C.RTPROT_BOOT, nextHops: [hop(index)] }),
          mayExist: true
        },
        {
          op: `add default route via ${name} in the pod`,
          message: R.addRoute({ destination: everything, protocol: C.RTPROT_BOOT, nextHops: [hop(index, gateway)] }),
          mayExist: true
        }
      ]
    }),
    ...addresses.anycast.map((a) => ({
      op: `add anycast address ${formatAddress(a)} to lo in the pod`,
      message: R.addAddress(1, a, bits(a)),
      mayExist: true,
      undo: R.deleteAddress(1, a, bits(a)),
      ...(a.family === 6 ? { adds: a } : {})
    }))
  ]
}

/** Host's end. */
export const hostSteps = (
  plan: PodLinkPlan,
  { ifIndex, ifName }: Link,
  podMac: R.Mac,
  ipv6: boolean
): ReadonlyArray<Step> => createSteps(plan, { ifIndex, ifName, podMac, ipv6 })

/**
 * Where both ends are up by then, makes them pass packets before the caller is told that the pod is ready
 * ({@link R.getLink}): the first answer says so, by the carrier.
 */
export const passSteps = (
  plan: PodLinkPlan,
  { ifIndex, ifName, peerIndex = 0, peerNsid }: Link
): ReadonlyArray<Step> => [
  { op: `read ${ifName}`, message: R.getLink(ifIndex) },
  { op: `read ${plan.ifName} in the pod`, message: R.getLink(peerIndex, peerNsid) }
]
