/**
 * What a node does about its template now: a pure function of what the API server has and how the node is, so that a
 * restart at any moment goes on where the agent before it was. All state is in the objects: the NodeConfig's annotations
 * say which generation it follows and, while that is on trial, what to go back to; the template's status says who failed.
 */
import { Result } from "effect"
import { createHash } from "node:crypto"
import {
  API_VERSION,
  decode,
  GENERATION_ANNOTATION,
  HASH_ANNOTATION,
  ORPHANED_LABEL,
  PROBATION_ANNOTATION,
  TEMPLATE_LABEL
} from "../domain/NodeConfig.ts"
import type { NodeConfigTemplate, TemplateFailure } from "../domain/NodeConfigTemplate.ts"
import { isRecord, record } from "../domain/record.ts"
import type { Problem } from "../domain/schemaProblems.ts"
import { choose, tieInWords } from "./choose.ts"
import { type NodeFacts, resolve, specHash } from "./resolve.ts"

/** By default a NodeConfig is on trial so long: sessions must be back then, and BIRD run what is wanted. */
export const PROBATION_MILLIS = 60_000
/** BIRD has been asked by then. Before, what it says may be about the former configuration. */
const BIRD_MILLIS = 5000

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
}

export interface World {
  readonly node: NodeFacts
  readonly templates: ReadonlyArray<NodeConfigTemplate>
  /** The node's NodeConfig as the API server has it; undefined: there is none. */
  readonly nodeConfig: unknown
  readonly health: Health
  /** Milliseconds of the epoch. */
  readonly now: number
  /** How long a NodeConfig is on trial. */
  readonly probationMillis: number
}

/** What is kept of the NodeConfig that a trial began from. */
interface Former {
  readonly spec: unknown
  readonly generation: number
  readonly hash: string
}

export interface Probation {
  /** RFC 3339. */
  readonly since: string
  /** Sessions that were Established before. */
  readonly established: number
  /** Undefined: there was no NodeConfig, so there is nothing to go back to. */
  readonly former?: Former
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
  /** Milliseconds after which to look again though nothing changed; undefined: not needed. */
  readonly lookIn?: number
}

/** A failure with one of these reasons halts the generation for the whole fleet; with others it is the node's own. */
export const HALTING: ReadonlySet<string> = new Set(["Invalid", "Rejected", "RefusedByBIRD", "SessionsLost"])

/** Nodes in a template's status. More would be said by `kubectl flock` one by one, and are no news. */
const MOST_FAILURES = 20
/** What many nodes find at once they say one after another, and at most so many of them. */
const LEAST_SPREAD_SECONDS = 10

/** A number from 0 (inclusive) to 1 of node and generation: another order at every edit. */
export const place = (node: string, generation: number): number =>
  createHash("sha256").update(`${node}/${generation}`).digest().readUInt32BE() / 2 ** 32

interface Current {
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

const problemsInWords = (problems: ReadonlyArray<Problem>): string =>
  problems.slice(0, 5).map(({ field, message }) => `${field}: ${message}`).join("; ") +
  (problems.length > 5 ? `; and ${problems.length - 5} more` : "")

const ownFailure = (template: NodeConfigTemplate, node: string): TemplateFailure | undefined =>
  template.failures.find((failure) => failure.node === node)

interface Failure {
  readonly reason: string
  readonly message: string
}

const isResumed = ({ generation, resumed }: NodeConfigTemplate): boolean => generation === resumed

/** Writes the node's entry if it is not there as it should be. */
const report = (
  template: NodeConfigTemplate,
  node: string,
  failure: Failure | undefined,
  generation = template.generation
): ReadonlyArray<Action> => {
  const before = ownFailure(template, node)
  const after = failure && { node, generation, ...failure, resumed: isResumed(template) }
  const same = before === undefined || after === undefined
    ? before === after
    : before.generation === after.generation && before.reason === after.reason && before.message === after.message &&
      before.resumed === after.resumed
  return same ? [] : [{ _tag: "Report", template: template.name, failure: after }]
}

/** Who keeps this generation from going on; undefined: nobody. */
export const haltedBy = (template: NodeConfigTemplate): TemplateFailure | undefined =>
  isResumed(template)
    ? undefined
    : template.failures.find(({ generation, reason }) => generation === template.generation && HALTING.has(reason))

const trialFailure = (
  probation: Probation,
  { health: { established, refusedByBird, rejected, sessions }, probationMillis }: World,
  passed: number
): Failure | undefined => {
  if (rejected !== undefined) return { reason: "Rejected", message: rejected }
  if (refusedByBird !== undefined && passed >= BIRD_MILLIS) return { reason: "RefusedByBIRD", message: refusedByBird }
  const wanted = Math.min(probation.established, sessions)
  if (passed < probationMillis || established >= wanted) return undefined
  return {
    reason: "SessionsLost",
    message: `${probation.established} sessions were Established before, and ${established} of ${sessions} ` +
      `${probationMillis / 1000} s later`
  }
}

/** What failed is taken back; where there was nothing before, it stays. */
const goBack = (
  world: World,
  template: NodeConfigTemplate,
  current: Current,
  { former }: Probation,
  failure: Failure
): Decision => {
  const { generation } = current
  const wanted = former === undefined
    ? following(current)
    : { template: current.template, ...former, probation: undefined }
  return {
    actions: [
      // The entry first: whoever has not begun must not begin meanwhile.
      ...report(template, world.node.name, failure, generation),
      { _tag: "Apply", wanted, why: `generation ${generation} of ${template.name} failed: ${failure.message}` }
    ],
    words: former === undefined
      ? `generation ${generation} of ${template.name} failed, and there was none before it: ${failure.message}`
      : `went back to generation ${former.generation} of ${template.name}: ${failure.message}`
  }
}

/** As it is, its trial over. */
const following = ({ generation, hash, spec, template }: Current): Wanted => ({
  template,
  generation,
  hash,
  spec,
  probation: undefined
})

/** The NodeConfig is on trial: it stays, or what was before it comes back; undefined: it is not known yet. */
const endTrial = (
  world: World,
  template: NodeConfigTemplate,
  current: Current,
  probation: Probation
): Decision | undefined => {
  const { health, node } = world
  // The agent has not seen what was written yet.
  if (health.generation < current.observed) return undefined
  const passed = trialAge(world, probation)
  const failure = trialFailure(probation, world, passed)
  if (failure !== undefined) return goBack(world, template, current, probation, failure)
  if (passed < world.probationMillis) return undefined
  const own = ownFailure(template, node.name)
  return {
    actions: [
      ...(own?.generation === current.generation ? report(template, node.name, undefined) : []),
      { _tag: "Apply", wanted: following(current), why: "its trial is over" }
    ],
    words: `follows generation ${current.generation} of ${template.name}`
  }
}

/** Milliseconds after which a trial has news though nothing changed. */
const trialLookIn = (world: World, probation: Probation): number => {
  const passed = trialAge(world, probation)
  return Math.max(1000, (passed < BIRD_MILLIS ? BIRD_MILLIS : world.probationMillis) - passed)
}

/** Milliseconds since the trial began. A clock that was set back begins it anew, at worst. */
const trialAge = ({ now, probationMillis }: World, { since }: Probation): number => {
  const began = Date.parse(since)
  return Number.isNaN(began) ? probationMillis : Math.max(0, now - began)
}

/** Milliseconds until this node's place in the roll-out; 0: it has come. */
const waitFor = (
  template: NodeConfigTemplate,
  node: string,
  now: number,
  seconds = template.spec.rollout.seconds
): number => {
  const delay = place(node, template.generation) * seconds * 1000
  // A clock that is off must not make a node wait for more than its share.
  const passed = template.editedAt === undefined ? delay : Math.max(0, now - template.editedAt)
  return Math.max(0, Math.ceil(delay - passed))
}

/** A generation that the node does not follow yet. */
const toTake = (
  world: World,
  template: NodeConfigTemplate,
  current: Current | undefined,
  wanted: Omit<Wanted, "probation">
): Decision => {
  const { health, node, now } = world
  const halted = haltedBy(template)
  if (halted !== undefined) {
    return {
      actions: [],
      words:
        `waits: generation ${template.generation} of ${template.name} was halted by ${halted.node}: ${halted.message}`
    }
  }
  // Its own labels or podCIDRs changed, or it has nothing yet: no other node is met by that.
  const alone = current === undefined ||
    (current.template === template.name && current.generation === template.generation)
  const wait = alone ? 0 : waitFor(template, node.name, now)
  if (wait > 0) {
    return {
      actions: [],
      words: `takes generation ${template.generation} of ${template.name} in ${Math.ceil(wait / 1000)} s`,
      lookIn: wait
    }
  }
  const probation: Probation = {
    since: new Date(now).toISOString(),
    established: health.established,
    ...(current === undefined
      ? {}
      : { former: proven(current) })
  }
  return {
    actions: [
      ...report(template, node.name, undefined),
      { _tag: "Apply", wanted: { ...wanted, probation }, why: `generation ${template.generation} of ${template.name}` }
    ],
    words: `takes generation ${template.generation} of ${template.name}`,
    lookIn: BIRD_MILLIS
  }
}

/** What to go back to: never what is on trial itself. */
const proven = ({ generation, hash, probation, spec }: Current): Former =>
  probation?.former ?? { spec, generation, hash }

/** The template's NodeConfigSpec for this node, or why there is none. */
const specOf = (template: NodeConfigTemplate, node: NodeFacts): Result.Result<unknown, Failure> => {
  const resolved = resolve(template.spec.template, node)
  if (Result.isFailure(resolved)) {
    return Result.fail({ reason: "Unresolved", message: problemsInWords(resolved.failure) })
  }
  const checked = decode(node.name, {
    apiVersion: API_VERSION,
    kind: "NodeConfig",
    metadata: { name: node.name },
    spec: resolved.success
  })
  if (Result.isSuccess(checked)) return Result.succeed(resolved.success)
  const problems = checked.failure.problems.map(({ field, message }) => ({
    field: field.replace(/^spec/, "spec.template"),
    message
  }))
  return Result.fail({ reason: "Invalid", message: problemsInWords(problems) })
}

/** It failed here: only an edit, or a resumption that came after, tries it again. */
const failedHere = (template: NodeConfigTemplate, node: string): TemplateFailure | undefined => {
  const own = ownFailure(template, node)
  const holds = own !== undefined && own.generation === template.generation && own.reason !== "Invalid" &&
    HALTING.has(own.reason) && (own.resumed || !isResumed(template))
  return holds ? own : undefined
}

/**
 * A failure that needs no trial. All nodes may have it at the same moment: each says it when its place has come, unless
 * others have said it in its stead.
 */
const sayFailure = (world: World, template: NodeConfigTemplate, failure: Failure): Omit<Decision, "words"> => {
  const { name } = world.node
  const own = ownFailure(template, name)
  const said = own?.generation === template.generation ? own : undefined
  const others = template.failures.filter(({ generation, node }) => generation === template.generation && node !== name)
  const enough = HALTING.has(failure.reason)
    ? others.some(({ reason }) => HALTING.has(reason))
    : others.length >= MOST_FAILURES
  if (said === undefined && enough) return { actions: [] }
  const seconds = Math.max(template.spec.rollout.seconds, LEAST_SPREAD_SECONDS)
  const wait = said === undefined ? waitFor(template, name, world.now, seconds) : 0
  return wait > 0 ? { actions: [], lookIn: wait } : { actions: report(template, name, failure) }
}

const follow = (world: World, template: NodeConfigTemplate, current: Current | undefined): Decision => {
  const { name } = world.node
  const latest = `generation ${template.generation} of ${template.name}`
  const spec = specOf(template, world.node)
  if (Result.isFailure(spec)) {
    return {
      ...sayFailure(world, template, spec.failure),
      words: `cannot follow ${latest}: ${spec.failure.message}`
    }
  }
  const hash = specHash(spec.success)
  const wanted: Wanted = {
    template: template.name,
    generation: template.generation,
    hash,
    spec: spec.success,
    probation: undefined
  }
  if (current?.hash === hash && current.template === template.name) {
    const settled = current.generation === template.generation && !current.orphaned
    const own = ownFailure(template, name)
    const ofTrial = own?.generation === template.generation && HALTING.has(own.reason) && own.reason !== "Invalid"
    const probation = settled ? current.probation : undefined
    return {
      actions: [
        // Any other is of another generation, or mended since.
        ...(ofTrial ? [] : report(template, name, undefined)),
        ...(settled ? [] : [
          {
            _tag: "Apply",
            wanted: { ...wanted, probation: current.probation },
            why: `${latest} asks for the same`
          } as const
        ])
      ],
      words: probation === undefined ? `follows ${latest}` : `${latest} is on trial`,
      ...(probation === undefined ? {} : { lookIn: trialLookIn(world, probation) })
    }
  }
  const own = failedHere(template, name)
  if (own !== undefined) return { actions: [], words: `does not take ${latest} again: ${own.message}` }
  return toTake(world, template, current, wanted)
}

/** A trial ends before anything else is begun. */
const onTrial = (world: World, template: NodeConfigTemplate, current: Current | undefined): Decision | undefined =>
  current?.probation === undefined || current.template !== template.name
    ? undefined
    : endTrial(world, template, current, current.probation)

/** What the node once said of templates that it does not follow, taken back. */
const forget = ({ node, templates }: World, kept: ReadonlyArray<NodeConfigTemplate>): ReadonlyArray<Action> =>
  templates.filter((template) => !kept.includes(template)).flatMap((template) => report(template, node.name, undefined))

const decideOn = (world: World, current: Current | undefined): Decision => {
  const { node, templates } = world
  const choice = choose(templates, node.labels)
  switch (choice._tag) {
    case "None": {
      const actions = forget(world, [])
      if (current === undefined) return { actions, words: "no NodeConfigTemplate fits this node" }
      const gone = !templates.some(({ name }) => name === current.template)
      const why = `NodeConfigTemplate ${current.template} ${gone ? "is gone" : "fits this node no longer"}`
      return {
        actions: current.orphaned ? actions : [...actions, { _tag: "Orphan", why }],
        words: `${why}: its NodeConfig stays as it is`
      }
    }
    case "Tie": {
      const message = tieInWords(choice.templates)
      const said = choice.templates.map((template) => sayFailure(world, template, { reason: "Tie", message }))
      const waits = said.flatMap(({ lookIn }) => lookIn ?? [])
      return {
        actions: [...said.flatMap(({ actions }) => actions), ...forget(world, choice.templates)],
        words: message,
        ...(waits.length === 0 ? {} : { lookIn: Math.min(...waits) })
      }
    }
    case "One": {
      const { template } = choice
      const decision = onTrial(world, template, current) ?? follow(world, template, current)
      return { ...decision, actions: [...forget(world, [template]), ...decision.actions] }
    }
  }
}

/** What to do now. Repeated with nothing changed it is the same, and done it is nothing. */
export const decide = (world: World): Decision => {
  const current = currentOf(world.nodeConfig)
  return world.nodeConfig !== undefined && current === undefined
    ? { actions: forget(world, []), words: "its NodeConfig is written by hand" }
    : decideOn(world, current)
}
