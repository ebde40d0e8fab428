/**
 * `NodeConfigTemplate` (flock.fritzlab.net/v1alpha1): one object from which many nodes' agents each write their own
 * NodeConfig. `manifests/crd-template.yaml` says the same to the API server.
 */
import { Data, Effect, Result, Schema } from "effect"
import { API_VERSION } from "./NodeConfig.ts"
import { quote } from "./quote.ts"
import { isRecord, record, records } from "./record.ts"
import { type Problem, problemsOf } from "./schemaProblems.ts"

export const TEMPLATE_KIND = "NodeConfigTemplate"

/** Of a template, by an operator: the generation that goes on although a node has halted it. */
export const RESUME_ANNOTATION = "flock.fritzlab.net/resume"

const withDefault = <S extends Schema.Top>(schema: S, value: S["Encoded"]) =>
  schema.pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)))

/** meta/v1 LabelSelector. */
export const LabelSelector = Schema.Struct({
  matchLabels: withDefault(Schema.Record(Schema.String, Schema.String), {}),
  matchExpressions: withDefault(
    Schema.Array(Schema.Struct({
      key: Schema.String,
      operator: Schema.Literals(["In", "NotIn", "Exists", "DoesNotExist"]).annotate({
        message: "must be one of In, NotIn, Exists, DoesNotExist"
      }),
      values: withDefault(Schema.Array(Schema.String), [])
    })),
    []
  )
})
export type LabelSelector = typeof LabelSelector.Type

const Whole = Schema.Number.pipe(Schema.check(Schema.isInt({ message: "must be a whole number" })))

const between = (minimum: number, maximum: number) =>
  Whole.pipe(Schema.check(Schema.isBetween({ minimum, maximum }, { message: `must be ${minimum} to ${maximum}` })))

export const TemplateSpec = Schema.Struct({
  nodeSelector: LabelSelector,
  /** The highest of those that fit a node wins. */
  priority: withDefault(between(-1_000_000, 1_000_000), 0),
  rollout: withDefault(
    Schema.Struct({
      /** An edit reaches the nodes spread over this time. */
      seconds: withDefault(between(0, 86_400), 300)
    }),
    {}
  ),
  /** A NodeConfigSpec with {@link file://./../fleet/resolve.ts} references in place of values. */
  template: Schema.Record(Schema.String, Schema.Unknown)
})
export type TemplateSpec = typeof TemplateSpec.Type

/** Why a node did not take a generation of a template. */
export interface TemplateFailure {
  readonly node: string
  readonly generation: number
  /** UpperCamelCase. */
  readonly reason: string
  readonly message: string
  /** It failed after the generation had been resumed, and is not tried there again. */
  readonly resumed: boolean
  /** Of the spec that failed on trial: another one, from other labels, is tried. Undefined: there was no trial. */
  readonly hash?: string | undefined
  /** The node had changed alone, by its own labels, annotations or podCIDRs: nobody waits for it. */
  readonly alone?: boolean | undefined
}

export interface NodeConfigTemplate {
  readonly name: string
  readonly uid: string
  readonly generation: number
  readonly spec: TemplateSpec
  /** When its spec was last written, milliseconds of the epoch, by the API server's clock; undefined where it does not say. */
  readonly editedAt: number | undefined
  /** From {@link RESUME_ANNOTATION}. */
  readonly resumed: number | undefined
  readonly failures: ReadonlyArray<TemplateFailure>
}

/** `status.counts`: of the NodeConfigs that were made from it. */
export interface TemplateCounts {
  readonly nodes: number
  readonly updated: number
  readonly ready: number
  /** `metadata.generation` of the template that `updated` is of. */
  readonly observedGeneration: number
  /** Of the list of NodeConfigs that was counted. */
  readonly resourceVersion: string
  /** When, RFC 3339. */
  readonly at: string
}

/** Undefined: nobody has counted. */
export const countsOf = (template: unknown): TemplateCounts | undefined => {
  const { counts } = record(record(template)["status"])
  if (!isRecord(counts)) return undefined
  const number = (name: string) => Number(counts[name] ?? 0)
  return {
    nodes: number("nodes"),
    updated: number("updated"),
    ready: number("ready"),
    observedGeneration: number("observedGeneration"),
    resourceVersion: String(counts["resourceVersion"] ?? ""),
    at: String(counts["at"] ?? "")
  }
}

export class TemplateInvalid extends Data.TaggedError("TemplateInvalid")<{
  readonly name: string
  readonly generation: number
  readonly problems: ReadonlyArray<Problem>
}> {
  override get message(): string {
    return `NodeConfigTemplate ${this.name} is not valid: ${
      this.problems.slice(0, 10).map(({ field, message }) => `${field}: ${message}`).join("; ")
    }`
  }
}

const decodeSpec = Schema.decodeUnknownResult(TemplateSpec, { onExcessProperty: "error", errors: "all" })

/** `operator` decides whether `values` are wanted (meta/v1 LabelSelectorRequirement). */
const selectorProblems = ({ matchExpressions }: LabelSelector): ReadonlyArray<Problem> =>
  matchExpressions.flatMap(({ operator, values }, i) => {
    const wanted = operator === "In" || operator === "NotIn"
    if (wanted === values.length > 0) return []
    return [{
      field: `spec.nodeSelector.matchExpressions[${i}].values`,
      message: wanted ? `must list one value at least for ${operator}` : `must be empty for ${operator}`
    }]
  })

/** Of all managers of the spec the newest; a write of the status is none (meta/v1 ManagedFieldsEntry). */
const editedAt = (metadata: Readonly<Record<string, unknown>>): number | undefined => {
  const entries = records(metadata["managedFields"])
  const times = entries
    .filter((entry) => entry["subresource"] === undefined || entry["subresource"] === "")
    .map((entry) => Date.parse(String(entry["time"])))
    .filter((time) => !Number.isNaN(time))
  return times.length === 0 ? undefined : Math.max(...times)
}

const wholeNumber = (text: unknown): number | undefined =>
  typeof text === "string" && /^\d{1,15}$/.test(text) ? Number(text) : undefined

const failuresOf = (status: unknown): ReadonlyArray<TemplateFailure> => {
  return records(record(status)["failures"]).map((failure) => ({
    node: String(failure["node"] ?? ""),
    generation: Number(failure["generation"] ?? 0),
    reason: String(failure["reason"] ?? ""),
    message: String(failure["message"] ?? ""),
    resumed: failure["resumed"] === true,
    ...(typeof failure["hash"] === "string" ? { hash: failure["hash"] } : {}),
    ...(failure["alone"] === true ? { alone: true } : {})
  }))
}

/** From an API object. What is wrong with `spec.template` shows when a node makes its NodeConfig from it. */
export const decodeTemplate = (input: unknown): Result.Result<NodeConfigTemplate, TemplateInvalid> => {
  const object = record(input)
  const metadata = record(object["metadata"])
  const name = String(metadata["name"] ?? "")
  const generation = typeof metadata["generation"] === "number" ? metadata["generation"] : 0
  const fail = (problems: ReadonlyArray<Problem>) => Result.fail(new TemplateInvalid({ name, generation, problems }))
  const heads: Array<Problem> = []
  if (object["apiVersion"] !== API_VERSION) {
    heads.push({ field: "apiVersion", message: `${quote(object["apiVersion"])}: must be ${API_VERSION}` })
  }
  if (object["kind"] !== TEMPLATE_KIND) {
    heads.push({ field: "kind", message: `${quote(object["kind"])}: must be ${TEMPLATE_KIND}` })
  }
  return Result.match(decodeSpec(object["spec"] ?? {}), {
    onFailure: (error) => fail([...heads, ...problemsOf(error.issue, object["spec"], "spec")]),
    onSuccess: (spec) => {
      const problems = [...heads, ...selectorProblems(spec.nodeSelector)]
      if (problems.length > 0) return fail(problems)
      return Result.succeed({
        name,
        uid: String(metadata["uid"] ?? ""),
        generation,
        spec,
        editedAt: editedAt(metadata),
        resumed: wholeNumber(record(metadata["annotations"])[RESUME_ANNOTATION]),
        failures: failuresOf(object["status"])
      })
    }
  })
}
