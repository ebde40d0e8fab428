/**
 * When this node counts the NodeConfigs that were made from a template, and when it leaves that to others. Nobody leads:
 * whoever sees that the counts are behind waits for a time by chance, counts, and writes down up to which version of the
 * NodeConfigs it has counted; those who see that this covers their own change have nothing left to do. Pure.
 */
import { GENERATION_ANNOTATION, ORPHANED_LABEL, TEMPLATE_LABEL } from "../domain/NodeConfig.ts"
import type { TemplateCounts } from "../domain/NodeConfigTemplate.ts"
import { record, records } from "../domain/record.ts"
import { isNewer, versionOf } from "./objects.ts"

/** What is looked at of a template. */
export interface Counted {
  readonly name: string
  readonly generation: number
  /** Undefined: nobody has counted yet. */
  readonly counts: TemplateCounts | undefined
}

/** In place of a version: no count but one from the newest state will do, for the NodeConfig that was counted is gone. */
export const NEWEST = "newest"

interface Entry {
  /** What this node adds to the counts, as text; empty: nothing. */
  readonly part: string
  /** Of the NodeConfig since which it is so, or {@link NEWEST}; empty: no count has to be as new as any. */
  readonly version: string
  /** Of the counts that were seen last. */
  readonly seen: string
  readonly behind: boolean
  /** When to count, milliseconds of a monotonic clock. */
  readonly due: number
}

/** By the template's name. */
export type State = ReadonlyMap<string, Entry>

export interface Seen {
  readonly templates: ReadonlyArray<Counted>
  /** This node's NodeConfig; undefined: there is none. */
  readonly nodeConfig: unknown
  /** Milliseconds of a monotonic clock. */
  readonly now: number
  /** From 0 (inclusive) to 1. */
  readonly chance: number
  /** Milliseconds that the API server took to answer lately. */
  readonly latency: number
}

/** Counts that nothing has changed since are still made true so often: a node that is gone says nothing. Milliseconds. */
export const REFRESH_MILLIS = 300_000
const REFRESH_SPREAD_MILLIS = 60_000
/** Nodes that a template has, as long as nobody has counted them. */
const UNKNOWN_NODES = 1000

/** Whoever counts is heard of only after so long; meanwhile others must not begin, least of all where the server is slow. */
const LATENCIES = 30

/** Within this time somebody has counted: milliseconds for so many nodes, and a server that takes so long. */
export const spreadOf = (nodes: number, latency = 0): number =>
  Math.max(Math.min(30_000, 2000 + 10 * nodes), LATENCIES * latency)

/**
 * Milliseconds to wait, at most `most`, so that of `nodes` that begin to wait at once few count before the first has said
 * so: most wait for long, whoever is early is nearly alone (RFC 5740, section 5.2, RandomBackoff).
 */
export const backoff = (most: number, nodes: number, chance: number): number => {
  const lambda = Math.log(Math.max(nodes, 1)) + 1
  return most / lambda * Math.log(chance * Math.expm1(lambda) + 1)
}

/** What the NodeConfig adds to the counts of `template`. */
const partOf = (nodeConfig: unknown, template: string): string => {
  const { metadata, status } = record(nodeConfig)
  const { annotations, labels } = record(metadata)
  if (record(labels)[TEMPLATE_LABEL] !== template || ORPHANED_LABEL in record(labels)) return ""
  const ready = records(record(status)["conditions"]).find(({ type }) => type === "Ready")
  return `generation ${String(record(annotations)[GENERATION_ANNOTATION])}, Ready ${String(ready?.["status"])}`
}

const covers = (
  { observedGeneration, resourceVersion }: TemplateCounts,
  { generation }: Counted,
  version: string
): boolean =>
  observedGeneration >= generation && version !== NEWEST && (version === "" || isNewer(resourceVersion, version))

const entryOf = (before: Entry | undefined, template: Counted, { chance, latency, nodeConfig, now }: Seen): Entry => {
  const { counts, name } = template
  const part = partOf(nodeConfig, name)
  // Not known from before: whether it was counted is not known either.
  const changed = part !== (before?.part ?? "")
  const version = !changed ? before?.version ?? "" : nodeConfig === undefined ? NEWEST : versionOf(nodeConfig)
  const seen = counts === undefined ? "" : `${counts.resourceVersion} at ${counts.at}`
  const behind = counts === undefined || !covers(counts, template, version)
  const nodes = counts?.nodes ?? UNKNOWN_NODES
  // Whoever is behind what was just counted waits anew, so that counts keep their distance.
  if (before !== undefined && before.behind === behind && before.seen === seen) {
    return { ...before, part, version }
  }
  const due = behind
    ? now + backoff(spreadOf(nodes, latency), nodes, chance)
    // Nodes that follow it come first; the others count where none of them is left.
    : now + REFRESH_MILLIS * (part === "" ? 2 : 1) + backoff(REFRESH_SPREAD_MILLIS, nodes, chance)
  return { part, version, seen, behind, due }
}

export interface ToCount {
  readonly template: string
  /** That the list has to be as new as; {@link NEWEST}, or empty: any. */
  readonly version: string
}

export interface Look {
  readonly state: State
  readonly count: ToCount | undefined
  /** Milliseconds after which to look again though nothing changed; undefined: there are no templates. */
  readonly lookIn: number | undefined
}

export const look = (before: State, seen: Seen): Look => {
  const state = new Map(seen.templates.map((it) => [it.name, entryOf(before.get(it.name), it, seen)]))
  const [first] = [...state].toSorted(([, a], [, b]) => a.due - b.due)
  if (first === undefined) return { state, count: undefined, lookIn: undefined }
  const [template, { due, version }] = first
  return {
    state,
    count: due <= seen.now ? { template, version } : undefined,
    lookIn: Math.max(0, due - seen.now)
  }
}

/** It was counted here, up to that version of the NodeConfigs. */
export const counted = (state: State, template: string, version: string): State => {
  const entry = state.get(template)
  return entry === undefined ? state : new Map(state).set(template, { ...entry, version, seen: "counted here" })
}

/** It could not be counted, or not written: later. `millis`: at the earliest. */
export const postponed = (
  state: State,
  template: string,
  { chance, latency, now }: Pick<Seen, "chance" | "latency" | "now">,
  millis: number
): State => {
  const entry = state.get(template)
  return entry === undefined
    ? state
    : new Map(state).set(template, {
      ...entry,
      due: now + millis + backoff(spreadOf(UNKNOWN_NODES, latency), UNKNOWN_NODES, chance)
    })
}
