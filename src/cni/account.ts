/** Metrics and log of a call. */
import { Effect, Metric } from "effect"
import type { Request } from "../domain/Wire.ts"
import { fromZero, seriesOf } from "../process/fromZero.ts"
import { type CniFailure, Code, isVerb, VERBS } from "./spec.ts"

const seconds = Metric.histogram("flock_cni_duration_seconds", {
  description: "Time from a CNI request to its reply",
  boundaries: [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 4, 16, 64]
})
const calls = Metric.counter("flock_cni_calls_total", {
  description: "CNI calls by verb and CNI error code (0: success)",
  incremental: true
})

const verbs = [...VERBS, "other"]

/** Codes that one verb alone can end with. */
const codesOf: Readonly<Record<string, ReadonlyArray<number>>> = {
  ADD: [Code.ADDRESSES],
  CHECK: [Code.CHECK_FAILED],
  STATUS: [Code.NOT_AVAILABLE, Code.NOT_AVAILABLE_LIMITED]
}
const oneVerbs = new Set(Object.values(codesOf).flat())
const everyVerbs = [0, ...Object.values(Code).filter((code) => !oneVerbs.has(code))]

export const started = fromZero([
  ...seriesOf(seconds, { verb: verbs }),
  ...verbs.flatMap((verb) =>
    seriesOf(calls, { verb: [verb], code: [...everyVerbs, ...codesOf[verb] ?? []].map(String) })
  )
])

/**
 * The node's fault is an operator's to mend; the rest is the pod's, or passes. A runtime asks for STATUS every 5 s, and why
 * no pod can be added is logged where it comes to be so.
 */
const levelOf = (verb: string, code: number) =>
  verb === "STATUS" ? "Debug" : code === Code.KERNEL || code === Code.IO_FAILURE ? "Error" : "Warn"

export const account = Effect.fnUntraced(function*(request: Request, milliseconds: number, failure?: CniFailure) {
  const { containerId, ifName, op } = request
  // A label of any text would let a caller fill the memory.
  const verb = isVerb(op) ? op : "other"
  const code = failure?.code ?? 0
  yield* Metric.update(Metric.withAttributes(seconds, { verb }), milliseconds / 1000)
  yield* Metric.update(Metric.withAttributes(calls, { verb, code: String(code) }), 1)
  const about = { verb, containerId, ifName, milliseconds: Math.round(milliseconds * 100) / 100 }
  if (failure !== undefined) {
    yield* Effect.logWithLevel(levelOf(verb, code))(`${op} refused: ${failure.message}`).pipe(
      Effect.annotateLogs({ ...about, code })
    )
  } else if (op === "ADD" || op === "DEL") {
    yield* Effect.logInfo(`${op} done`).pipe(Effect.annotateLogs(about))
  }
})
