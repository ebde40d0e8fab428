/** A BIRD in memory, steered and watched by a test. */
import { Context, Effect, Layer, Ref, Stream, SubscriptionRef } from "effect"
import { type Cidr, formatCidr, hostCidr, type IpAddress } from "../domain/Ip.ts"
import { Bird } from "./Bird.ts"
import { type BirdStatus, initial } from "./birdStatus.ts"
import { BirdUnavailable } from "./controlErrors.ts"

export class BirdTest extends Context.Service<BirdTest, {
  /** Changes what BIRD says from now on. With `up: false`, `withdrawAll` and `restoreAll` fail too. */
  readonly setStatus: (change: Partial<BirdStatus>) => Effect.Effect<void>
  /** The peer protocols to which BIRD exports this address; none until it is said. */
  readonly setExported: (address: IpAddress, protocols: ReadonlyArray<string>) => Effect.Effect<void>
  /** Every export set that was given, oldest first. */
  readonly exportSets: Effect.Effect<ReadonlyArray<ReadonlyArray<IpAddress>>>
  /** How often a reload was asked for. */
  readonly reloadRequests: Effect.Effect<number>
  /** What `mayExport` says of every destination; true until it is said. */
  readonly setMayExport: (may: boolean | undefined) => Effect.Effect<void>
  /** How often `exportedTo` was asked. */
  readonly exportQuestions: Effect.Effect<number>
}>()("flock/BirdTest") {}

const make = Effect.fnUntraced(function*(change: Partial<BirdStatus>) {
  const state = yield* SubscriptionRef.make<BirdStatus>({ ...initial(true), up: true, version: "2.0.12", ...change })
  const exported = yield* Ref.make<ReadonlyMap<string, ReadonlyArray<string>>>(new Map())
  const exportSets = yield* Ref.make<ReadonlyArray<ReadonlyArray<IpAddress>>>([])
  const reloadRequests = yield* Ref.make(0)
  const exportQuestions = yield* Ref.make(0)
  const may = yield* Ref.make<boolean | undefined>(true)
  const status = SubscriptionRef.get(state)
  const setStatus = (change: Partial<BirdStatus>) => SubscriptionRef.update(state, (now) => ({ ...now, ...change }))

  const drain = (drained: boolean) =>
    Effect.gen(function*() {
      const { peers, up } = yield* status
      if (!up) {
        return yield* new BirdUnavailable({ socketPath: "bird.ctl", reason: { _tag: "System", errno: "ENOENT" } })
      }
      yield* setStatus({ drained })
      return peers.map(({ protocol }) => `${protocol}: ${drained ? "disabled" : "enabled"}`)
    })

  const test = BirdTest.of({
    setStatus,
    setExported: (address, protocols) =>
      Ref.update(exported, (now) => new Map(now).set(formatCidr(hostCidr(address)), protocols)),
    setMayExport: (now) => Ref.set(may, now),
    exportSets: Ref.get(exportSets),
    reloadRequests: Ref.get(reloadRequests),
    exportQuestions: Ref.get(exportQuestions)
  })
  const service = Bird.of({
    requestReload: Ref.update(reloadRequests, (n) => n + 1),
    setExportSet: (addresses: ReadonlyArray<IpAddress>) => Ref.update(exportSets, (now) => [...now, addresses]),
    status,
    lastStatus: status,
    statusChanges: Stream.changes(SubscriptionRef.changes(state)),
    exportedTo: Effect.fnUntraced(function*(destination: Cidr, protocol: string) {
      yield* Ref.update(exportQuestions, (n) => n + 1)
      return (yield* Ref.get(exported)).get(formatCidr(destination))?.includes(protocol) ?? false
    }),
    exports: Effect.gen(function*() {
      const all = [...yield* Ref.get(exported)]
      return (yield* status).peers.filter(({ state }) => state === "Established").map(({ address, protocol }) => ({
        address,
        protocol,
        destinations: new Set(all.flatMap(([text, to]) => to.includes(protocol) ? [text] : []))
      }))
    }),
    mayExport: () => Ref.get(may),
    withdrawAll: () => drain(true),
    restoreAll: drain(false),
    run: Effect.never
  })
  return Context.make(Bird, service).pipe(Context.add(BirdTest, test))
})

/** It is up and has no peers unless `status` says so. */
export const layerTest = (status: Partial<BirdStatus> = {}): Layer.Layer<Bird | BirdTest> =>
  Layer.effectContext(make(status))
