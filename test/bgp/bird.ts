/** The `Bird` layer in this process, against a BIRD in a namespace; Kubernetes and the kernel are their test layers. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Layer } from "effect"
import { Bird } from "../../src/bird/Bird.ts"
import type { KubeApi, NodeConfigState } from "../../src/kube/KubeApi.ts"
import { KubeApiTest, layerTest as kubeTest } from "../../src/kube/KubeApiTest.ts"
import type { HostInterface, Netlink } from "../../src/netlink/Netlink.ts"
import { layerTest as netlinkTest, TestKernel } from "../../src/netlink/NetlinkTest.ts"
import { NodeNetwork } from "../../src/netlink/NodeNetwork.ts"

export interface Facts {
  readonly kube: KubeApiTest["Service"]
  readonly kernel: TestKernel
  readonly context: Context.Context<KubeApi | Netlink | NodeNetwork>
}

export const makeFacts = Effect.fnUntraced(function*(
  state: Partial<NodeConfigState>,
  interfaces: ReadonlyArray<HostInterface>
) {
  const kernel = new TestKernel()
  kernel.interfaces = interfaces
  const network = NodeNetwork.layer.pipe(Layer.orDie, Layer.provideMerge(netlinkTest(kernel)))
  const context = yield* Layer.build(Layer.mergeAll(kubeTest(), network))
  const kube = Context.get(context, KubeApiTest)
  yield* kube.setNodeConfig(state)
  return { kube, kernel, context } satisfies Facts
})

/** `Bird` with its loops running, for the life of the scope. */
export const runBird = Effect.fnUntraced(function*(facts: Facts, directory: string, nodeName = "node1") {
  const context = yield* Layer.build(
    Bird.layer({
      enabled: true,
      nodeName,
      confPath: `${directory}/bird.conf`,
      socketPath: `${directory}/bird.ctl`,
      keptFile: `${directory}/bgp.json`
    }).pipe(Layer.provide(Layer.merge(Layer.succeedContext(facts.context), NodeServices.layer)))
  )
  return yield* Effect.gen(function*() {
    const bird = yield* Bird
    yield* Effect.forkScoped(bird.run)
    return bird
  }).pipe(Effect.provide(context))
})
