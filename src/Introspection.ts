/** What the agent tells its own tools (`flock-agent status`, `why`, `doctor`) over its socket: plain JSON. */
import { Context, Effect, Layer, Option, SubscriptionRef } from "effect"
import { Allocation } from "./Allocation.ts"
import { Allocations } from "./Allocations.ts"
import { Bird, type BirdStatus } from "./Bird.ts"
import { formatAddress, formatCidr } from "./Ip.ts"
import { Ipam, type PoolUsage } from "./Ipam.ts"
import { KubeApi } from "./KubeApi.ts"
import { VERSION } from "./version.ts"
import type { Request } from "./Wire.ts"

/** `flock-agent status --json`. */
export interface StatusReport {
  readonly version: string
  readonly node: string
  /** RFC 3339. */
  readonly startedAt: string
  readonly nodeConfig: {
    readonly present: boolean
    readonly generation: number
    readonly cidr6?: string
    readonly cidr4?: string
    /** Why the newest NodeConfig is not in force; absent if it is. */
    readonly rejected?: string
  }
  readonly usage: { readonly ipv6?: PoolUsage; readonly ipv4?: PoolUsage }
  readonly allocations: ReadonlyArray<AllocationReport>
  readonly bird: BirdStatus
}

export interface AllocationReport {
  readonly namespace: string
  readonly pod: string
  readonly uid: string
  readonly containerId: string
  readonly ifName: string
  readonly hostIfName: string
  readonly ipv6?: string
  readonly ipv4?: string
  readonly chosen: ReadonlyArray<string>
  readonly anycast: ReadonlyArray<string>
  /** Bytes. */
  readonly mtu: number
  readonly createdAt: string
}

const reportOf = (a: Allocation): AllocationReport => ({
  namespace: a.pod.namespace,
  pod: a.pod.name,
  uid: a.pod.uid,
  containerId: a.containerId,
  ifName: a.ifName,
  hostIfName: a.hostIfName,
  ...(a.ipv6 ? { ipv6: formatAddress(a.ipv6) } : {}),
  ...(a.ipv4 ? { ipv4: formatAddress(a.ipv4) } : {}),
  chosen: a.chosen.map(formatAddress),
  anycast: a.anycast.map(formatAddress),
  mtu: a.mtu,
  createdAt: a.createdAt
})

export class Introspection extends Context.Service<Introspection, {
  readonly handles: (op: string) => boolean
  readonly answer: (request: Request) => Effect.Effect<unknown>
}>()("flock/Introspection") {}

export const STATUS = "status"

export const layer = (options: { readonly nodeName: string }) =>
  Layer.effect(
    Introspection,
    Effect.gen(function*() {
      const allocations = yield* Allocations
      const bird = yield* Bird
      const ipam = yield* Ipam
      const kube = yield* KubeApi
      const startedAt = new Date(performance.timeOrigin).toISOString()

      const status = Effect.gen(function*() {
        const { current, rejected } = yield* SubscriptionRef.get(kube.nodeConfig)
        const config = Option.getOrUndefined(current)
        const report: StatusReport = {
          version: VERSION,
          node: config?.name ?? options.nodeName,
          startedAt,
          nodeConfig: {
            present: config !== undefined,
            generation: config?.generation ?? 0,
            ...(config?.spec.cidr6 ? { cidr6: formatCidr(config.spec.cidr6) } : {}),
            ...(config?.spec.cidr4 ? { cidr4: formatCidr(config.spec.cidr4) } : {}),
            ...(Option.isSome(rejected) ? { rejected: rejected.value.message } : {})
          },
          usage: config === undefined ? {} : yield* ipam.usage(config.spec),
          allocations: (yield* allocations.list).map(reportOf),
          bird: yield* bird.status
        }
        return report
      })

      const ops = new Map<string, (request: Request) => Effect.Effect<unknown>>([[STATUS, () => status]])
      return Introspection.of({
        handles: (op) => ops.has(op),
        answer: (request) => ops.get(request.op)?.(request) ?? Effect.succeed(null)
      })
    })
  )
