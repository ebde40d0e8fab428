/** A pod's addresses, and the Events that tell its owner what it does not get. */
import { Effect, Metric } from "effect"
import { AddressErrorReasons } from "../domain/errors.ts"
import { type PodInfo, podKey } from "../domain/Pod.ts"
import { Ipam } from "../ipam/Ipam.ts"
import type { AddressRequest } from "../ipam/reservation.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { fromZero, seriesOf } from "../process/fromZero.ts"

const refusals = Metric.counter("flock_address_refusals_total", {
  description: "ADDs that got no addresses, by reason",
  incremental: true
})

export const makeReserve = Effect.gen(function*() {
  yield* fromZero(seriesOf(refusals, { reason: AddressErrorReasons }))
  const ipam = yield* Ipam
  const kube = yield* KubeApi

  const tell = (pod: PodInfo, reason: string, message: string) =>
    pod.name === "" ? Effect.void : kube.event({ on: { kind: "Pod", pod }, type: "Warning", reason, message })

  return Effect.fnUntraced(function*(request: AddressRequest) {
    const { pod } = request
    const { addresses, warnings } = yield* ipam.reserve(request).pipe(
      Effect.tapError(({ message, reason }) =>
        Effect.andThen(
          Metric.update(Metric.withAttributes(refusals, { reason }), 1),
          tell(pod, reason === "Exhausted" ? "AddressesExhausted" : "AddressRefused", message)
        )
      )
    )
    for (const warning of warnings) {
      yield* Effect.logWarning(`pod ${podKey(pod)}: ${warning}`)
      yield* tell(pod, "AddressSkipped", warning)
    }
    return addresses
  })
})
