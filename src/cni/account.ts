/** Metrics and log of a call. */
import { Effect, Metric } from "effect"
import type { Request } from "../domain/Wire.ts"
import { type CniFailure, isVerb } from "./spec.ts"

const seconds = Metric.histogram("flock_cni_duration_seconds", {
  description: "Time from a CNI request to its reply",
  boundaries: [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 4, 16, 64]
})
const calls = Metric.counter("flock_cni_calls_total", {
  description: "CNI calls by verb and CNI error code (0: success)",
  incremental: true
})

export const account = Effect.fnUntraced(function*(request: Request, milliseconds: number, failure?: CniFailure) {
  const { containerId, ifName, op } = request
  // A label of any text would let a caller fill the memory.
  const verb = isVerb(op) ? op : "other"
  const code = failure?.code ?? 0
  yield* Metric.update(Metric.withAttributes(seconds, { verb }), milliseconds / 1000)
  yield* Metric.update(Metric.withAttributes(calls, { verb, code: String(code) }), 1)
  const about = { verb, containerId, ifName, milliseconds: Math.round(milliseconds * 100) / 100 }
  if (failure !== undefined) {
    yield* Effect.logWarning(`${op} refused: ${failure.message}`).pipe(Effect.annotateLogs({ ...about, code }))
  } else if (op === "ADD" || op === "DEL") {
    yield* Effect.logInfo(`${op} done`).pipe(Effect.annotateLogs(about))
  }
})
