/** Answers of the API server, counted. */
import { Metric } from "effect"
import { fromZero, seriesOf } from "../process/fromZero.ts"
import type { Request } from "./request.ts"

const requests = Metric.counter("flock_kube_requests_total", {
  description: "Answers of the API server by verb, resource and status code (0: no answer)",
  incremental: true
})

/** What an agent asks for, by resource. */
const asked: Readonly<Record<string, ReadonlyArray<Request["verb"]>>> = {
  pods: ["list", "watch", "get"],
  nodeconfigs: ["list", "watch"],
  secrets: ["list", "watch"],
  nodes: ["get"],
  "nodes/status": ["patch"],
  "nodeconfigs/status": ["patch"],
  events: ["create", "patch"],
  networkpolicies: ["list"],
  readyz: ["get"]
}

/** Answers that an operator looks for: done, none, not allowed, too many, broken. */
const answersTo = (verb: string) => [verb === "create" ? "201" : "200", "0", "401", "403", "429", "500", "503"]

/** The series of the usual answers; one with another code appears with its first answer. */
export const started = fromZero(
  Object.entries(asked).flatMap(([resource, verbs]) =>
    verbs.flatMap((verb) => seriesOf(requests, { verb: [verb], resource: [resource], code: answersTo(verb) }))
  )
)

/** Counts an answer. `status` 0: none came. */
export const count = ({ resource, verb }: Request, status: number) =>
  Metric.update(Metric.withAttributes(requests, { verb, resource, code: String(status) }), 1)
