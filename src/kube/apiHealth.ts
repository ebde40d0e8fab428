/** How the API server hears and answers this agent, for `status`, `doctor`, readyz and the gauge. Pure. */
import { Schema } from "effect"

export const WatchStatus = Schema.Struct({
  /** Of RBAC, such as `pods`. */
  resource: Schema.String,
  /** The only object that is watched, such as a Secret's name. */
  object: Schema.optionalKey(Schema.String),
  /** False: nothing came since the agent asks. */
  ever: Schema.Boolean,
  /** Since something came: an answer, an event or a bookmark. */
  silentSeconds: Schema.Number
})
export interface WatchStatus extends Schema.Schema.Type<typeof WatchStatus> {}

/** What the API server refuses, or does not answer, since the last time that it did. */
export const Refusal = Schema.Struct({
  /** Of RBAC. */
  verb: Schema.String,
  resource: Schema.String,
  /** HTTP status; 0: no answer. */
  status: Schema.Number,
  /** What was asked, and the server's words. */
  message: Schema.String,
  /** The last time, in RFC 3339. */
  at: Schema.String
})
export interface Refusal extends Schema.Schema.Type<typeof Refusal> {}

/** NetworkPolicies of the cluster. */
export const Policies = Schema.Struct({
  /** One of them, as `namespace/name`. */
  example: Schema.String,
  count: Schema.Number
})
export interface Policies extends Schema.Schema.Type<typeof Policies> {}

export const ApiHealth = Schema.Struct({
  watches: Schema.Array(WatchStatus),
  refused: Schema.Array(Refusal),
  /** Absent: none, or not known. */
  policies: Schema.optionalKey(Policies),
  /** How far this node's clock is ahead of the API server's; absent: nothing was answered yet. */
  clockAheadSeconds: Schema.optionalKey(Schema.Number)
})
export interface ApiHealth extends Schema.Schema.Type<typeof ApiHealth> {}

/** A healthy watch is opened anew before 150 s, and being opened is an answer. */
export const DEAF_SECONDS = 180

export const nameOf = ({ object, resource }: Pick<WatchStatus, "object" | "resource">): string =>
  object === undefined ? resource : `${resource} ${object}`

/** Watches of which too long nothing was heard. */
export const deaf = ({ watches }: ApiHealth): ReadonlyArray<WatchStatus> =>
  watches.filter(({ silentSeconds }) => silentSeconds >= DEAF_SECONDS)

const silence = (watches: ReadonlyArray<WatchStatus>): string =>
  watches.map((watch) =>
    `${nameOf(watch)} ${
      watch.ever ? `not heard for ${watch.silentSeconds} s` : `never heard in ${watch.silentSeconds} s`
    }`
  ).join(", ")

/**
 * Why the agent does not know what Kubernetes wants now; undefined: it does. A Secret's watch does not count: what a peer
 * lacks is said of the peer.
 */
export const deafInWords = (health: ApiHealth | undefined): string | undefined => {
  const watches = health === undefined ? [] : deaf(health).filter(({ resource }) => resource !== "secrets")
  return watches.length === 0
    ? undefined
    : [
      "the API server is not heard, so that the node stays as it was: " + silence(watches),
      ...reasonOf(health, watches)
    ]
      .join("; ")
}

const reasonOf = (health: ApiHealth | undefined, watches: ReadonlyArray<WatchStatus>): ReadonlyArray<string> =>
  (health?.refused ?? []).filter(({ resource }) => watches.some((watch) => watch.resource === resource))
    .slice(0, 1).map(({ message }) => message)

/** True whatever else enforces them; undefined: there are none. */
export const policiesInWords = (health: ApiHealth | undefined): string | undefined =>
  health?.policies === undefined
    ? undefined
    : `flock enforces none of the cluster's NetworkPolicies (${health.policies.count}, such as ${health.policies.example})`

/** One line of words for each watch that is heard, the longest silence first. */
export const heardInWords = ({ watches }: ApiHealth): string =>
  watches.toSorted((a, b) => b.silentSeconds - a.silentSeconds)
    .map((watch) => `${nameOf(watch)} ${watch.ever ? `${watch.silentSeconds} s ago` : "not yet"}`).join(", ")
