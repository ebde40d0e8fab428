/** The {@link Netlink} service on the real kernel. */
import { Effect, Layer, Semaphore } from "effect"
import * as Answers from "./answers.ts"
import { attach } from "./attach.ts"
import { changes, hostChanges, linkChanges, routerChanges } from "./changes.ts"
import { Detacher } from "./detach.ts"
import { Gate } from "./Gate.ts"
import { type HostContext, lookAtHostEnds, repairHostEnds } from "./hostLook.ts"
import { lookInside } from "./lookInside.ts"
import { Namespaces, readSysctl, SysctlFolder } from "./namespace.ts"
import { type HostLink, LINK_NAME, Netlink } from "./Netlink.ts"
import { prepareHost } from "./prepare.ts"
import { dumpLinks } from "./requests.ts"
import * as Routes from "./routes.ts"
import { DumpSocket, RequestSocket } from "./socket.ts"
import { verify } from "./verify.ts"

export interface Options {
  /** Path of the node's network namespace. Default: the process's own. */
  readonly netns?: string
}

/** Pods' sends that are under way at once. */
const POD_SENDS = 2

const hostLink = (link: Answers.Link): HostLink => ({
  ifName: link.ifName,
  ifIndex: link.ifIndex,
  alias: link.alias,
  mtu: link.mtu,
  mac: link.mac,
  up: link.up,
  ...(link.peerNsid === undefined ? {} : { peerNsid: link.peerNsid }),
  ...(link.peerIndex === undefined ? {} : { peerIndex: link.peerIndex })
})

const make = (options: Options) =>
  Effect.gen(function*() {
    const namespaces = yield* Effect.acquireRelease(
      Effect.sync(() => new Namespaces(options.netns)),
      (open) => Effect.sync(() => open.close())
    )
    const inHost = <A extends { readonly close: () => void }>(open: () => A) =>
      Effect.acquireRelease(
        Effect.sync(() => namespaces.visit(namespaces.host, open)),
        (socket) => Effect.sync(() => socket.close())
      )
    const host = yield* inHost(() => new RequestSocket())
    const dumps = yield* inHost(() => new DumpSocket())
    const looks = yield* inHost(() => new RequestSocket())
    const detacher = yield* inHost(() => new Detacher())
    const checks = yield* Semaphore.make(1)
    const lane = yield* Semaphore.make(POD_SENDS)
    const ipv6 = namespaces.visit(namespaces.host, () => readSysctl("ipv6/conf/all/forwarding") !== undefined)
    const conf = ipv6 ? yield* inHost(() => new SysctlFolder("ipv6/conf")) : undefined
    // Closed before all that is above: an attachment is not interruptible, and goes into its pod's namespace in its middle.
    const { pass } = yield* Effect.acquireRelease(Effect.sync(() => new Gate()), (gate) => gate.close)
    const ends: HostContext = { namespaces, dumps, requests: looks, ipv6 }
    const attachTo = attach({ namespaces, host, conf, podLane: lane.withPermit, remove: detacher.detach })
    return Netlink.of({
      attach: (plan, beforeRoutes) => pass(`create veth ${plan.hostIfName}`, attachTo(plan, beforeRoutes)),
      detach: detacher.detach,
      verify: (plan) => pass(`verify ${plan.hostIfName}`, verify(ends)(plan)).pipe(checks.withPermit),
      links: Effect.map(
        dumps.dump("list links", dumpLinks),
        (messages) =>
          Answers.collect(messages, Answers.readLink).filter((link) => LINK_NAME.test(link.ifName)).map(hostLink)
      ),
      routes: (protocol) => Routes.routes(dumps, protocol),
      putRoutes: (routes) => Routes.putRoutes(host, routes),
      deleteRoutes: (routes) => Routes.deleteRoutes(host, routes),
      birdRoutes: Routes.birdRoutes(dumps),
      deleteBirdRoutes: (routes) => Routes.deleteBirdRoutes(host, routes),
      interfaces: Routes.interfaces(dumps),
      podAddresses: (nsid) => Routes.addressesIn(dumps, nsid),
      outgoing: (address) => Routes.outgoing(host, address),
      routers: (ifIndexes) => Routes.routers(dumps, ifIndexes),
      probeRouters: (routers) => Routes.probeRouters(host, routers),
      routerChanges: routerChanges(namespaces),
      answerFor: (gateways) => Routes.answerFor(host, dumps, gateways),
      prepareHost: pass("prepare the host", prepareHost({ namespaces, host, dumps, conf })),
      lookAtHostEnds: (plans) =>
        pass("look at links", lookAtHostEnds(ends, plans.filter((plan) => !detacher.isLeaving(plan.hostIfName)))),
      lookInside: lookInside(namespaces),
      repairHostEnds: (differences) => repairHostEnds(ends, differences),
      hostChanges: hostChanges(namespaces),
      linkChanges: linkChanges(namespaces),
      changes: changes(namespaces)
    })
  })

/** Needs CAP_NET_ADMIN, and CAP_SYS_ADMIN for the pods' namespaces; dies at once without them. */
export const layer = (options: Options = {}): Layer.Layer<Netlink> => Layer.effect(Netlink, make(options))
