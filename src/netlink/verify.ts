/** CHECK: the kernel against the plan. More than planned is no problem: chained plugins add addresses and routes. */
import { Effect } from "effect"
import { equalAddress, equalCidr, formatAddress, type IpAddress } from "../domain/Ip.ts"
import { gatewaysOf, primariesOf } from "../domain/PodAddresses.ts"
import * as Answers from "./answers.ts"
import { enterPod, openIn } from "./attach.ts"
import { neighbourDiffers } from "./hostItems.ts"
import { type HostContext, lookAtHostEnds } from "./hostLook.ts"
import { closeNetns } from "./namespace.ts"
import { HOST_MAC, type HostRoute, type NetlinkError, type PodLinkPlan } from "./Netlink.ts"
import * as R from "./requests.ts"
import { DumpSocket } from "./socket.ts"

/** What the pod's namespace holds, as far as a plan speaks of it. */
interface Observed {
  readonly links: ReadonlyArray<Answers.Link>
  readonly addresses: ReadonlyArray<Answers.LinkAddress>
  readonly neighbours: ReadonlyArray<Answers.Neighbour>
  readonly routes: ReadonlyArray<HostRoute>
}

const observe = (dumps: DumpSocket, name: string): Effect.Effect<Observed, NetlinkError> =>
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
      (family) => dumps.dump(`list IPv${family} routes`, R.dumpRoutes(family, 0), family === 6)
    )
    return {
      links,
      addresses: Answers.collect(addresses.flat(), Answers.readAddress),
      neighbours: Answers.collect(neighbours.flat(), Answers.readNeighbour),
      routes: Answers.mergeRoutes(Answers.collect(routes.flat(), Answers.readRoute))
    }
  })

const addressProblem = (seen: Observed, link: Answers.Link, where: string, a: IpAddress, kind = "address") =>
  seen.addresses.some((x) => x.ifIndex === link.ifIndex && equalAddress(x.address, a))
    ? []
    : [`${kind} ${formatAddress(a)} is missing on ${where}`]

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
      const neighbour = neighbourDiffers(seen.neighbours, link.ifIndex, gateway, HOST_MAC)
      return [
        ...(found ? [] : [`default route via ${formatAddress(gateway)} is missing in the pod`]),
        ...(neighbour === undefined ? [] : [`neighbour entry for ${formatAddress(gateway)} on ${where} ${neighbour}`])
      ]
    }),
    ...(lo === undefined
      ? []
      : plan.addresses.anycast.flatMap((a) => addressProblem(seen, lo, "lo in the pod", a, "anycast address")))
  ]
}

export const verify = (context: HostContext) => (plan: PodLinkPlan) =>
  Effect.acquireUseRelease(
    enterPod(context.namespaces, plan.netns),
    (netns) =>
      Effect.acquireUseRelease(
        openIn(context.namespaces, netns, plan.netns, () => new DumpSocket()),
        (pod) =>
          Effect.map(
            Effect.all([lookAtHostEnds(context, [plan]), observe(pod, plan.ifName)]),
            ([{ differences, links }, inside]) => [
              ...differences.map(({ words }) => words),
              ...podProblems(plan, inside, links[0]?.ifIndex)
            ]
          ),
        (pod) => Effect.sync(() => pod.close())
      ),
    (netns) => Effect.sync(() => closeNetns(netns))
  )
