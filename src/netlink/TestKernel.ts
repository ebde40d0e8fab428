/**
 * A kernel in memory. Its state is plain: a test looks into it, and changes it as another program on the node would.
 * test/kernel/contract.test.ts holds it against the real one.
 */
import { Effect, Queue, Stream } from "effect"
import { equalAddress, formatCidr } from "../domain/Ip.ts"
import {
  type BirdRoute,
  HOST_MAC,
  type HostChange,
  type HostInterface,
  type HostLink,
  type HostRoute,
  type InterfaceExists,
  type KernelChange,
  type LinkNameTaken,
  type NetlinkError,
  type NetnsError,
  type PodLinkPlan,
  type Prepared,
  type RouterNeighbour
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
  birdRoutes: ReadonlyArray<BirdRoute> = []
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
  /** Routers that advertised themselves. */
  routers: ReadonlyArray<RouterNeighbour> = []
  /** Routers that were asked whether they are still there, oldest first. */
  readonly probed: Array<RouterNeighbour> = []
  #ifIndex = 100
  readonly #listeners = new Set<(change: KernelChange) => void>()
  readonly #hostListeners = new Set<(change: HostChange) => void>()
  readonly #routerListeners = new Set<(change: RouterNeighbour) => void>()

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

  /** In place of what is known of that router. */
  advertise(router: RouterNeighbour): void {
    const same = ({ address, ifIndex }: RouterNeighbour) =>
      ifIndex === router.ifIndex && equalAddress(address, router.address)
    this.routers = [...this.routers.filter((other) => !same(other)), router]
    for (const listener of this.#routerListeners) listener(router)
  }

  /** In place of the link of that name, if there is one. */
  addLink(ifName: string, ifIndex: number = ++this.#ifIndex, more: Partial<TestLink> = {}): TestLink {
    const link = { ifName, ifIndex, alias: "", mtu: 1500, mac: HOST_MAC, up: true, peerNsid: 0, peerIndex: 2, ...more }
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
  readonly routerChanges: Stream.Stream<RouterNeighbour> = told(this.#routerListeners)
}
