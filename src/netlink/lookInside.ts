/**
 * What a pod that runs has made of its own network. Nothing in it is put right from outside: a pod's namespace is the pod's,
 * and what is missing there may be somebody's doing who answers in another way, as a virtual machine on a bridge or gVisor's
 * own stack.
 */
import { Effect } from "effect"
import { equalAddress, type Family, formatAddress, type IpAddress } from "../domain/Ip.ts"
import { gatewaysOf, primariesOf } from "../domain/PodAddresses.ts"
import * as Answers from "./answers.ts"
import { enterPod, openIn } from "./attach.ts"
import { closeNetns, type Namespaces } from "./namespace.ts"
import type { HostRoute, PodInside, PodLinkPlan } from "./Netlink.ts"
import * as R from "./requests.ts"
import { DumpSocket } from "./socket.ts"

/** What was read of a pod's namespace. */
export interface Seen {
  readonly links: ReadonlyArray<Answers.Link & { readonly master: number | undefined }>
  readonly addresses: ReadonlyArray<Answers.LinkAddress>
  readonly routes: ReadonlyArray<HostRoute>
}

const FAMILIES = [6, 4] as const

const readSeen = (dumps: DumpSocket) =>
  Effect.gen(function*() {
    const addresses = yield* Effect.forEach(
      FAMILIES,
      (family) => dumps.dump(`list IPv${family} addresses`, R.dumpAddresses(family, 0))
    )
    const routes = yield* Effect.forEach(
      FAMILIES,
      (family) => dumps.dump(`list IPv${family} routes`, R.dumpRoutes(family, 0), family === 6)
    )
    return {
      links: Answers.collect(yield* dumps.dump("list links", R.dumpLinks), Answers.readHostEnd),
      addresses: Answers.collect(addresses.flat(), Answers.readAddress),
      routes: Answers.collect(routes.flat(), Answers.readRoute)
    } satisfies Seen
  })

/** Judges it. `hostIfIndex`: of the host end, by which the pod's end is known whatever it is called. */
export const insideOf = (plan: PodLinkPlan, hostIfIndex: number, { addresses, links, routes }: Seen): PodInside => {
  const link = links.find(({ ifName }) => ifName === plan.ifName)
  // Renamed, moved on, or a port of a bridge: whoever did it answers in its own way.
  if (link === undefined || link.peerIndex !== hostIfIndex || link.master !== undefined || !link.up) {
    return { _tag: "Others" }
  }
  const isOn = (address: IpAddress, where?: number) =>
    addresses.some((it) => equalAddress(it.address, address) && (where === undefined || it.ifIndex === where))
  const lost = primariesOf(plan.addresses).filter((address) => !isOn(address, link.ifIndex))
  const deaf = gatewaysOf(plan.addresses).filter(({ family }) =>
    !routes.some(({ destination, nextHops }) =>
      destination.family === family && destination.prefix === 0 && nextHops.length > 0
    )
  )
  const gone = plan.addresses.anycast.filter((address) => !isOn(address))
  if (lost.length + deaf.length + gone.length === 0) return { _tag: "AsMade" }
  return {
    _tag: "Differs",
    cuts: [...new Set([...lost, ...deaf].map(({ family }): Family => family))].toSorted(),
    addresses: gone,
    words: [
      ...lost.map((address) => `address ${formatAddress(address)} is missing on ${plan.ifName}`),
      ...deaf.map(({ family }) => `it has no IPv${family} default route`),
      ...gone.map((address) => `anycast address ${formatAddress(address)} is missing`)
    ].join("; "),
    partly: lost.length > 0 && lost.length < primariesOf(plan.addresses).length
  }
}

/** A namespace that cannot be entered is a pod that is going, or another's by now. */
export const lookInside = (namespaces: Namespaces) => (plan: PodLinkPlan, hostIfIndex: number) =>
  Effect.acquireUseRelease(
    enterPod(namespaces, plan.netns),
    (netns) =>
      Effect.acquireUseRelease(
        openIn(namespaces, netns, plan.netns, () => new DumpSocket()),
        (dumps) => Effect.map(readSeen(dumps), (seen) => insideOf(plan, hostIfIndex, seen)),
        (dumps) => Effect.sync(() => dumps.close())
      ),
    (netns) => Effect.sync(() => closeNetns(netns))
  ).pipe(Effect.catchTags({
    NetnsError: () => Effect.succeed<PodInside>({ _tag: "Others" }),
    NetlinkError: () => Effect.succeed<PodInside>({ _tag: "Others" })
  }))
