/** CHECK: the kernel against the plan. More than planned is no problem: chained plugins add addresses and routes. */
import { Effect } from "effect"
import { equalAddress, equalCidr, formatAddress, formatCidr, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { GATEWAY6, gatewaysOf, primariesOf } from "../domain/PodAddresses.ts"
import * as Answers from "./answers.ts"
import { enterPod, openIn } from "./attach.ts"
import { closeNetns, type Namespaces } from "./namespace.ts"
import { HOST_MAC, type HostRoute, type NetlinkError, type PodLinkPlan, PROTOCOL_POD } from "./Netlink.ts"
import * as R from "./requests.ts"
import { DumpSocket } from "./socket.ts"

/** What one namespace holds, as far as a plan speaks of it. */
export interface Observed {
  readonly links: ReadonlyArray<Answers.Link>
  readonly addresses: ReadonlyArray<Answers.LinkAddress>
  readonly neighbours: ReadonlyArray<Answers.Neighbour>
  readonly routes: ReadonlyArray<HostRoute>
}

const observe = (dumps: DumpSocket, name: string, protocol: number): Effect.Effect<Observed, NetlinkError> =>
  Effect.gen(function*() {
    const links = Answers.collect(yield* dumps.dump("list links", R.dumpLinks), Answers.readLink)
    const index = links.find((link) => link.ifName === name)?.ifIndex
    const families = [6, 4] as const
    if (index === undefined) return { links, addresses: [], neighbours: [], routes: [] }
    const addresses = yield* Effect.forEach(
      families,
      (family) => dumps.dump(`list IPv${family} addresses`, R.dumpAddresses(family, 0))
    )
    const neighbours = yield* Effect.forEach(
      families,
      (family) => dumps.dump(`list IPv${family} neighbours`, R.dumpNeighbours(family, index))
    )
    const routes = yield* Effect.forEach(
      families,
      (family) => dumps.dump(`list IPv${family} routes`, R.dumpRoutes(family, protocol), family === 6)
    )
    return {
      links,
      addresses: Answers.collect(addresses.flat(), Answers.readAddress),
      neighbours: Answers.collect(neighbours.flat(), Answers.readNeighbour),
      routes: Answers.mergeRoutes(Answers.collect(routes.flat(), Answers.readRoute))
    }
  })

const neighbourProblem = (seen: Observed, link: Answers.Link, where: string, a: IpAddress, mac: string) => {
  const entry = seen.neighbours.find((n) => n.ifIndex === link.ifIndex && equalAddress(n.address, a))
  const name = `neighbour entry for ${formatAddress(a)} on ${where}`
  return entry === undefined
    ? [`${name} is missing`]
    : entry.mac !== mac
    ? [`${name} has MAC ${entry.mac}, should have ${mac}`]
    : entry.permanent
    ? []
    : [`${name} is not permanent`]
}

const addressProblem = (seen: Observed, link: Answers.Link, where: string, a: IpAddress, kind = "address") =>
  seen.addresses.some((x) => x.ifIndex === link.ifIndex && equalAddress(x.address, a))
    ? []
    : [`${kind} ${formatAddress(a)} is missing on ${where}`]

const hostProblems = (plan: PodLinkPlan, seen: Observed, podMac: string | undefined): ReadonlyArray<string> => {
  const where = `host link ${plan.hostIfName}`
  const link = seen.links.find((l) => l.ifName === plan.hostIfName)
  if (link === undefined) return [`${where} is missing`]
  return [
    ...(link.up ? [] : [`${where} is down`]),
    ...(link.alias === plan.alias ? [] : [`${where} has alias "${link.alias}", should have "${plan.alias}"`]),
    ...(link.mtu === plan.mtu ? [] : [`${where} has MTU ${link.mtu}, should have ${plan.mtu}`]),
    ...(link.mac === HOST_MAC ? [] : [`${where} has MAC ${link.mac}, should have ${HOST_MAC}`]),
    ...(plan.addresses.ipv6 === undefined ? [] : addressProblem(seen, link, where, GATEWAY6)),
    ...primariesOf(plan.addresses).flatMap((a) => {
      const route = seen.routes.find((r) => equalCidr(r.destination, hostCidr(a)) && r.protocol === PROTOCOL_POD)
      const name = `host route ${formatCidr(hostCidr(a))}`
      return [
        ...(route === undefined
          ? [`${name} is missing`]
          : route.nextHops.length === 1 && route.nextHops[0]?.ifIndex === link.ifIndex
          ? []
          : [`${name} does not lead to ${plan.hostIfName}`]),
        ...(podMac === undefined ? [] : neighbourProblem(seen, link, where, a, podMac))
      ]
    })
  ]
}

const podProblems = (plan: PodLinkPlan, seen: Observed, hostIndex: number | undefined): ReadonlyArray<string> => {
  const where = `${plan.ifName} in the pod`
  const link = seen.links.find((l) => l.ifName === plan.ifName)
  if (link === undefined) return [`${where} is missing`]
  const lo = seen.links.find((l) => l.ifIndex === 1)
  return [
    ...(link.up ? [] : [`${where} is down`]),
    ...(hostIndex === undefined || link.peerIndex === hostIndex
      ? []
      : [`${where} is not connected to ${plan.hostIfName}`]),
    ...(link.mtu <= plan.mtu ? [] : [`${where} has MTU ${link.mtu}, more than the ${plan.mtu} that reach the host`]),
    ...primariesOf(plan.addresses).flatMap((a) => addressProblem(seen, link, where, a)),
    ...gatewaysOf(plan.addresses).flatMap((gateway) => {
      const everything = { family: gateway.family, base: 0n, prefix: 0 }
      const hops = seen.routes.filter((r) => equalCidr(r.destination, everything)).flatMap((r) => r.nextHops)
      // Of several interfaces in a pod, one holds the default routes.
      const found = hops.some((h) =>
        h.ifIndex !== link.ifIndex || (h.via !== undefined && equalAddress(h.via, gateway))
      )
      return [
        ...(found ? [] : [`default route via ${formatAddress(gateway)} is missing in the pod`]),
        ...neighbourProblem(seen, link, where, gateway, HOST_MAC)
      ]
    }),
    ...(lo === undefined
      ? []
      : plan.addresses.anycast.flatMap((a) => addressProblem(seen, lo, "lo in the pod", a, "anycast address")))
  ]
}

/** Every difference from the plan, host first. */
export const differences = (plan: PodLinkPlan, host: Observed, pod: Observed): ReadonlyArray<string> => [
  ...hostProblems(plan, host, pod.links.find((link) => link.ifName === plan.ifName)?.mac),
  ...podProblems(plan, pod, host.links.find((link) => link.ifName === plan.hostIfName)?.ifIndex)
]

export const verify = (namespaces: Namespaces, dumps: DumpSocket) => (plan: PodLinkPlan) =>
  Effect.acquireUseRelease(
    enterPod(namespaces, plan.netns),
    (netns) =>
      Effect.acquireUseRelease(
        openIn(namespaces, netns, plan.netns, () => new DumpSocket()),
        (pod) =>
          Effect.map(
            Effect.all([observe(dumps, plan.hostIfName, PROTOCOL_POD), observe(pod, plan.ifName, 0)]),
            ([host, inside]) => differences(plan, host, inside)
          ),
        (pod) => Effect.sync(() => pod.close())
      ),
    (netns) => Effect.sync(() => closeNetns(netns))
  )
