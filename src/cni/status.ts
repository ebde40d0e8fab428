/** STATUS: can ADD be served? (CNI spec 1.1.0, section 4: codes 50 and 51) */
import { Effect, Option, SubscriptionRef } from "effect"
import { Bird } from "../bird/Bird.ts"
import { Ipam } from "../ipam/Ipam.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { existingAffected, newAffected } from "../report/health.ts"
import { CniFailure, Code } from "./spec.ts"

export const makeStatus = Effect.gen(function*() {
  const bird = yield* Bird
  const ipam = yield* Ipam
  const kube = yield* KubeApi

  return Effect.gen(function*() {
    const nodeConfig = yield* SubscriptionRef.get(kube.nodeConfig)
    const usage = Option.isSome(nodeConfig.current) ? yield* ipam.usage(nodeConfig.current.value.spec) : {}
    const facts = { nodeConfig, usage, bird: yield* bird.lastStatus }
    const existing = existingAffected(facts)
    const problems = [newAffected(facts), existing].filter((problem) => problem !== undefined)
    if (problems.length > 0) {
      return yield* new CniFailure({
        code: existing === undefined ? Code.NOT_AVAILABLE : Code.NOT_AVAILABLE_LIMITED,
        message: problems.join("; ")
      })
    }
  })
})
