/** What the node and its network use themselves, kept as the kernel has it. */
import { Context, Effect, Layer, PubSub, Ref, Schedule, Stream } from "effect"
import { formatAddress, type IpAddress } from "../domain/Ip.ts"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { type HostFacts, type LearnedPrefix, type Occupied, occupiedBy } from "../domain/occupied.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { every } from "../process/tick.ts"
import { IF_PREFIX, type KernelChange, LINK_NAME, METRICS, Netlink } from "./Netlink.ts"

/** Route protocols of who gives a node its own routes: boot, static, ra, dhcp (linux/rtnetlink.h). */
const OWN_ROUTES: ReadonlySet<number> = new Set([3, 4, 9, 16])
/** Of the kernel's own routes, to connected subnets. */
const PROTOCOL_KERNEL = 2

/** An address that was found in use is tried again after this many milliseconds. */
const REMEMBERED = 300_000
/** Addresses that are remembered, at most. */
const MOST_REMEMBERED = 1024

/** What no notification tells: routes, and links that are set up or down. */
const LOOK = "15 seconds"

/** Pods' links come and go in bursts, and each is a notification. */
const AT_MOST = "1 second"

const concernsNode = (change: KernelChange): boolean =>
  change._tag === "AddressChanged" || change._tag === "Overrun" ||
  (change._tag === "LinkRemoved" && !LINK_NAME.test(change.ifName))

const read = Effect.gen(function*() {
  const netlink = yield* Netlink
  const interfaces = yield* netlink.interfaces
  const names = new Map(interfaces.map(({ ifIndex, ifName }) => [ifIndex, ifName]))
  // What is routed to a pod is the pod's, and the pod is a next hop of nobody else's.
  const routes = (yield* netlink.routes()).filter(({ nextHops }) =>
    nextHops.every(({ ifIndex }) => !LINK_NAME.test(names.get(ifIndex) ?? ""))
  )
  return {
    addresses: interfaces.filter(({ ifName }) => !ifName.startsWith(IF_PREFIX))
      .flatMap(({ addresses, ifName, up }) => addresses.map((it) => ({ ...it, ifName, up }))),
    gateways: routes.filter(({ protocol }) => OWN_ROUTES.has(protocol))
      .flatMap(({ nextHops }) => nextHops.flatMap(({ via }) => via ?? [])),
    routes: routes.filter(({ destination, protocol }) =>
      destination.prefix > 0 && protocol !== PROTOCOL_KERNEL && !METRICS.has(protocol)
    ).map(({ destination, nextHops }) => ({ destination, ifName: names.get(nextHops[0]?.ifIndex ?? 0) ?? "?" }))
  }
})

type Kernel = Omit<HostFacts, "found" | "learned">

/** To tell two of them apart. */
const textOf = (facts: Kernel): string =>
  JSON.stringify(facts, (_, value) => typeof value === "bigint" ? `${value}` : value)

interface Found {
  readonly address: IpAddress
  readonly is: string
  /** Monotonic milliseconds. */
  readonly until: number
}

interface State {
  readonly facts: Kernel
  /** By text. */
  readonly found: ReadonlyMap<string, Found>
  readonly learned: HostFacts["learned"]
  readonly known: { readonly spec: NodeConfigSpec; readonly occupied: Occupied } | undefined
}

const make = Effect.gen(function*() {
  const netlink = yield* Netlink
  const readNow = Effect.provideService(read, Netlink, netlink)
  const state = yield* Ref.make<State>({ facts: yield* readNow, found: new Map(), learned: [], known: undefined })
  const changed = yield* PubSub.sliding<void>(1)

  const look = Effect.gen(function*() {
    const facts = yield* readNow
    const now = yield* monotonicMillis
    const before = yield* Ref.get(state)
    const found = new Map([...before.found].filter(([, { until }]) => until > now))
    if (textOf(facts) === textOf(before.facts) && found.size === before.found.size) return
    yield* Ref.update(state, ({ learned }) => ({ facts, found, learned, known: undefined }))
    yield* PubSub.publish(changed, undefined)
  }).pipe(Effect.catch((error) => Effect.logWarning(`could not read the node's own addresses: ${error.message}`)))

  const onChange = netlink.changes.pipe(
    Stream.filter(concernsNode),
    Stream.buffer({ capacity: 1, strategy: "sliding" }),
    Stream.runForEach(() => Effect.andThen(look, Effect.sleep(AT_MOST))),
    Effect.catch((error) => Effect.logWarning(`watching the node's addresses: ${error.message}`)),
    Effect.repeat(Schedule.spaced("1 second"))
  )

  return NodeNetwork.of({
    occupied: (spec) =>
      Ref.modify(state, (now) => {
        if (now.known?.spec === spec) return [now.known.occupied, now]
        const occupied = occupiedBy({ ...now.facts, found: [...now.found.values()], learned: now.learned }, spec)
        return [occupied, { ...now, known: { spec, occupied } }]
      }),
    found: Effect.fnUntraced(function*(address, is) {
      const until = (yield* monotonicMillis) + REMEMBERED
      const isNews = yield* Ref.modify(state, (now) => {
        const found = new Map([...now.found].slice(-MOST_REMEMBERED)).set(formatAddress(address), {
          address,
          is,
          until
        })
        return [!now.found.has(formatAddress(address)), { ...now, found, known: undefined }]
      })
      if (!isNews) return
      yield* Effect.logWarning(`${formatAddress(address)} is ${is}: no pod gets it`)
      yield* PubSub.publish(changed, undefined)
    }),
    learned: (learned) =>
      Ref.update(state, (now) => ({ ...now, learned, known: undefined })).pipe(
        Effect.andThen(PubSub.publish(changed, undefined)),
        Effect.asVoid
      ),
    changes: Stream.fromPubSub(changed),
    run: Effect.all([onChange, every(LOOK)(look)], { concurrency: "unbounded", discard: true }).pipe(
      Effect.andThen(Effect.never)
    )
  })
})

export class NodeNetwork extends Context.Service<NodeNetwork, {
  /** As it was seen last; costs nothing while neither the NodeConfig nor the node changes. */
  readonly occupied: (spec: NodeConfigSpec) => Effect.Effect<Occupied>
  /** A pod was to have this address, and the kernel sends it elsewhere: it is held for five minutes. `is`: in words. */
  readonly found: (address: IpAddress, is: string) => Effect.Effect<void>
  /** All that routers announce of the node's prefixes, in place of what they did before. */
  readonly learned: (learned: ReadonlyArray<LearnedPrefix>) => Effect.Effect<void>
  /** Emits when the node's addresses, subnets or gateways changed, or what its network has of its prefixes. */
  readonly changes: Stream.Stream<void>
  /** Follows the kernel. Run it once, in the foreground. */
  readonly run: Effect.Effect<never>
}>()("flock/NodeNetwork") {
  /** The first look is part of building it. */
  static readonly layer = Layer.effect(NodeNetwork, make)
}
