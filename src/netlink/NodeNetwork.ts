/** What the node and its network use themselves, kept as the kernel has it. */
import { Context, Effect, Layer, PubSub, Ref, Schedule, Stream } from "effect"
import type { NodeConfigSpec } from "../domain/NodeConfig.ts"
import { type HostFacts, type Occupied, occupiedBy } from "../domain/occupied.ts"
import { every } from "../process/tick.ts"
import { IF_PREFIX, type KernelChange, LINK_NAME, Netlink } from "./Netlink.ts"

/** Route protocols of who gives a node its own routes: boot, static, ra, dhcp (linux/rtnetlink.h). */
const OWN_ROUTES = [3, 4, 9, 16]

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
  const routes = yield* Effect.forEach(OWN_ROUTES, netlink.routes)
  return {
    addresses: interfaces.filter(({ ifName }) => !ifName.startsWith(IF_PREFIX))
      .flatMap(({ addresses, ifName, up }) => addresses.map((it) => ({ ...it, ifName, up }))),
    gateways: routes.flat().flatMap(({ nextHops }) => nextHops.flatMap(({ via }) => via ?? []))
  } satisfies HostFacts
})

/** To tell two of them apart. */
const textOf = (facts: HostFacts): string =>
  JSON.stringify(facts, (_, value) => typeof value === "bigint" ? `${value}` : value)

interface State {
  readonly facts: HostFacts
  readonly known: { readonly spec: NodeConfigSpec; readonly occupied: Occupied } | undefined
}

const make = Effect.gen(function*() {
  const netlink = yield* Netlink
  const readNow = Effect.provideService(read, Netlink, netlink)
  const state = yield* Ref.make<State>({ facts: yield* readNow, known: undefined })
  const changed = yield* PubSub.sliding<void>(1)

  const look = Effect.gen(function*() {
    const facts = yield* readNow
    if (textOf(facts) === textOf((yield* Ref.get(state)).facts)) return
    yield* Ref.set(state, { facts, known: undefined })
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
        const occupied = occupiedBy(now.facts, spec)
        return [occupied, { ...now, known: { spec, occupied } }]
      }),
    changes: Stream.fromPubSub(changed),
    run: Effect.all([onChange, every(LOOK)(look)], { concurrency: "unbounded", discard: true }).pipe(
      Effect.andThen(Effect.never)
    )
  })
})

export class NodeNetwork extends Context.Service<NodeNetwork, {
  /** As it was seen last; costs nothing while neither the NodeConfig nor the node changes. */
  readonly occupied: (spec: NodeConfigSpec) => Effect.Effect<Occupied>
  /** Emits when the node's addresses, subnets or gateways changed. */
  readonly changes: Stream.Stream<void>
  /** Follows the kernel. Run it once, in the foreground. */
  readonly run: Effect.Effect<never>
}>()("flock/NodeNetwork") {
  /** The first look is part of building it. */
  static readonly layer = Layer.effect(NodeNetwork, make)
}
