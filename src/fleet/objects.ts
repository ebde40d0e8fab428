/** What is written of a decision, as the API server takes it. Pure. */
import {
  API_VERSION,
  GENERATION_ANNOTATION,
  HASH_ANNOTATION,
  ORPHANED_LABEL,
  PROBATION_ANNOTATION,
  TEMPLATE_LABEL
} from "../domain/NodeConfig.ts"
import { TEMPLATE_KIND, type TemplateFailure } from "../domain/NodeConfigTemplate.ts"
import { oneLine } from "../domain/quote.ts"
import { record, records } from "../domain/record.ts"
import { FIELD_MANAGER } from "../kube/fleetApi.ts"
import type { Wanted } from "./decision.ts"
import { halts } from "./failures.ts"

/** The CRD's bound. */
const MAX_MESSAGE = 2048

export const versionOf = (object: unknown): string =>
  String(record(record(object)["metadata"])["resourceVersion"] ?? "")

/** Whether `a` is not older than `b`: versions of one resource are numbers that grow (Kubernetes 1.35 says so; etcd's always did). */
export const isNewer = (a: string, b: string): boolean =>
  /^\d+$/.test(a) && /^\d+$/.test(b) ? BigInt(a) >= BigInt(b) : true

/** Where the object is as it was seen: whoever changed it meanwhile is looked at first. */
const asSeen = (nodeConfig: unknown) => {
  const { resourceVersion, uid } = record(record(nodeConfig)["metadata"])
  return resourceVersion === undefined ? {} : { resourceVersion, uid }
}

/** `nodeConfig`: the object as it was decided on; undefined: there was none. */
export const nodeConfigBody = (node: string, wanted: Wanted, nodeConfig: unknown): unknown => ({
  apiVersion: API_VERSION,
  kind: "NodeConfig",
  metadata: {
    name: node,
    ...asSeen(nodeConfig),
    labels: { [TEMPLATE_LABEL]: wanted.template },
    annotations: {
      [GENERATION_ANNOTATION]: String(wanted.generation),
      [HASH_ANNOTATION]: wanted.hash,
      ...(wanted.probation === undefined ? {} : { [PROBATION_ANNOTATION]: JSON.stringify(wanted.probation) })
    }
  },
  spec: wanted.spec
})

/** As it is, with the label: everything that this manager applied before stands in it again, for what is left out would go. */
export const orphanBody = (node: string, nodeConfig: unknown): unknown => {
  const { metadata, spec } = record(nodeConfig)
  const { annotations, labels } = record(metadata)
  const kept = (of: unknown, keys: ReadonlyArray<string>) =>
    Object.fromEntries(Object.entries(record(of)).filter(([key]) => keys.includes(key)))
  return {
    apiVersion: API_VERSION,
    kind: "NodeConfig",
    metadata: {
      name: node,
      ...asSeen(nodeConfig),
      labels: { ...kept(labels, [TEMPLATE_LABEL]), [ORPHANED_LABEL]: "true" },
      annotations: kept(annotations, [GENERATION_ANNOTATION, HASH_ANNOTATION])
    },
    spec
  }
}

/** Gives up every field that this manager applied; what somebody else wrote as well stays. */
export const releaseBody = (node: string): unknown => ({
  apiVersion: API_VERSION,
  kind: "NodeConfig",
  metadata: { name: node }
})

/** A NodeConfig that came between the look and the write: somebody else has written of its spec too. */
export const isSomebodyElses = (nodeConfig: unknown): boolean => {
  const { managedFields } = record(record(nodeConfig)["metadata"])
  return records(managedFields).some((entry) =>
    entry["manager"] !== FIELD_MANAGER && "f:spec" in record(entry["fieldsV1"])
  )
}

/** This node's part of the status; without a failure nothing, and so what it had there goes. `now`: RFC 3339. */
export const templateStatusBody = (template: string, failure: TemplateFailure | undefined, now: string): unknown => {
  const message = failure && oneLine(failure.message).slice(0, MAX_MESSAGE)
  return {
    apiVersion: API_VERSION,
    kind: TEMPLATE_KIND,
    metadata: { name: template },
    ...(failure === undefined ? {} : {
      status: {
        failures: [{ ...failure, message }],
        ...(halts(failure)
          ? {
            conditions: [{
              type: "Halted",
              status: "True",
              reason: failure.reason,
              message: `${failure.node}: ${message}`,
              observedGeneration: failure.generation,
              lastTransitionTime: now
            }]
          }
          : {})
      }
    })
  }
}
