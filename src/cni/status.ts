/**
 * STATUS: can ADD be served? (CNI spec 1.1.0, section 4: codes 50 and 51.) Nothing else is an error here. go-cni asks every
 * 5 s and containerd makes of any error, 51 as well, a node that is not Ready: no sandbox is made, and after five minutes its
 * pods are evicted (containerd/go-cni#123). A router that is away is no reason for that; nor is a full prefix.
 */
import { Effect, SubscriptionRef } from "effect"
import { Bird } from "../bird/Bird.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { existingAffected, newAffected, type Reach } from "../report/health.ts"
import { CniFailure, Code } from "./spec.ts"

export const judge = (facts: Reach): CniFailure | undefined => {
  const fresh = newAffected(facts)
  const existing = existingAffected(facts)
  if (fresh === undefined) return undefined
  return existing === undefined
    ? new CniFailure({ code: Code.NOT_AVAILABLE, message: fresh })
    : new CniFailure({ code: Code.NOT_AVAILABLE_LIMITED, message: `${fresh}; ${existing}` })
}

export const makeStatus = Effect.gen(function*() {
  const bird = yield* Bird
  const kube = yield* KubeApi

  return Effect.gen(function*() {
    const nodeConfig = yield* SubscriptionRef.get(kube.nodeConfig)
    const failure = judge({ nodeConfig, usage: {}, bird: yield* bird.lastStatus })
    if (failure !== undefined) return yield* failure
  })
})
