/**
 * Code that has never run is compiled when it first does, which made an agent's first ADD slow. So before it serves, an agent
 * makes and removes pods in a world of its own: the real services once more, with two new network namespaces for node and
 * pod, a folder for records and a socket. Nothing of that can be seen on the node, neither in its network nor in records,
 * metrics or the log; the kernel takes the namespaces away with their last descriptor.
 */
import { Context, Effect, Fiber, FileSystem, Layer, Metric, Option, References, Schema, SubscriptionRef } from "effect"
import { Bird } from "../bird/Bird.ts"
import { Cni } from "../cni/Cni.ts"
import { NEWEST } from "../cni/spec.ts"
import { NodeConfigSpec } from "../domain/NodeConfigSpec.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi, type NodeConfigState } from "../kube/KubeApi.ts"
import * as NetlinkLayer from "../netlink/layer.ts"
import { closeNetns, Namespaces } from "../netlink/namespace.ts"
import { NodeNetwork } from "../netlink/NodeNetwork.ts"
import { Uplink } from "../netlink/Uplink.ts"
import { Allocations } from "../state/Allocations.ts"
import { callCni } from "./exchange.ts"
import { Introspection } from "./Introspection.ts"
import { RpcServer } from "./RpcServer.ts"

/** Pods that are made, one after another; the first takes as long as all others. */
const PODS = 8
/** Milliseconds. An agent serves no later for it than this; a pod that is under way then is the last. */
const PATIENCE = 1000

/** Documentation prefixes (RFC 3849, RFC 5737). */
const SPEC = Schema.decodeUnknownSync(NodeConfigSpec)({ cidr6: "2001:db8::/64", cidr4: "192.0.2.0/24", mtu: 1500 })

const config: NodeConfigState = {
  current: Option.some({ name: "warm-up", generation: 0, uid: "", spec: SPEC }),
  rejected: Option.none()
}

/** A namespace and a path that opens it, until the scope ends. */
const newNetns = Effect.acquireRelease(
  Effect.sync(() => {
    const namespaces = new Namespaces()
    try {
      return namespaces.create()
    } finally {
      namespaces.close()
    }
  }),
  (netns) => Effect.sync(() => closeNetns(netns))
).pipe(Effect.map(({ fd }) => `/proc/${process.pid}/fd/${fd}`))

const kube = Layer.unwrap(Effect.map(SubscriptionRef.make(config), (nodeConfig) =>
  Layer.mock(KubeApi, {
    nodeConfig,
    fleet: undefined,
    pod: (ref) => Effect.succeedSome({ ...ref, ready: false, deleting: false, annotations: {} }),
    event: () => Effect.void
  })))

const layerOf = (netns: string, folder: string) =>
  RpcServer.layer({ path: `${folder}/agent.sock`, onCall: () => () => {} }).pipe(
    Layer.provideMerge(Cni.layer({ bootId: "warm-up" })),
    Layer.provide([
      Uplink.layer,
      NodeNetwork.layer,
      Ipam.layer,
      Allocations.layer({ directory: `${folder}/allocations`, bootId: "warm-up" }),
      kube,
      Layer.mock(Bird, {}),
      Layer.mock(Introspection, {})
    ]),
    Layer.provide(NetlinkLayer.layer({ netns }))
  )

const makePods = Effect.fnUntraced(function*(folder: string) {
  const end = performance.now() + PATIENCE
  const socket = `${folder}/agent.sock`
  const netns = yield* newNetns
  const { listen } = Context.get(yield* Layer.build(Layer.fresh(layerOf(yield* newNetns, folder))), RpcServer)
  yield* listen
  for (let i = 0; i < PODS && performance.now() < end; i++) {
    const call = {
      containerId: `warm-up-${i}`,
      netns,
      ifName: "eth0",
      args: `K8S_POD_NAMESPACE=flock;K8S_POD_NAME=warm-up-${i};K8S_POD_UID=${i}`,
      config: JSON.stringify({ cniVersion: NEWEST, name: "flock", type: "flock" })
    }
    yield* callCni(socket, { op: "ADD", ...call })
    yield* callCni(socket, { op: "DEL", ...call })
  }
}, Effect.scoped)

/**
 * Once, before the agent listens. `stateDir`: where records are; what is made there goes again. That it fails, or is not done
 * in time, is no reason not to serve.
 */
export const warmUp = Effect.fn("warmUp")(function*(stateDir: string) {
  const fs = yield* FileSystem.FileSystem
  const folder = `${stateDir}/warm-up`
  // Of an agent that was killed meanwhile.
  const remove = Effect.ignore(fs.remove(folder, { recursive: true, force: true }))
  const work = Effect.andThen(remove, fs.makeDirectory(folder, { mode: 0o700 })).pipe(
    Effect.andThen(makePods(folder)),
    Effect.provideService(Metric.MetricRegistry, new Map()),
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.catchCause((cause) => Effect.logDebug("warming up failed; the first ADDs will be slow", cause)),
    Effect.ensuring(remove)
  )
  const begun = yield* Effect.forkDetach(work)
  const done = yield* Effect.timeoutOption(Fiber.join(begun), PATIENCE)
  if (Option.isNone(done)) yield* Effect.logInfo(`warming up takes longer than ${PATIENCE} ms: serving now`)
})
