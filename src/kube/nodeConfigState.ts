/**
 * Which NodeConfig is in force. Pure, and the same for an API server and a folder: an event goes in, the next state and
 * what is to be done come out.
 */
import { Option, Result } from "effect"
import {
  decode,
  GENERATION_ANNOTATION,
  ORPHANED_LABEL,
  PROBATION_ANNOTATION,
  specWarnings,
  TEMPLATE_LABEL
} from "../domain/NodeConfig.ts"
import { record } from "../domain/record.ts"
import { type NodeConfigState, NodeConfigUnreadable } from "./KubeApi.ts"

export interface State {
  /** Empty: whatever name the object has (standalone without `--node-name`). */
  readonly nodeName: string
  readonly nodeConfig: NodeConfigState
  /** Whether the source said at least once what there is. */
  readonly listed: boolean
  /** The last event that said what there is, to tell a repeat by. */
  readonly last: string
  /** Why the source does not say what there is now; empty: it does. */
  readonly silence: string
  /** The one on trial that is not in force any more, as `UID/GENERATION`, though the source has it still; empty: none. */
  readonly failed: string
}

/** `source` is where it came from, such as `the API server`, for the log. */
export type Event =
  /** An object of unknown shape, new or as before. */
  | { readonly _tag: "Arrived"; readonly object: unknown; readonly source: string }
  /** The copy of the last good one, before the source was asked. */
  | { readonly _tag: "Restored"; readonly object: unknown; readonly source: string }
  /** `detail` such as `no file /etc/flock/nodeconfig.yaml`, for the log. */
  | { readonly _tag: "Gone"; readonly detail: string }
  /**
   * The newest one failed its trial, and the API server cannot be told: `object` is the one from before, with the metadata of the
   * one that failed. It is in force until the source has another.
   */
  | { readonly _tag: "FellBack"; readonly object: unknown; readonly why: string }
  /** There is something that is not one object. */
  | { readonly _tag: "Unreadable"; readonly place: string; readonly problem: string }
  /** The source does not answer: it is not known what there is. */
  | { readonly _tag: "Unlisted"; readonly reason: string }
  /** It answers again, and nothing is new. */
  | { readonly _tag: "Answered" }

export type Action =
  | { readonly _tag: "Log"; readonly level: "Info" | "Warn" | "Error"; readonly message: string }
  /** A copy for a start without the source. */
  | { readonly _tag: "Save"; readonly object: unknown }
  | { readonly _tag: "Forget" }
  /** For the people who look at the Node: why the newest NodeConfig is not in force. */
  | { readonly _tag: "RecordRejected"; readonly message: string }

export type Step = readonly [State, ReadonlyArray<Action>]

const NONE: NodeConfigState = { current: Option.none(), rejected: Option.none() }

export const initial = (nodeName: string): State => ({
  nodeName,
  nodeConfig: NONE,
  listed: false,
  last: "",
  silence: "",
  failed: ""
})

const log = (level: "Info" | "Warn" | "Error", message: string): Action => ({ _tag: "Log", level, message })

/** What `decode` reads and nothing else: no managed fields, no status, so that our own status writes are no change. */
const trimmed = (object: unknown): unknown => {
  const { apiVersion, kind, metadata, spec } = record(object)
  const { generation, name, uid } = record(metadata)
  const kept = (key: "labels" | "annotations", names: ReadonlyArray<string>) => {
    const found = Object.entries(record(record(metadata)[key])).filter(([name]) => names.includes(name))
    return found.length === 0 ? {} : { [key]: Object.fromEntries(found) }
  }
  const labels = kept("labels", [TEMPLATE_LABEL, ORPHANED_LABEL])
  const annotations = kept("annotations", [GENERATION_ANNOTATION, PROBATION_ANNOTATION])
  return { apiVersion, kind, metadata: { name, uid, generation, ...labels, ...annotations }, spec }
}

const named = (nodeName: string): string => nodeName === "" ? "NodeConfig" : `NodeConfig ${nodeName}`

const rejected = (
  state: State,
  problem: Option.Option.Value<NodeConfigState["rejected"]>,
  last: string
): Step => [
  { ...state, last, nodeConfig: { current: state.nodeConfig.current, rejected: Option.some(problem) } },
  [log("Error", problem.message), { _tag: "RecordRejected", message: problem.message }]
]

const identity = (object: unknown): string => {
  const { generation, uid } = record(record(object)["metadata"])
  return `${String(uid)}/${String(generation)}`
}

/** As long as it says itself that it is on trial from a template: without its label it is what an operator wants. */
const isOnTrial = (object: unknown): boolean => {
  const { annotations, labels } = record(record(object)["metadata"])
  return TEMPLATE_LABEL in record(labels) && PROBATION_ANNOTATION in record(annotations)
}

const fellBack = (state: State, object: unknown, why: string): Step => {
  const kept = trimmed(object)
  return Result.match(decode(state.nodeName, kept), {
    // It was in force before.
    onFailure: (): Step => [state, []],
    onSuccess: (config): Step => [
      {
        ...state,
        last: JSON.stringify(kept),
        failed: identity(object),
        nodeConfig: { current: Option.some(config), rejected: Option.none() }
      },
      [
        log(
          "Warn",
          `${named(state.nodeName)} is as it was before its trial, though the API server has not heard of it: ${why}`
        ),
        { _tag: "Save", object: kept }
      ]
    ]
  })
}

const arrived = (before: State, object: unknown, source: string, save: boolean): Step => {
  if (before.failed !== "" && before.failed === identity(object) && isOnTrial(object)) return [before, []]
  const state = before.failed === "" ? before : { ...before, failed: "" }
  const kept = trimmed(object)
  const last = JSON.stringify(kept)
  if (last === state.last) return [state, []]
  const name = state.nodeName === "" ? String(record(record(object)["metadata"])["name"] ?? "") : state.nodeName
  return Result.match(decode(name, kept), {
    onFailure: (invalid) => rejected(state, invalid, last),
    onSuccess: (config): Step => [
      { ...state, last, nodeConfig: { current: Option.some(config), rejected: Option.none() } },
      [
        log("Info", `${named(name)} generation ${config.generation} from ${source}`),
        ...specWarnings(config.spec).map((words) => log("Warn", words)),
        ...(save ? [{ _tag: "Save", object: kept } as const] : [])
      ]
    ]
  })
}

const gone = (state: State, detail: string): Step => {
  if (state.last === "gone") return [state, []]
  const had = Option.isSome(state.nodeConfig.current) || Option.isSome(state.nodeConfig.rejected)
  const what = `${named(state.nodeName)} ${had ? "was deleted" : "does not exist"} (${detail})`
  return [
    { ...state, last: "gone", nodeConfig: NONE },
    [log("Warn", `${what}: no pod can be added until there is one`), { _tag: "Forget" }]
  ]
}

const unlisted = (state: State, reason: string): Step => {
  if (reason === state.silence) return [state, []]
  const unknown = `it is not known whether there is a ${named(state.nodeName)}: ${reason}`
  return [
    { ...state, silence: reason, ...(state.listed ? {} : { nodeConfig: { ...state.nodeConfig, unknown } }) },
    [log("Warn", state.listed ? `${named(state.nodeName)} is kept as it was: ${reason}` : unknown)]
  ]
}

/** The source has said what there is: no doubt is left. */
const heard = (state: State): State => {
  if (state.listed && state.silence === "") return state
  const { unknown, ...nodeConfig } = state.nodeConfig
  return { ...state, listed: true, silence: "", ...(unknown === undefined ? {} : { nodeConfig }) }
}

/** A repeat gives back the same state and no action. What is wrong leaves the former NodeConfig in force; what is gone does not. */
export const step = (state: State, event: Event): Step => {
  switch (event._tag) {
    case "Restored":
      return arrived(state, event.object, event.source, false)
    case "Arrived":
      return arrived(heard(state), event.object, event.source, true)
    case "Gone":
      return gone(heard(state), event.detail)
    case "FellBack":
      return fellBack(state, event.object, event.why)
    case "Unreadable": {
      const next = heard(state)
      const unreadable = new NodeConfigUnreadable({ place: event.place, problem: event.problem })
      const last = `unreadable ${unreadable.message}`
      return last === next.last ? [next, []] : rejected(next, unreadable, last)
    }
    case "Unlisted":
      return unlisted(state, event.reason)
    case "Answered":
      return [state.silence === "" ? state : { ...state, silence: "" }, []]
  }
}

/** Whether the event brings a NodeConfig that can be in force. */
export const isValid = (nodeName: string, event: Event): boolean =>
  Option.isSome(step(initial(nodeName), event)[0].nodeConfig.current)
