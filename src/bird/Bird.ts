/** BIRD: its configuration, applied through its control socket, and what it says of its sessions. */
import { Context, Effect, type FileSystem, Layer, type Path, type Stream } from "effect"
import type { Cidr, IpAddress } from "../domain/Ip.ts"
import type { KubeApi } from "../kube/KubeApi.ts"
import type { Netlink } from "../netlink/Netlink.ts"
import type { NodeNetwork } from "../netlink/NodeNetwork.ts"
import type { BirdStatus } from "./birdStatus.ts"
import type { BirdRefused, BirdUnavailable } from "./controlErrors.ts"
import type { PeerExports } from "./exports.ts"
import { disabled, make, type Options } from "./service.ts"

export class Bird extends Context.Service<Bird, {
  /** Something that `bird.conf` depends on changed: render, and apply if different (coalesced). Returns at once. */
  readonly requestReload: Effect.Effect<void>
  /** The destinations outside the node's CIDRs that may be exported; the next rendering uses them. */
  readonly setExportSet: (addresses: ReadonlyArray<IpAddress>) => Effect.Effect<void>
  /** Asks BIRD now. Never fails: a dead BIRD is `up: false`. */
  readonly status: Effect.Effect<BirdStatus>
  /** The last status seen, without asking. */
  readonly lastStatus: Effect.Effect<BirdStatus>
  /** Emits when a session's state, BIRD's liveness or staleness changes. */
  readonly statusChanges: Stream.Stream<BirdStatus>
  /** Whether BIRD exports this destination to this peer protocol now (`show route … exported`). */
  readonly exportedTo: (destination: Cidr, peerProtocol: string) => Effect.Effect<boolean>
  /** All that BIRD exports to each Established session now; nothing where it does not answer. */
  readonly exports: Effect.Effect<ReadonlyArray<PeerExports>>
  /**
   * Whether the configuration that BIRD runs lets this destination out: an address of its export set, or a prefix of the
   * node. `undefined`: BIRD does not answer.
   */
  readonly mayExport: (destination: Cidr) => Effect.Effect<boolean | undefined>
  /**
   * Clean shutdown of the node: ends every session with a Cease (RFC 4486, administrative shutdown), so that routers
   * withdraw at once and graceful restart does not keep dead routes. Before that, unless it is to be `now`, everything is
   * announced with GRACEFUL_SHUTDOWN for as long as the NodeConfig says (RFC 8326), so that routers find other ways while
   * this one still works. Sessions stay down until {@link restoreAll} or a restart of the agent. Returns BIRD's answers,
   * one line a session; none where it was taken back meanwhile.
   */
  readonly withdrawAll: (now: boolean) => Effect.Effect<ReadonlyArray<string>, BirdUnavailable | BirdRefused>
  /** Takes {@link withdrawAll} back. */
  readonly restoreAll: Effect.Effect<ReadonlyArray<string>, BirdUnavailable | BirdRefused>
  /** All loops: reloads, the 15 s healing tick, the 2 s status watch, triggers. Run it once, in the foreground. */
  readonly run: Effect.Effect<never>
}>()("flock/Bird") {
  /** Call once: layers are remembered by reference. */
  static readonly layer = (
    options: Options
  ): Layer.Layer<Bird, never, KubeApi | Netlink | NodeNetwork | FileSystem.FileSystem | Path.Path> =>
    Layer.effect(Bird, options.enabled ? make(options) : Effect.succeed(disabled))
}
