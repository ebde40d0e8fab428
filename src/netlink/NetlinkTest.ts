/**
 * A kernel in memory, and the {@link Netlink} service on it. Its state is plain: a test looks into it, and changes it as
 * another program on the node would. test/kernel/contract.test.ts holds it against the real one.
 */
import { Context, Effect, Layer, Queue, Stream } from "effect"
import { formatAddress, formatCidr, hostCidr, type IpAddress, parseAddress } from "../domain/Ip.ts"
import { primariesOf } from "../domain/PodAddresses.ts"
import {
  HOST_MAC,
  type HostChange,
  type HostDifference,
  type HostInterface,
  type HostLink,
  type HostRoute,
  InterfaceExists,
  type KernelChange,
  LinkNameTaken,
  Netlink,
  NetlinkError,
  type NetnsError,
  type PodLink,
  type PodLinkPlan,
  type Prepared,
  PROTOCOL_POD
} from "./Netlink.ts"

/** A link of ours, with the plan that it was made from where it was made by `attach`. */
export interface TestLink extends HostLink {
  readonly plan?: PodLinkPlan
}

export interface RouteBatch {
  readonly verb: "put" | "delete"
  readonly routes: ReadonlyArray<HostRoute>
}

/** What happens first inside a call; its failure is the call's. */
export interface Faults {
  attach?: (plan: PodLinkPlan) => Effect.Effect<unknown, NetlinkError | NetnsError | InterfaceExists | LinkNameTaken>
  detach?: (hostIfName: string) => Effect.Effect<unknown, NetlinkError>
  batch?: (batch: RouteBatch) => Effect.Effect<unknown, NetlinkError>
}

/** Protocol and destination, of which the kernel has one route. */
export const routeKey = ({ destination, protocol }: HostRoute): string => `${protocol} ${formatCidr(destination)}`

const told = <A>(listeners: Set<(change: A) => void>): Stream.Stream<A> =>
  Stream.callback<A>((queue) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const listener = (change: A) => void Queue.offerUnsafe(queue, change)
        listeners.add(listener)
        return listener
      }),
      (listener) => Effect.sync(() => listeners.delete(listener))
    )
  )

export class TestKernel {
  /** By name; without a notification. */
  readonly links = new Map<string, TestLink>()
  /** By protocol and destination; without a notification. */
  readonly routes = new Map<string, HostRoute>()
  interfaces: ReadonlyArray<HostInterface> = []
  readonly faults: Faults
  /** Destinations whose routes are refused, with the errno. */
  readonly refused = new Map<string, string>()
  /** Batches of routes that were carried out, oldest first. */
  readonly batches: Array<RouteBatch> = []
  /** How often routes were listed. */
  dumps = 0
  /** What `prepareHost` answers, one each time, before it finds nothing to do. */
  readonly prepared: Array<Prepared> = []
  /** Names of links whose pod's end is down. */
  readonly podDown = new Set<string>()
  /** Addresses that the kernel sends elsewhere, with the words for it. */
  readonly foreign = new Map<string, string>()
  /** How often host ends were looked at. */
  looks = 0
  #ifIndex = 100
  readonly #listeners = new Set<(change: KernelChange) => void>()
  readonly #hostListeners = new Set<(change: HostChange) => void>()

  constructor(faults: Faults = {}) {
    this.faults = faults
  }

  routesOf(protocol: number): ReadonlyArray<HostRoute> {
    return [...this.routes.values()].filter((route) => route.protocol === protocol)
  }

  notify(change: KernelChange): void {
    for (const listener of this.#listeners) listener(change)
  }

  notifyHost(change: HostChange): void {
    for (const listener of this.#hostListeners) listener(change)
  }

  /** In place of the link of that name, if there is one. */
  addLink(ifName: string, ifIndex: number = ++this.#ifIndex, more: Partial<TestLink> = {}): TestLink {
    const link = { ifName, ifIndex, alias: "", mtu: 1500, mac: HOST_MAC, up: true, peerNsid: 0, ...more }
    this.links.set(ifName, link)
    return link
  }

  /** The link goes, and its next hops; as the kernel does, IPv4 routes go without a notification of their own. */
  removeLink(ifName: string): void {
    const link = this.links.get(ifName)
    if (link === undefined) return
    this.links.delete(ifName)
    for (const route of this.routes.values()) {
      const nextHops = route.nextHops.filter(({ ifIndex }) => ifIndex !== link.ifIndex)
      if (nextHops.length === route.nextHops.length) continue
      if (nextHops.length > 0) this.putRoute({ ...route, nextHops })
      else if (route.destination.family === 6) this.removeRoute(route)
      else this.routes.delete(routeKey(route))
    }
    this.notify({ _tag: "LinkRemoved", ifName, ifIndex: link.ifIndex })
  }

  /** In place of the route of that protocol to that destination, if there is one. */
  putRoute(route: HostRoute): void {
    this.routes.set(routeKey(route), route)
  }

  removeRoute(route: HostRoute): void {
    const removed = this.routes.get(routeKey(route))
    if (removed === undefined) return
    this.routes.delete(routeKey(route))
    this.notify({ _tag: "RouteRemoved", route: removed })
  }

  /** Removes every route of a protocol. */
  flush(protocol: number): void {
    for (const route of this.routesOf(protocol)) this.removeRoute(route)
  }

  /** Changes since subscription. */
  readonly changes: Stream.Stream<KernelChange> = told(this.#listeners)
  readonly hostChanges: Stream.Stream<HostChange> = told(this.#hostListeners)
}

const podRoute = (address: IpAddress, ifIndex: number): HostRoute => ({
  destination: hostCidr(address),
  protocol: PROTOCOL_POD,
  nextHops: [{ ifIndex, onlink: false }]
})

/** The routes that `attach` makes on the host. */
const podRoutes = (plan: PodLinkPlan, ifIndex: number): ReadonlyArray<HostRoute> =>
  primariesOf(plan.addresses).map((address) => podRoute(address, ifIndex))

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

/** Of links, only that they are there; of the rest, routes. */
const hostDifferencesOf = (
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

const repair = (kernel: TestKernel): Netlink["Service"]["repairHostEnds"] => (differences) =>
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
    verify: (plan) => Effect.sync(() => hostDifferencesOf(kernel, plan).map(({ words }) => words)),
    links: Effect.sync(() => [...kernel.links.values()].map(({ plan: _, ...link }) => link)),
    routes: (protocol) =>
      Effect.sync(() => {
        kernel.dumps++
        return protocol === undefined ? [...kernel.routes.values()] : kernel.routesOf(protocol)
      }),
    putRoutes: batch(kernel, "put"),
    deleteRoutes: batch(kernel, "delete"),
    interfaces: Effect.sync(() => kernel.interfaces),
    podAddresses: (nsid) =>
      Effect.sync(() => {
        const addresses = [...kernel.links.values()].find(({ peerNsid }) => peerNsid === nsid)?.plan?.addresses
        return addresses === undefined ? [] : [...primariesOf(addresses), ...addresses.anycast]
      }),
    outgoing: (address) =>
      Effect.sync(() => {
        const own = (i: HostInterface) => i.addresses.some((a) => formatAddress(a.address) === formatAddress(address))
        const outward = kernel.interfaces.find((i) => own(i)) ?? kernel.interfaces.find(({ ifName }) => ifName !== "lo")
        return outward === undefined ? undefined : { ifIndex: outward.ifIndex }
      }),
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
