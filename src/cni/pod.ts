/** The pod that an ADD is for. */
import { Effect, Option } from "effect"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { CniFailure, Code, parseArgs } from "./spec.ts"

/** A container outside Kubernetes: no name, no annotations. */
const anonymous: PodInfo = { namespace: "", name: "", uid: "", ready: false, deleting: false, annotations: {} }

/** kubelet may be ahead of the API server: a later try may find the pod. */
const notYet = (message: string) => new CniFailure({ code: Code.TRY_AGAIN_LATER, message })

export const makePodOf = Effect.gen(function*() {
  const kube = yield* KubeApi
  /** `args`: `CNI_ARGS`, where the runtime puts the pod's name. */
  return Effect.fnUntraced(function*(args: string) {
    const map = yield* Effect.fromResult(parseArgs(args))
    const name = map.get("K8S_POD_NAME") ?? ""
    if (name === "") return anonymous
    const ref = { namespace: map.get("K8S_POD_NAMESPACE") ?? "default", name, uid: map.get("K8S_POD_UID") ?? "" }
    const found = yield* kube.pod(ref)
    if (Option.isNone(found)) return yield* notYet(`pod ${podKey(ref)} does not exist (yet)`)
    const pod = found.value
    if (ref.uid !== "" && pod.uid !== "" && ref.uid !== pod.uid) {
      return yield* notYet(`pod ${podKey(ref)} with UID ${ref.uid} does not exist: there is one with UID ${pod.uid}`)
    }
    return { ...pod, uid: pod.uid || ref.uid }
  })
})
