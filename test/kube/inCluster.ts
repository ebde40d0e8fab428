/** Run by inCluster.test.ts where a pod's service account is mounted: says what the cluster layer sees, a line each. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Layer, Option, SubscriptionRef } from "effect"
import * as Cluster from "../../src/kube/cluster.ts"
import { KubeApi } from "../../src/kube/KubeApi.ts"

const [nodeName = "", stateDir = ""] = process.argv.slice(2)

const say = (what: string) => Effect.sync(() => process.stdout.write(`${what}\n`))

const program = Effect.gen(function*() {
  const layer = Cluster.layer({ nodeName, stateDir, namespace: "flock-system" })
  const kube = Context.get(yield* Layer.build(Layer.provide(layer, NodeServices.layer)), KubeApi)
  const told = Effect.gen(function*() {
    const { current } = yield* SubscriptionRef.get(kube.nodeConfig)
    if (!(yield* kube.synced) || Option.isNone(current)) return false
    yield* say(`synced ${current.value.name}`)
    return true
  })
  const ask = kube.setNodeCondition({ status: "False", reason: "FlockReady", message: "" }).pipe(
    Effect.match({ onFailure: ({ message }) => message, onSuccess: () => "patched" }),
    Effect.flatMap(say)
  )
  return yield* Effect.raceFirst(
    kube.run,
    Effect.gen(function*() {
      while (!(yield* told)) yield* Effect.sleep("20 millis")
      return yield* Effect.forever(Effect.andThen(ask, Effect.sleep("200 millis")))
    })
  )
})

await Effect.runPromise(Effect.scoped(program))
