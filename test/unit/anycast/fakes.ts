/** Allocations, pods, a kernel and a BIRD in memory, with every call to the kernel on record. */
import { Effect, Layer, Option, PubSub, Stream, SubscriptionRef } from "effect"
import { Anycast } from "../../../src/anycast/Anycast.ts"
import { Bird } from "../../../src/bird/Bird.ts"
import type { BirdStatus } from "../../../src/bird/birdStatus.ts"
import type { Allocation } from "../../../src/domain/Allocation.ts"
import { attachmentKey } from "../../../src/domain/Allocation.ts"
import { address, formatAddress, formatCidr } from "../../../src/domain/Ip.ts"
import { type PodInfo, podKey } from "../../../src/domain/Pod.ts"
import * as PodAddresses from "../../../src/domain/PodAddresses.ts"
import { KubeApi, type NodeConfigState, type PodChange } from "../../../src/kube/KubeApi.ts"
import {
  type HostRoute,
  type KernelChange,
  Netlink,
  NetlinkError,
  PROTOCOL_ANNOUNCED
} from "../../../src/netlink/Netlink.ts"
import { Allocations } from "../../../src/state/Allocations.ts"

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

const changed = (_tag: PodChange["_tag"], info: PodInfo): PodChange => ({ _tag, pod: info })

export class World {
  readonly allocations = new Map<string, Allocation>()
  readonly pods = new Map<string, PodInfo>()
  readonly links = new Map<string, number>()
  /** By destination: protocol 201. */
  readonly kernel = new Map<string, HostRoute>()
  /** By destination: protocol 202. */
  readonly lingering = new Map<string, HostRoute>()
  /** Every change of protocol 201 that was asked for: `put …`, `delete …`; one entry per batch. */
  readonly calls: Array<ReadonlyArray<string>> = []
  dumps = 0
  synced = true
  exportSets: Array<ReadonlyArray<string>> = []
  reloads = 0
  birdStatus = idleBird
  /** Destinations that BIRD says it exports. */
  readonly exported = new Set<string>()
  exportQuestions = 0
  /** Errno with which the next calls fail: whole batches. */
  readonly failNext: Array<string> = []
  /** Runs inside each kernel batch, before it is done: what happens meanwhile. */
  during: Effect.Effect<void> = Effect.void
  /** Destinations that the kernel refuses. */
  readonly refused = new Map<string, string>()

  readonly #podChanges: PubSub.PubSub<PodChange>
  readonly #allocationChanges: PubSub.PubSub<void>
  readonly #kernelChanges: PubSub.PubSub<KernelChange>
  readonly #nodeConfig: SubscriptionRef.SubscriptionRef<NodeConfigState>

  constructor(
    podChanges: PubSub.PubSub<PodChange>,
    allocationChanges: PubSub.PubSub<void>,
    kernelChanges: PubSub.PubSub<KernelChange>,
    nodeConfig: SubscriptionRef.SubscriptionRef<NodeConfigState>
  ) {
    this.#podChanges = podChanges
    this.#allocationChanges = allocationChanges
    this.#kernelChanges = kernelChanges
    this.#nodeConfig = nodeConfig
  }

  static readonly make = Effect.gen(function*() {
    return new World(
      yield* PubSub.unbounded<PodChange>(),
      yield* PubSub.unbounded<void>(),
      yield* PubSub.unbounded<KernelChange>(),
      yield* SubscriptionRef.make<NodeConfigState>({ current: Option.none(), rejected: Option.none() })
    )
  })

  /** Makes pods of these allocations' links and commits them. */
  commit(...list: ReadonlyArray<Allocation>): Effect.Effect<void> {
    for (const a of list) {
      this.allocations.set(attachmentKey(a), a)
      this.links.set(a.hostIfName, 100 + Number.parseInt(a.hostIfName.slice(5), 16))
    }
    return Effect.asVoid(PubSub.publish(this.#allocationChanges, undefined))
  }

  remove(...list: ReadonlyArray<Allocation>): Effect.Effect<void> {
    for (const a of list) this.allocations.delete(attachmentKey(a))
    return Effect.asVoid(PubSub.publish(this.#allocationChanges, undefined))
  }

  setPods(...list: ReadonlyArray<PodInfo>): Effect.Effect<void> {
    for (const p of list) this.pods.set(podKey(p), p)
    return Effect.asVoid(Effect.forEach(list, (p) => PubSub.publish(this.#podChanges, changed("Changed", p))))
  }

  removePod(p: PodInfo): Effect.Effect<void> {
    this.pods.delete(podKey(p))
    return Effect.asVoid(PubSub.publish(this.#podChanges, changed("Removed", p)))
  }

  notify(change: KernelChange): Effect.Effect<void> {
    return Effect.asVoid(PubSub.publish(this.#kernelChanges, change))
  }

  installed(): ReadonlyArray<string> {
    return [...this.kernel.values()].map(show).toSorted()
  }

  /** Routes of protocol 202. */
  stillReached(): ReadonlyArray<string> {
    return [...this.lingering.values()].map(show).toSorted()
  }

  private call(verb: "put" | "delete", routes: ReadonlyArray<HostRoute>) {
    return Effect.gen({ self: this }, function*() {
      yield* this.during
      const announcing = routes.every(({ protocol }) => protocol === PROTOCOL_ANNOUNCED)
      const table = announcing ? this.kernel : this.lingering
      const errno = announcing ? this.failNext.shift() : undefined
      if (errno !== undefined) return yield* new NetlinkError({ op: `${verb} routes`, errno })
      const failed = []
      for (const r of routes) {
        const key = formatCidr(r.destination)
        const refusal = this.refused.get(key)
        if (refusal !== undefined) {
          failed.push({ route: r, error: new NetlinkError({ op: `${verb} route ${key}`, errno: refusal }) })
        } else if (verb === "put") table.set(key, r)
        else table.delete(key)
      }
      if (announcing) this.calls.push(routes.map((r) => `${verb} ${show(r)}`))
      return failed
    })
  }

  get layer(): Layer.Layer<Anycast> {
    return Anycast.layer.pipe(Layer.provide(Layer.mergeAll(
      Layer.mock(Allocations, {
        interrupted: [],
        unreadable: 0,
        list: Effect.sync(() => [...this.allocations.values()]),
        get: (key) => Effect.sync(() => Option.fromUndefinedOr(this.allocations.get(key))),
        changes: Stream.fromPubSub(this.#allocationChanges)
      }),
      Layer.mock(KubeApi, {
        nodeConfig: this.#nodeConfig,
        pods: Effect.sync(() => this.pods),
        podChanges: Stream.fromPubSub(this.#podChanges),
        podsListed: Effect.sync(() => this.synced)
      }),
      Layer.mock(Netlink, {
        links: Effect.sync(() =>
          [...this.links].map(([ifName, ifIndex]) => ({ ifName, ifIndex, alias: "", mtu: 1500, mac: "", up: true }))
        ),
        routes: (protocol) =>
          Effect.sync(() => {
            this.dumps++
            return [...(protocol === PROTOCOL_ANNOUNCED ? this.kernel : this.lingering).values()]
          }),
        putRoutes: (routes) => this.call("put", routes),
        deleteRoutes: (routes) => this.call("delete", routes),
        changes: Stream.fromPubSub(this.#kernelChanges)
      }),
      Layer.mock(Bird, {
        requestReload: Effect.sync(() => {
          this.reloads++
        }),
        setExportSet: (addresses) =>
          Effect.sync(() => {
            this.exportSets.push(addresses.map(formatAddress))
          }),
        lastStatus: Effect.sync(() => this.birdStatus),
        exportedTo: (a) =>
          Effect.sync(() => {
            this.exportQuestions++
            return this.exported.has(formatAddress(a))
          })
      })
    )))
  }
}
