/** Which of the rights of manifests/rbac.yaml the agent lacks, asked of the API server (authorization.k8s.io/v1). */
import { Effect } from "effect"
import { record } from "../domain/record.ts"
import type { ApiError } from "./access.ts"
import type { Client } from "./client.ts"

export interface Right {
  readonly verb: string
  readonly group: string
  readonly resource: string
  readonly subresource?: string
  readonly namespace?: string
  readonly name?: string
}

const FLOCK = "flock.fritzlab.net"

/** Without those of Secrets, which are granted by name. */
export const RIGHTS: ReadonlyArray<Right> = [
  { verb: "list", group: FLOCK, resource: "nodeconfigs" },
  { verb: "watch", group: FLOCK, resource: "nodeconfigs" },
  { verb: "patch", group: FLOCK, resource: "nodeconfigs", subresource: "status" },
  { verb: "create", group: FLOCK, resource: "nodeconfigs" },
  { verb: "patch", group: FLOCK, resource: "nodeconfigs" },
  { verb: "list", group: FLOCK, resource: "nodeconfigtemplates" },
  { verb: "watch", group: FLOCK, resource: "nodeconfigtemplates" },
  { verb: "patch", group: FLOCK, resource: "nodeconfigtemplates", subresource: "status" },
  { verb: "get", group: "", resource: "pods" },
  { verb: "list", group: "", resource: "pods" },
  { verb: "watch", group: "", resource: "pods" },
  { verb: "get", group: "", resource: "nodes" },
  { verb: "list", group: "", resource: "nodes" },
  { verb: "watch", group: "", resource: "nodes" },
  { verb: "patch", group: "", resource: "nodes", subresource: "status" },
  { verb: "create", group: "", resource: "events" },
  { verb: "patch", group: "", resource: "events" },
  { verb: "list", group: "networking.k8s.io", resource: "networkpolicies" }
]

export const rightsOf = (namespace: string, secrets: ReadonlyArray<string>): ReadonlyArray<Right> => [
  ...RIGHTS,
  ...secrets.flatMap((name) =>
    ["list", "watch"].map((verb) => ({ verb, group: "", resource: "secrets", namespace, name }))
  )
]

/** Such as `patch nodes/status`. */
export const inWords = ({ name, namespace, resource, subresource, verb }: Right): string =>
  `${verb} ${resource}${subresource === undefined ? "" : `/${subresource}`}${
    name === undefined ? "" : ` ${namespace}/${name}`
  }`

const isAllowed = (review: unknown): boolean => record(record(review)["status"])["allowed"] === true

/** In words; empty: none is missing. */
export const missing = (
  client: Client,
  rights: ReadonlyArray<Right>
): Effect.Effect<ReadonlyArray<string>, ApiError> =>
  Effect.forEach(rights, (resourceAttributes) =>
    client.request({
      verb: "create",
      resource: "selfsubjectaccessreviews",
      path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
      body: {
        apiVersion: "authorization.k8s.io/v1",
        kind: "SelfSubjectAccessReview",
        spec: { resourceAttributes }
      }
    }).pipe(Effect.map((review) => isAllowed(review) ? [] : [inWords(resourceAttributes)])), { concurrency: 4 }).pipe(
      Effect.map((lists) => lists.flat())
    )
