/** A node in memory for Anycast: its allocations, pods, kernel and BIRD. */
import { Effect, Layer } from "effect"
import { Anycast } from "../../../src/anycast/Anycast.ts"
import { Attachments } from "../../../src/attachments/Attachments.ts"
import type { BirdStatus } from "../../../src/bird/birdStatus.ts"
import { BirdTest, layerTest as birdTest } from "../../../src/bird/BirdTest.ts"
import { type Allocation, attachmentKey } from "../../../src/domain/Allocation.ts"
import { address, formatAddress, formatCidr } from "../../../src/domain/Ip.ts"
import type { PodInfo } from "../../../src/domain/Pod.ts"
import * as PodAddresses from "../../../src/domain/PodAddresses.ts"
import { KubeApiTest, layerTest as kubeTest } from "../../../src/kube/KubeApiTest.ts"
import {
  type HostRoute,
  type KernelChange,
  NetlinkError,
  PROTOCOL_EXPORT,
  PROTOCOL_LINGERING
} from "../../../src/netlink/Netlink.ts"
import { layerTest as netlinkTest, NetlinkTest, type TestKernel } from "../../../src/netlink/NetlinkTest.ts"
import { NodeNetwork } from "../../../src/netlink/NodeNetwork.ts"
import { Allocations } from "../../../src/state/Allocations.ts"
import { layerTest as allocationsTest } from "../../../src/state/AllocationsTest.ts"

interface AllocationOptions {
  readonly anycast?: ReadonlyArray<string>
  readonly chosen?: ReadonlyArray<string>
  readonly ipv6?: string | null
  readonly ipv4?: string | null
  readonly uid?: string
}

/** Pod `default/web-N` on link `flock0000000N`, index 100 + N. */
export const allocation = (n: number, options: AllocationOptions = {}): Allocation => {
  const { ipv4 = `10.42.1.${n + 1}`, ipv6 = `2001:db8:1::${n.toString(16)}` } = options
  return {
    version: 1,
    bootId: "boot",
    containerId: `container${n}`,
    ifName: "eth0",
    netns: `/run/netns/web-${n}`,
    pod: { namespace: "default", name: `web-${n}`, uid: options.uid ?? `uid-${n}` },
    hostIfName: linkOf(n),
    network: "flock",
    mtu: 1500,
    addresses: PodAddresses.make({
      primaries: [ipv6, ipv4].flatMap((primary) => primary === null ? [] : [address(primary)]),
      gateway4: address("10.42.1.1"),
      chosen: (options.chosen ?? []).map(address),
      anycast: (options.anycast ?? []).map(address)
    }),
    createdAt: "2026-01-01T00:00:00Z"
  }
}

export const linkOf = (n: number): string => `flock${n.toString(16).padStart(8, "0")}`

export const pod = (n: number, options: Partial<PodInfo> = {}): PodInfo => ({
  namespace: "default",
  name: `web-${n}`,
  uid: `uid-${n}`,
  ready: true,
  deleting: false,
  annotations: {},
  ...options
})

export const route = (destination: string, ...hops: ReadonlyArray<readonly [ifIndex: number, via?: string]>) =>
  ({
    destination: {
      family: destination.includes(":") ? 6 : 4,
      base: address(destination).value,
      prefix: destination.includes(":") ? 128 : 32
    },
    protocol: 201,
    nextHops: hops.map(([ifIndex, via]) =>
      via === undefined ? { ifIndex, onlink: false } : { ifIndex, via: address(via), onlink: true }
    )
  }) satisfies HostRoute

/** A route in words: `2001:db8:a::1/128 via 2001:db8:1::1 dev 101 onlink`. */
export const show = (r: HostRoute): string =>
  [
    formatCidr(r.destination),
    ...r.nextHops.map((hop) =>
      `${hop.via === undefined ? "" : `via ${formatAddress(hop.via)} `}dev ${hop.ifIndex}${hop.onlink ? " onlink" : ""}`
    )
  ].join(" ")

export const idleBird: BirdStatus = {
  enabled: true,
  up: true,
  version: "2.0.12",
  peers: [],
  stale: false,
  configError: "",
  reloads: 0
}

/** What a spec looks at and changes: the parts of the layer under {@link Anycast}, in the words of this folder's specs. */
export class Scene {
  readonly kernel: TestKernel
  readonly bird: BirdTest["Service"]
  readonly kube: KubeApiTest["Service"]
  readonly allocations: Allocations["Service"]
  /** Errno with which the next calls fail: whole batches of announced routes. */
  readonly failNext: Array<string> = []
  /** Runs inside each kernel batch, before it is done: what happens meanwhile. */
  during: Effect.Effect<void> = Effect.void

  private constructor(
    kernel: TestKernel,
    bird: BirdTest["Service"],
    kube: KubeApiTest["Service"],
    allocations: Allocations["Service"]
  ) {
    this.kernel = kernel
    this.bird = bird
    this.kube = kube
    this.allocations = allocations
    kernel.faults.batch = ({ routes, verb }) =>
      Effect.suspend(() => this.during).pipe(Effect.andThen(Effect.suspend(() => {
        const errno = isAnnouncing(routes) ? this.failNext.shift() : undefined
        return errno === undefined ? Effect.void : Effect.fail(new NetlinkError({ op: `${verb} routes`, errno }))
      })))
  }

  static readonly make = Effect.gen(function*() {
    return new Scene(yield* NetlinkTest, yield* BirdTest, yield* KubeApiTest, yield* Allocations)
  })

  /** Makes pods of these allocations' links and commits them. */
  commit(...list: ReadonlyArray<Allocation>): Effect.Effect<void> {
    for (const { hostIfName } of list) {
      this.kernel.addLink(hostIfName, 100 + Number.parseInt(hostIfName.slice(5), 16))
    }
    return Effect.orDie(Effect.forEach(list, this.allocations.adopt, { discard: true }))
  }

  remove(...list: ReadonlyArray<Allocation>): Effect.Effect<void> {
    return Effect.orDie(Effect.forEach(list, (a) => this.allocations.remove(attachmentKey(a)), { discard: true }))
  }

  setPods(...list: ReadonlyArray<PodInfo>): Effect.Effect<void> {
    return this.kube.setPods(...list)
  }

  removePod(pod: PodInfo): Effect.Effect<void> {
    return this.kube.removePods(pod)
  }

  notify(change: KernelChange): Effect.Effect<void> {
    return Effect.sync(() => this.kernel.notify(change))
  }

  installed(): ReadonlyArray<string> {
    return this.kernel.routesOf(PROTOCOL_EXPORT).map(show).toSorted()
  }

  /** Routes of protocol 202. */
  stillReached(): ReadonlyArray<string> {
    return this.kernel.routesOf(PROTOCOL_LINGERING).map(show).toSorted()
  }

  /** Every change of protocol 201 that was asked for: `put …`, `delete …`; one entry per batch. */
  get calls(): ReadonlyArray<ReadonlyArray<string>> {
    return this.kernel.batches.filter(({ routes }) => isAnnouncing(routes))
      .map(({ routes, verb }) => routes.map((r) => `${verb} ${show(r)}`))
  }

  /** Every export set that BIRD was given, as texts. */
  get exportSets(): Effect.Effect<ReadonlyArray<ReadonlyArray<string>>> {
    return Effect.map(this.bird.exportSets, (sets) => sets.map((set) => set.map(formatAddress)))
  }
}

const isAnnouncing = (routes: ReadonlyArray<HostRoute>): boolean =>
  routes.every(({ protocol }) => protocol === PROTOCOL_EXPORT)

/** {@link Anycast} and what it stands on, all in memory. */
export const layer = Anycast.layer.pipe(
  Layer.provideMerge(Attachments.layer),
  Layer.provideMerge(Layer.orDie(NodeNetwork.layer)),
  Layer.provideMerge(Layer.mergeAll(allocationsTest(), kubeTest(), netlinkTest(), birdTest()))
)
