/** What a NodeConfig says of the template that it was made from: its label and annotations, read. Pure. */
import {
  GENERATION_ANNOTATION,
  HASH_ANNOTATION,
  ORPHANED_LABEL,
  PROBATION_ANNOTATION,
  TEMPLATE_LABEL
} from "../domain/NodeConfig.ts"
import { isRecord, record } from "../domain/record.ts"

/** What is kept of the NodeConfig that a trial began from. */
export interface Former {
  readonly spec: unknown
  readonly generation: number
  readonly hash: string
}

export interface Probation {
  /** RFC 3339. */
  readonly since: string
  /** Sessions that were Established before. */
  readonly established: number
  /** It was taken for what changed on this node alone, not for an edit. */
  readonly alone?: true
  /** Undefined: there was no NodeConfig, so there is nothing to go back to. */
  readonly former?: Former
}

export interface Current {
  readonly template: string
  readonly generation: number
  readonly hash: string
  readonly orphaned: boolean
  readonly observed: number
  readonly spec: unknown
  readonly probation: Probation | undefined
}

const parseProbation = (text: unknown): Probation | undefined => {
  try {
    const parsed: unknown = typeof text === "string" ? JSON.parse(text) : undefined
    if (!isRecord(parsed) || typeof parsed["since"] !== "string") return undefined
    const former = parsed["former"]
    return {
      since: parsed["since"],
      established: Number(parsed["established"] ?? 0),
      ...(parsed["alone"] === true ? { alone: true } : {}),
      ...(isRecord(former)
        ? {
          former: { spec: former["spec"], generation: Number(former["generation"]), hash: String(former["hash"]) }
        }
        : {})
    }
  } catch {
    return undefined
  }
}

/** Undefined: it was not made from a template. */
export const currentOf = (nodeConfig: unknown): Current | undefined => {
  const { metadata, spec } = record(nodeConfig)
  const { annotations, generation, labels } = record(metadata)
  const template = record(labels)[TEMPLATE_LABEL]
  if (typeof template !== "string") return undefined
  const notes = record(annotations)
  return {
    template,
    generation: Number(notes[GENERATION_ANNOTATION] ?? 0),
    hash: String(notes[HASH_ANNOTATION] ?? ""),
    orphaned: ORPHANED_LABEL in record(labels),
    observed: Number(generation ?? 0),
    spec,
    probation: parseProbation(notes[PROBATION_ANNOTATION])
  }
}

/** What to go back to: never what is on trial itself. */
export const proven = ({ generation, hash, probation, spec }: Current): Former =>
  probation?.former ?? { spec, generation, hash }
