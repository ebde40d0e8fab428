/** What the agent says of itself and does for its own tools. */
import { Context, Effect, Layer, Option, SubscriptionRef } from "effect"
import { Anycast } from "../anycast/Anycast.ts"
import { Attachments } from "../attachments/Attachments.ts"
import { Bird } from "../bird/Bird.ts"
import { formatCidr, type IpAddress } from "../domain/Ip.ts"
import { specWarnings } from "../domain/NodeConfig.ts"
import { NOTHING_OCCUPIED } from "../domain/occupied.ts"
import { AntiSpoofing } from "../firewall/AntiSpoofing.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { VERSION } from "../process/version.ts"
import { Allocations } from "../state/Allocations.ts"
import { newerInWords } from "../state/format.ts"
import * as Why from "../why/collect.ts"
import type { WhyReport } from "../why/walk.ts"
import { allocationReport, type Paths, type StatusReport } from "./StatusReport.ts"
import { type Answers, Refused } from "./Tools.ts"

export class Introspection extends Context.Service<Introspection, {
  readonly status: Effect.Effect<StatusReport>
  readonly why: (address: IpAddress) => Effect.Effect<WhyReport>
  /** `KubeApi.missingRights`, with the Secrets that the NodeConfig names. */
  readonly rights: Effect.Effect<Answers["rights"], Refused>
  /** `Bird.withdrawAll`. */
  readonly withdraw: (now: boolean) => Effect.Effect<Answers["withdraw"], Refused>
  /** `Bird.restoreAll`. */
  readonly restore: Effect.Effect<Answers["restore"], Refused>
}>()("flock/Introspection") {
  static readonly layer = (options: { readonly nodeName: string; readonly paths: Paths }) =>
    Layer.effect(
      Introspection,
      Effect.gen(function*() {
        const allocations = yield* Allocations
        const antiSpoofing = yield* AntiSpoofing
        const anycast = yield* Anycast
        const attachments = yield* Attachments
        const bird = yield* Bird
        const ipam = yield* Ipam
        const kube = yield* KubeApi
        const network = yield* NodeNetwork
        const why = yield* Why.make(options.nodeName)
        const startedAt = new Date(performance.timeOrigin).toISOString()

        const status = Effect.gen(function*() {
          const { current, rejected, unknown } = yield* SubscriptionRef.get(kube.nodeConfig)
          const config = Option.getOrUndefined(current)
          const occupied = config === undefined ? NOTHING_OCCUPIED : yield* network.occupied(config.spec)
          const conflicts = Object.values(occupied.conflicts)
          const hostProblems = yield* attachments.problems
          const api = yield* kube.api
          const unheard = yield* kube.unheard
          const report: StatusReport = {
            version: VERSION,
            node: config?.name ?? options.nodeName,
            startedAt,
            paths: options.paths,
            nodeConfig: {
              present: config !== undefined,
              generation: config?.generation ?? 0,
              ...(config?.spec.cidr6 ? { cidr6: formatCidr(config.spec.cidr6) } : {}),
              ...(config?.spec.cidr4 ? { cidr4: formatCidr(config.spec.cidr4) } : {}),
              ...(config === undefined ? {} : { warnings: specWarnings(config.spec) }),
              ...(conflicts.length === 0 ? {} : { conflicts }),
              ...(unknown === undefined ? {} : { unknown }),
              ...(unheard === "" || unknown !== undefined ? {} : { unheard }),
              ...(Option.isSome(rejected) ? { rejected: rejected.value.message } : {})
            },
            usage: config === undefined ? {} : yield* ipam.usage(config.spec, occupied),
            allocations: (yield* allocations.list).map(allocationReport),
            announcements: yield* anycast.status,
            bird: yield* bird.status,
            ...(hostProblems.length === 0 ? {} : { hostProblems }),
            ...(allocations.newer.length === 0
              ? {}
              : { newerState: allocations.newer.map((it) => newerInWords(it, VERSION)) }),
            ...(api === undefined ? {} : { api }),
            antiSpoofing: yield* antiSpoofing.status,
            drops: yield* antiSpoofing.drops
          }
          return report
        })

        const refused = Effect.mapError(({ message }: { readonly message: string }) => new Refused({ message }))
        const rights = Effect.gen(function*() {
          const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
          const peers = Option.getOrUndefined(current)?.spec.bgp?.peers ?? []
          return yield* kube.missingRights([...new Set(peers.flatMap((peer) => peer.passwordSecretRef?.name ?? []))])
        })

        return Introspection.of({
          status,
          rights: refused(rights),
          why,
          withdraw: (now) => refused(bird.withdrawAll(now)),
          restore: refused(bird.restoreAll)
        })
      })
    )

  /** Members that a test does not give die when they are used. */
  static readonly layerTest = (members: Partial<Introspection["Service"]>) => Layer.mock(Introspection, members)
}
