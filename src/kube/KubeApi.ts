/**
 * What flock knows of Kubernetes and tells it. Its layers are modules, so that each brings its libraries only where it is
 * used: `kube/cluster.ts` (the API server), `kube/standalone.ts` (a folder) and, for tests, `kube/KubeApiTest.ts`.
 */
import { Context, Data, type Effect, type Option, type Redacted, type Stream, type SubscriptionRef } from "effect"
import type { NodeConfig, NodeConfigInvalid, SecretKeyRef } from "../domain/NodeConfig.ts"
import type { PodInfo } from "../domain/Pod.ts"
import type { ApiHealth } from "./apiHealth.ts"
import type { FleetApi } from "./fleetApi.ts"

/** What should be one NodeConfig cannot be read as such: a YAML slip, an empty file, a second document. */
export class NodeConfigUnreadable extends Data.TaggedError("NodeConfigUnreadable")<{
  /** Where it stands, such as `/etc/flock/nodeconfig.yaml`; with line and column where a parser names them: `…:3:7`. */
  readonly place: string
  readonly problem: string
}> {
  /** As of a NodeConfig that has none. */
  readonly generation = 0
  override get message(): string {
    return `${this.place}: ${this.problem}`
  }
}

/** The last good NodeConfig, and the newer one that was refused, if any. */
export interface NodeConfigState {
  readonly current: Option.Option<NodeConfig>
  readonly rejected: Option.Option<NodeConfigInvalid | NodeConfigUnreadable>
  /** Why it is not known whether there is one, such as the API server's refusal; absent once it answered. */
  readonly unknown?: string
}

export type PodChange =
  | { readonly _tag: "Changed"; readonly pod: PodInfo }
  | { readonly _tag: "Removed"; readonly pod: PodInfo }

export interface PodRef {
  readonly namespace: string
  readonly name: string
  /** Empty where the runtime did not say. A cached pod with another UID is stale: the API is asked. */
  readonly uid: string
}

/** The pod is not in the cache and the API server did not answer. */
export class KubeUnavailable extends Data.TaggedError("KubeUnavailable")<{ readonly message: string }> {}

export interface NodeCondition {
  readonly status: "True" | "False"
  readonly reason: string
  readonly message: string
}

/** A condition of NodeConfig's status (meta/v1 Condition without the times). */
export interface StatusCondition {
  readonly type:
    | "Ready"
    | "AddressesAvailable"
    | "BIRDReady"
    | "BGPEstablished"
    | "AntiSpoofing"
    | "HostAsBuilt"
    | "FollowsTemplate"
  readonly status: "True" | "False" | "Unknown"
  readonly reason: string
  readonly message: string
}

export interface NodeConfigStatus {
  readonly observedGeneration: number
  readonly conditions: ReadonlyArray<StatusCondition>
  readonly addresses: {
    readonly ipv6?: { readonly used: number; readonly free: number }
    readonly ipv4?: { readonly used: number; readonly free: number }
  }
  /** Established and configured, such as `1/2`; absent: BIRD is not flock's. */
  readonly sessions?: string
  readonly peers: ReadonlyArray<{
    /** Of an unnumbered peer. */
    readonly interface?: string
    /** Absent until an unnumbered peer's router is found. */
    readonly address?: string
    /** Absent until it is known, where the NodeConfig has no number. */
    readonly asn?: number
    readonly state: string
    /** Why there is no session, or not all of it. */
    readonly problem?: string
    /** The last NOTIFICATION; `at` in RFC 3339. */
    readonly lastNotification?: {
      readonly direction: "received" | "sent"
      readonly message: string
      readonly at: string
    }
    /** Learned routes that BIRD cannot use. */
    readonly unusable?: { readonly count: number; readonly reason: string; readonly examples: ReadonlyArray<string> }
    /** State of BFD (RFC 5880); absent: it is not wanted. */
    readonly bfd?: string
  }>
  /** Anycast and chosen addresses of this node's pods, in order; absent: it is not known yet, and what was said before stays. */
  readonly anycast?: ReadonlyArray<{
    readonly address: string
    /** `AnycastAddress`. */
    readonly state: string
    /** `NAMESPACE/NAME` of those that hold it. */
    readonly pods: ReadonlyArray<string>
  }>
  /** There are more addresses than `anycast` lists. */
  readonly truncated?: true
}

export interface EventOn {
  readonly on: { readonly kind: "Pod"; readonly pod: PodRef } | { readonly kind: "Node" }
  readonly type: "Normal" | "Warning"
  /** UpperCamelCase, machine readable. */
  readonly reason: string
  readonly message: string
}

export class KubeApi extends Context.Service<KubeApi, {
  readonly nodeConfig: SubscriptionRef.SubscriptionRef<NodeConfigState>
  /** Asks for the NodeConfig once where none is known, for what cannot wait until {@link run} does. Waits 3 s at most. */
  readonly findNodeConfig: Effect.Effect<void>
  /** From the cache, else one GET. None: there is no such pod. */
  readonly pod: (ref: PodRef) => Effect.Effect<Option.Option<PodInfo>, KubeUnavailable>
  /** From the cache only, never waits: for the anycast gate. Keyed by `podKey`. */
  readonly pods: Effect.Effect<ReadonlyMap<string, PodInfo>>
  /** Every change after subscription; never drops one silently. */
  readonly podChanges: Stream.Stream<PodChange>
  /** A key of a Secret in flock's own namespace; None: no such Secret or key. */
  readonly secret: (ref: SecretKeyRef) => Effect.Effect<Option.Option<Redacted.Redacted>, KubeUnavailable>
  /** Emits when a Secret that was asked for changes. */
  readonly secretChanges: Stream.Stream<SecretKeyRef>
  /** Sets the Node's `NetworkUnavailable` condition. */
  readonly setNodeCondition: (condition: NodeCondition) => Effect.Effect<void, KubeUnavailable>
  readonly setStatus: (status: NodeConfigStatus) => Effect.Effect<void, KubeUnavailable>
  /** Fire and forget; repeated ones are counted together. */
  readonly event: (event: EventOn) => Effect.Effect<void>
  /** Cached state is complete: lists done (or read from disk). For `/readyz`. */
  readonly synced: Effect.Effect<boolean>
  /**
   * The pods were listed at least once since this process started. Until then a pod that `pods` lacks is unknown, not
   * gone: nothing announced may be withdrawn for it (an agent restarted while the API server is away).
   */
  readonly podsListed: Effect.Effect<boolean>
  /** Why a newer NodeConfig would not be known; empty: the source answers. */
  readonly unheard: Effect.Effect<string>
  /** Since when each watch was heard, and what is refused; undefined: there is no API server (standalone). */
  readonly api: Effect.Effect<ApiHealth | undefined>
  /** For a node that may follow a NodeConfigTemplate; undefined: there is no API server (standalone). */
  readonly fleet: FleetApi | undefined
  /** Rights that the agent lacks, those to read these Secrets included, in words. */
  readonly missingRights: (secrets: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>, KubeUnavailable>
  /** The watches and writers. Must run in the foreground of `main`; it fails only by defect. */
  readonly run: Effect.Effect<never>
}>()("flock/KubeApi") {}
