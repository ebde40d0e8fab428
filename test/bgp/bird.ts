/** The `Bird` layer in this process, against a BIRD in a namespace; Kubernetes and the kernel are test layers. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect, Layer, Option, type Redacted, Ref, Stream, SubscriptionRef } from "effect"
import { Bird } from "../../src/bird/Bird.ts"
import { secretKey } from "../../src/bird/sessions.ts"
import { KubeApi, type NodeConfigState } from "../../src/kube/KubeApi.ts"
import { type HostInterface, Netlink } from "../../src/netlink/Netlink.ts"

export interface Facts {
  readonly nodeConfig: SubscriptionRef.SubscriptionRef<NodeConfigState>
  readonly interfaces: Ref.Ref<ReadonlyArray<HostInterface>>
  readonly secrets: Ref.Ref<ReadonlyMap<string, Redacted.Redacted>>
  readonly synced: Ref.Ref<boolean>
}

export const makeFacts = Effect.fnUntraced(function*(
  state: Partial<NodeConfigState>,
  interfaces: ReadonlyArray<HostInterface>
) {
  return {
    nodeConfig: yield* SubscriptionRef.make<NodeConfigState>({
      current: Option.none(),
      rejected: Option.none(),
      ...state
    }),
    interfaces: yield* Ref.make(interfaces),
    secrets: yield* Ref.make<ReadonlyMap<string, Redacted.Redacted>>(new Map()),
    synced: yield* Ref.make(true)
  } satisfies Facts
})

/** `Bird` with its loops running, for the life of the scope. */
export const runBird = Effect.fnUntraced(function*(facts: Facts, directory: string, nodeName = "node1") {
  const kube = Layer.mock(KubeApi, {
    nodeConfig: facts.nodeConfig,
    secret: (ref) => Effect.map(Ref.get(facts.secrets), (all) => Option.fromUndefinedOr(all.get(secretKey(ref)))),
    secretChanges: Stream.never,
    synced: Ref.get(facts.synced)
  })
  const netlink = Layer.mock(Netlink, {
    interfaces: Ref.get(facts.interfaces),
    outgoing: () => Effect.succeed({ ifIndex: 2 }),
    changes: Stream.never
  })
  const context = yield* Layer.build(
    Bird.layer({
      enabled: true,
      nodeName,
      confPath: `${directory}/bird.conf`,
      socketPath: `${directory}/bird.ctl`
    }).pipe(Layer.provide(Layer.mergeAll(kube, netlink, NodeServices.layer)))
  )
  return yield* Effect.gen(function*() {
    const bird = yield* Bird
    yield* Effect.forkScoped(bird.run)
    return bird
  }).pipe(Effect.provide(context))
})
