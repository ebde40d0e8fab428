/** The words that the parts of a decision share: what is looked at, and what may come of it. Pure. */
import type { NodeConfigTemplate, TemplateFailure } from "../domain/NodeConfigTemplate.ts"
import type { TemplateTrouble } from "../kube/fleetApi.ts"
import type { Probation } from "./current.ts"
import type { NodeFacts } from "./resolve.ts"

/** How the node is, with the NodeConfig of `generation`. */
export interface Health {
  /** `metadata.generation` of the newest NodeConfig that the agent has seen, whether it is in force or refused. */
  readonly generation: number
  /** Why that one is not in force; undefined: it is. */
  readonly rejected: string | undefined
  /** Why BIRD does not run what it asks for; undefined: it does, or BIRD is somebody else's. */
  readonly refusedByBird: string | undefined
  readonly established: number
  /** Sessions that are configured. */
  readonly sessions: number
  /** Milliseconds since there were more of them; infinite: not since the agent runs. */
  readonly fewerFor: number
  /** What is wrong with those that are not Established, in words; empty: nothing is known. */
  readonly trouble: string
}

/** An apply that was refused: somebody else manages a field of the NodeConfig. */
export interface Conflict {
  /** Of the spec that was to be written. */
  readonly hash: string
  /** `metadata.generation` of the NodeConfig that it was refused for. */
  readonly observed: number
  readonly message: string
}

/** Why a node could not follow, as far as it does not say who and when. */
export type Failure = Pick<TemplateFailure, "reason" | "message" | "hash" | "alone">

/** A trial that failed while the API server did not answer: the node has gone back by itself, and that stands. */
export interface FellBack {
  /** `metadata.generation` of the NodeConfig that failed. */
  readonly observed: number
  readonly failure: Failure
}

export interface World {
  readonly node: NodeFacts
  readonly templates: ReadonlyArray<NodeConfigTemplate>
  /** The node's NodeConfig as the API server has it; undefined: there is none. */
  readonly nodeConfig: unknown
  readonly health: Health
  /** The last one; it holds as long as neither side has changed. */
  readonly conflict?: Conflict | undefined
  readonly fellBack?: FellBack | undefined
  /** Milliseconds of the epoch. */
  readonly now: number
  /** How long a NodeConfig is on trial. */
  readonly probationMillis: number
}

/** The NodeConfig to write, by server-side apply. */
export interface Wanted {
  readonly template: string
  readonly generation: number
  readonly hash: string
  readonly spec: unknown
  readonly probation: Probation | undefined
}

export type Action =
  | { readonly _tag: "Apply"; readonly wanted: Wanted; readonly why: string }
  /** The label that says so; the spec stays. */
  | { readonly _tag: "Orphan"; readonly why: string }
  /** This node's own entry in the status of a template; undefined: none. */
  | { readonly _tag: "Report"; readonly template: string; readonly failure: TemplateFailure | undefined }

export interface Decision {
  readonly actions: ReadonlyArray<Action>
  /** In words, for `status` and the condition. */
  readonly words: string
  /** Why the node does not follow its template as it should; undefined: it does. */
  readonly trouble?: TemplateTrouble
  /** A trial failed: what to do where the API server cannot be told; undefined: no trial failed, or there was nothing before. */
  readonly fallBack?: FellBack & { readonly spec: unknown }
  /** Milliseconds after which to look again though nothing changed; undefined: not needed. */
  readonly lookIn?: number
}
