/** What a node that follows a NodeConfigTemplate asks of the API server: templates, its own Node, and two applies. */
import { Effect, type Stream, type SubscriptionRef } from "effect"
import { API_VERSION } from "../domain/NodeConfig.ts"
import { record, records } from "../domain/record.ts"
import type { ApiError } from "./access.ts"
import type { Client } from "./client.ts"
import { makeFollowers } from "./followers.ts"
import { listAndWatch, type Signal } from "./reflector.ts"
import type { BackOff } from "./reflectorState.ts"
import type { Request } from "./request.ts"

/** Of the NodeConfig; whatever else writes into it conflicts, and wins (server-side apply). */
export const FIELD_MANAGER = "flock-agent-template"

/** Of a template's counts, whoever counts. */
const COUNTS_MANAGER = "flock-agent-counts"

/** The part of a Node that templates refer to. */
export interface NodeObject {
  readonly resourceVersion: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly podCIDRs: ReadonlyArray<string>
}

const texts = (value: unknown): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(record(value)).map(([key, text]) => [key, String(text)]))

export const decodeNode = (object: unknown): NodeObject | undefined => {
  const { metadata, spec } = record(object)
  const { annotations, labels, name, resourceVersion } = record(metadata)
  if (typeof name !== "string") return undefined
  const { podCIDR, podCIDRs } = record(spec)
  const list = Array.isArray(podCIDRs) ? podCIDRs : podCIDR === undefined ? [] : [podCIDR]
  return {
    resourceVersion: String(resourceVersion ?? ""),
    labels: texts(labels),
    annotations: texts(annotations),
    podCIDRs: list.map(String)
  }
}

/** Of who manages what, which is most of the object and which every node would hold, only when it was written is looked at. */
export const slimTemplate = (object: unknown): unknown => {
  const { metadata, ...rest } = record(object)
  const { managedFields, ...more } = record(metadata)
  const written = records(managedFields).map(({ subresource, time }) => ({ subresource, time }))
  return { ...rest, metadata: { ...more, managedFields: written } }
}

/** This node's NodeConfig as the API server has it. */
export interface OwnNodeConfig {
  /** The API server has said what there is. */
  readonly listed: boolean
  /** Status and metadata included; undefined: there is none. */
  readonly object: unknown
}

/** Why the node does not follow a template as it should. */
export interface TemplateTrouble {
  /** Of the condition `FollowsTemplate`, UpperCamelCase. */
  readonly reason: string
  readonly message: string
}

export interface FleetApi {
  /** Undefined: nothing is wrong, or it is not known. Set by who follows templates, for what the node says of itself. */
  readonly trouble: SubscriptionRef.SubscriptionRef<TemplateTrouble | undefined>
  /** Every NodeConfigTemplate, as it is. */
  readonly templates: Stream.Stream<Signal<unknown>>
  /** This agent's Node. */
  readonly node: Stream.Stream<Signal<NodeObject>>
  readonly nodeConfig: SubscriptionRef.SubscriptionRef<OwnNodeConfig>
  /** Puts the NodeConfig from before a trial in force here, because the API server does not answer: `FellBack` of `nodeConfigState.ts`. */
  readonly fallBack: (object: unknown, why: string) => Effect.Effect<void>
  /** Server-side apply, without force, of this node's NodeConfig; the answer is the object. */
  readonly applyNodeConfig: (body: unknown) => Effect.Effect<unknown, ApiError>
  /** Server-side apply of this agent's part of a template's status. */
  readonly applyTemplateStatus: (name: string, body: unknown) => Effect.Effect<unknown, ApiError>
  readonly followers: ReturnType<typeof makeFollowers>
  /** Milliseconds that the API server took lately. */
  readonly latency: Effect.Effect<number>
  /** Server-side apply of what all agents write into a template's status alike. */
  readonly applyCounts: (name: string, body: unknown) => Effect.Effect<unknown, ApiError>
}

const templateStatus = (name: string, body: unknown, fieldManager: string): Request => ({
  verb: "patch",
  resource: "nodeconfigtemplates/status",
  path: `/apis/${API_VERSION}/nodeconfigtemplates/${encodeURIComponent(name)}/status`,
  query: { fieldManager, force: "true" },
  patch: "application/apply-patch+yaml",
  body
})

export const make = (
  client: Client,
  nodeName: string,
  { fallBack, nodeConfig, times, trouble }: Pick<FleetApi, "fallBack" | "nodeConfig" | "trouble"> & {
    readonly times: BackOff
  }
): FleetApi => ({
  fallBack,
  nodeConfig,
  trouble,
  templates: listAndWatch(client, {
    name: "nodeconfigtemplates",
    path: `/apis/${API_VERSION}/nodeconfigtemplates`,
    fieldSelector: "",
    decode: slimTemplate
  }, times),
  node: listAndWatch(client, {
    name: "nodes",
    path: "/api/v1/nodes",
    fieldSelector: `metadata.name=${nodeName}`,
    decode: decodeNode
  }, times),
  applyNodeConfig: (body) =>
    client.request({
      verb: "patch",
      resource: "nodeconfigs",
      path: `/apis/${API_VERSION}/nodeconfigs/${nodeName}`,
      query: { fieldManager: FIELD_MANAGER },
      patch: "application/apply-patch+yaml",
      body
    }),
  applyTemplateStatus: (name, body) =>
    Effect.map(client.request(templateStatus(name, body, `flock-agent-${nodeName}`.slice(0, 128))), slimTemplate),
  followers: makeFollowers(client),
  latency: client.latency,
  applyCounts: (name, body) => Effect.map(client.request(templateStatus(name, body, COUNTS_MANAGER)), slimTemplate)
})
