/** The {@link Netlink} service on a kernel in memory. */
import { Context, Effect, Layer, Stream } from "effect"
import { formatAddress, formatCidr } from "../domain/Ip.ts"
import { primariesOf } from "../domain/PodAddresses.ts"
import { hostDifferencesOf, podRoutes, repair } from "./hostEndsTest.ts"
import {
  HOST_MAC,
  type HostInterface,
  InterfaceExists,
  LinkNameTaken,
  Netlink,
  NetlinkError,
  type PodLink
} from "./Netlink.ts"
import { type RouteBatch, TestKernel } from "./TestKernel.ts"

export { type Faults, type RouteBatch, routeKey, TestKernel, type TestLink } from "./TestKernel.ts"

const attach = (kernel: TestKernel): Netlink["Service"]["attach"] => (plan, beforeRoutes = Effect.void) =>
  Effect.gen(function*() {
    yield* kernel.faults.attach?.(plan) ?? Effect.void
    if (kernel.links.has(plan.hostIfName)) return yield* new LinkNameTaken({ hostIfName: plan.hostIfName })
    const twin = [...kernel.links.values()].find((link) =>
      link.plan?.netns === plan.netns && link.plan.ifName === plan.ifName
    )
    if (twin !== undefined) return yield* new InterfaceExists({ ifName: plan.ifName, netns: plan.netns })
    const { alias, hostIfName, mtu } = plan
    const { ifIndex } = kernel.addLink(hostIfName, undefined, { alias, mtu, plan })
    yield* beforeRoutes.pipe(Effect.onError(() => Effect.sync(() => kernel.removeLink(hostIfName))))
    for (const route of podRoutes(plan, ifIndex)) kernel.putRoute(route)
    return { hostIfIndex: ifIndex, hostMac: HOST_MAC, podMac: "02:00:00:00:00:01" } satisfies PodLink
  })

const batch = (kernel: TestKernel, verb: RouteBatch["verb"]): Netlink["Service"]["putRoutes"] => (routes) =>
  Effect.gen(function*() {
    yield* kernel.faults.batch?.({ verb, routes }) ?? Effect.void
    const failed = []
    for (const route of routes) {
      const destination = formatCidr(route.destination)
      const errno = kernel.refused.get(destination)
      if (errno !== undefined) {
        failed.push({ route, error: new NetlinkError({ op: `${verb} route ${destination}`, errno }) })
      } else if (verb === "put") kernel.putRoute(route)
      else kernel.removeRoute(route)
    }
    kernel.batches.push({ verb, routes })
    return failed
  })

const make = (kernel: TestKernel): Netlink["Service"] =>
  Netlink.of({
    attach: attach(kernel),
    detach: (name) =>
      Effect.andThen(kernel.faults.detach?.(name) ?? Effect.void, Effect.sync(() => kernel.removeLink(name))),
    lookInside: () => Effect.succeed({ _tag: "AsMade" }),
    verify: (plan) => Effect.sync(() => hostDifferencesOf(kernel, plan).map(({ words }) => words)),
    links: Effect.sync(() => [...kernel.links.values()].map(({ plan: _, ...link }) => link)),
    routes: (protocol) =>
      Effect.sync(() => {
        kernel.dumps++
        return protocol === undefined ? [...kernel.routes.values()] : kernel.routesOf(protocol)
      }),
    putRoutes: batch(kernel, "put"),
    deleteRoutes: batch(kernel, "delete"),
    birdRoutes: Effect.sync(() => kernel.birdRoutes),
    deleteBirdRoutes: (gone) =>
      Effect.sync(() => {
        kernel.birdRoutes = kernel.birdRoutes.filter((it) => !gone.includes(it))
      }),
    interfaces: Effect.sync(() => kernel.interfaces),
    podAddresses: (nsid) =>
      Effect.sync(() => {
        const addresses = [...kernel.links.values()].find(({ peerNsid }) => peerNsid === nsid)?.plan?.addresses
        return addresses === undefined
          ? []
          : [
            ...primariesOf(addresses).map((address) => ({ address, ifIndex: 2 })),
            ...addresses.anycast.map((address) => ({ address, ifIndex: 1 }))
          ]
      }),
    outgoing: (address) =>
      Effect.sync(() => {
        const own = (i: HostInterface) => i.addresses.some((a) => formatAddress(a.address) === formatAddress(address))
        const outward = kernel.interfaces.find((i) => own(i)) ?? kernel.interfaces.find(({ ifName }) => ifName !== "lo")
        return outward === undefined ? undefined : { ifIndex: outward.ifIndex }
      }),
    routers: (ifIndexes) => Effect.sync(() => kernel.routers.filter(({ ifIndex }) => ifIndexes.includes(ifIndex))),
    probeRouters: (routers) => Effect.sync(() => void kernel.probed.push(...routers)),
    routerChanges: (ifIndexes) => Stream.filter(kernel.routerChanges, ({ ifIndex }) => ifIndexes.includes(ifIndex)),
    answerFor: () => Effect.succeed([]),
    prepareHost: Effect.suspend(() => Effect.succeed(kernel.prepared.shift() ?? { restored: [], problems: [] })),
    lookAtHostEnds: (plans) =>
      Effect.sync(() => {
        kernel.looks++
        return {
          differences: plans.flatMap((plan) => hostDifferencesOf(kernel, plan)),
          links: plans.flatMap(({ hostIfName }) => {
            const link = kernel.links.get(hostIfName)
            return link === undefined
              ? []
              : [{
                hostIfName,
                ifIndex: link.ifIndex,
                up: link.up,
                carrier: !kernel.podDown.has(hostIfName),
                settled: true
              }]
          })
        }
      }),
    repairHostEnds: repair(kernel),
    hostChanges: kernel.hostChanges,
    linkChanges: Stream.never,
    changes: kernel.changes
  })

export class NetlinkTest extends Context.Service<NetlinkTest, TestKernel>()("flock/NetlinkTest") {}

/** A new kernel at each building where none is given. */
export const layerTest = (given?: TestKernel): Layer.Layer<Netlink | NetlinkTest> =>
  Layer.effectContext(Effect.sync(() => {
    const kernel = given ?? new TestKernel()
    return Context.make(Netlink, make(kernel)).pipe(Context.add(NetlinkTest, kernel))
  }))
