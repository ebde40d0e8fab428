/** What the agent does for its own tools (`flock-agent status`, `why`, `withdraw`) over its socket: plain JSON. */
import { Context, Data, Effect, Layer, Option, SubscriptionRef } from "effect"
import { Anycast } from "../anycast/Anycast.ts"
import type { AnycastAddress } from "../anycast/AnycastAddress.ts"
import { Bird } from "../bird/Bird.ts"
import type { BirdStatus } from "../bird/birdStatus.ts"
import { Allocation } from "../domain/Allocation.ts"
import { formatCidr, parseAddress } from "../domain/Ip.ts"
import * as PodAddresses from "../domain/PodAddresses.ts"
import type { Request } from "../domain/Wire.ts"
import { Ipam, type PoolUsage } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { VERSION } from "../process/version.ts"
import { Allocations } from "../state/Allocations.ts"
import * as Why from "../why/collect.ts"

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
    /** Why it is not known whether there is one. */
    readonly unknown?: string
    /** Why the newest NodeConfig is not in force; absent if it is. */
    readonly rejected?: string
  }
  readonly usage: { readonly ipv6?: PoolUsage; readonly ipv4?: PoolUsage }
  readonly allocations: ReadonlyArray<AllocationReport>
  /** Anycast and operator-chosen addresses, with what their announcement waits for. */
  readonly announcements: ReadonlyArray<AnycastAddress>
  readonly bird: BirdStatus
}

export interface AllocationReport extends PodAddresses.ReportedAddresses {
  readonly namespace: string
  readonly pod: string
  readonly uid: string
  readonly containerId: string
  readonly ifName: string
  readonly hostIfName: string
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
  ...PodAddresses.report(a.addresses),
  mtu: a.mtu,
  createdAt: a.createdAt
})

/** The question makes no sense, or what it asks for failed. */
export class Refused extends Data.TaggedError("Refused")<{ readonly message: string }> {}

export class Introspection extends Context.Service<Introspection, {
  /** Undefined: the operation is none of a tool's. */
  readonly answer: (request: Request) => Effect.Effect<unknown, Refused> | undefined
}>()("flock/Introspection") {}

/** The operations' names on the wire; the CNI verbs are upper-case. */
export const Op = { status: "status", why: "why", withdraw: "withdraw", restore: "restore" } as const

export const layer = (options: { readonly nodeName: string }) =>
  Layer.effect(
    Introspection,
    Effect.gen(function*() {
      const allocations = yield* Allocations
      const bird = yield* Bird
      const ipam = yield* Ipam
      const kube = yield* KubeApi
      const anycast = yield* Anycast
      const why = yield* Why.make(options.nodeName)
      const startedAt = new Date(performance.timeOrigin).toISOString()

      const status = Effect.gen(function*() {
        const { current, rejected, unknown } = yield* SubscriptionRef.get(kube.nodeConfig)
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
            ...(unknown === undefined ? {} : { unknown }),
            ...(Option.isSome(rejected) ? { rejected: rejected.value.message } : {})
          },
          usage: config === undefined ? {} : yield* ipam.usage(config.spec),
          allocations: (yield* allocations.list).map(reportOf),
          announcements: yield* anycast.status,
          bird: yield* bird.status
        }
        return report
      })

      /** `args` of the request is the address. */
      const explain = ({ args }: Request) => {
        const address = parseAddress(args)
        return address === undefined
          ? Effect.fail(new Refused({ message: `${JSON.stringify(args)} is not an IP address, such as 2001:db8::1` }))
          : why(address)
      }

      const refused = Effect.mapError((error: { readonly message: string }) => new Refused({ message: error.message }))

      const ops = new Map<string, (request: Request) => Effect.Effect<unknown, Refused>>([
        [Op.status, () => status],
        [Op.why, explain],
        [Op.withdraw, () => refused(bird.withdrawAll)],
        [Op.restore, () => refused(bird.restoreAll)]
      ])
      return Introspection.of({ answer: (request) => ops.get(request.op)?.(request) })
    })
  )
