/** The requests that make a plan true, in the order the kernel needs, each with the words for its failure. */
import { bitsOf, formatAddress, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { GATEWAY6, gatewaysOf, primariesOf } from "../domain/PodAddresses.ts"
import { isForeign, type Link } from "./answers.ts"
import type { Message, Received } from "./codec.ts"
import * as C from "./constants.ts"
import { HOST_MAC, type PodLinkPlan, PROTOCOL_POD } from "./Netlink.ts"
import * as R from "./requests.ts"

export interface Step {
  readonly op: string
  readonly message: Message
  /** EEXIST is success. */
  readonly mayExist?: boolean
  /** Looks at what a successful request answered; `true` is taken as EEXIST. */
  readonly taken?: (answers: ReadonlyArray<Received>) => boolean
  /** Says what EEXIST means here, where the kernel does not. */
  readonly exists?: string
  /** Takes the step back, where that does not happen by itself with the link. */
  readonly undo?: Message
  /** An IPv6 address that the step makes. */
  readonly adds?: IpAddress
}

/** The MAC of every host end, as bytes. */
export const hostMac = R.macBytes(HOST_MAC)

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

const HELD = "another link holds a route to this address"

/**
 * Host's end. A foreign route with a better metric would not stop ours from being added, so the kernel is asked which
 * one it takes. The last step makes both ends pass packets before the caller is told that the pod is ready.
 */
export const hostSteps = (plan: PodLinkPlan, link: Link, podMac: R.Mac, ipv6: boolean): ReadonlyArray<Step> => {
  const { ifIndex, ifName, peerIndex = 0 } = link
  return [
    { op: `configure ${ifName}`, message: R.hostLinkSettings(ifIndex, plan.alias, ipv6) },
    { op: `set ${ifName} up`, message: R.linkUp(ifIndex) },
    ...(plan.addresses.ipv6 === undefined ? [] : [
      { op: `add address ${formatAddress(GATEWAY6)} to ${ifName}`, message: R.addAddress(ifIndex, GATEWAY6, 64) }
    ]),
    ...primariesOf(plan.addresses).flatMap((a) => [
      { op: `add neighbour ${formatAddress(a)} to ${ifName}`, message: R.putNeighbour(ifIndex, a, podMac) },
      {
        op: `add route to ${formatAddress(a)} on ${ifName}`,
        message: R.addRoute({ destination: hostCidr(a), protocol: PROTOCOL_POD, nextHops: [hop(ifIndex)] }),
        exists: HELD
      },
      {
        op: `add route to ${formatAddress(a)} on ${ifName}`,
        message: R.matchRoute(a),
        taken: (answers: ReadonlyArray<Received>) => answers.some((answer) => isForeign(answer, ifIndex)),
        exists: HELD
      }
    ]),
    { op: `read ${ifName}`, message: R.getLink(ifIndex) },
    { op: `read ${plan.ifName} in the pod`, message: R.getLink(peerIndex, link.peerNsid) }
  ]
}
