/**
 * What a node does about its template now: a pure function of what the API server has and how the node is, so that a
 * restart at any moment goes on where the agent before it was. All state is in the objects: the NodeConfig's annotations
 * say which generation it follows and, while that is on trial, what to go back to; the template's status says who failed.
 */
import { Result } from "effect"
import { API_VERSION, decode, TEMPLATE_LABEL } from "../domain/NodeConfig.ts"
import type { NodeConfigTemplate } from "../domain/NodeConfigTemplate.ts"
import type { Problem } from "../domain/schemaProblems.ts"
import { choose, tieInWords } from "./choose.ts"
import { type Current, currentOf, type Probation, proven } from "./current.ts"
import type { Action, Decision, Failure, Wanted, World } from "./decision.ts"
import { failedHere, failedOnTrial, haltedBy, report, sayFailure, waitFor } from "./failures.ts"
import { type NodeFacts, resolve, specHash } from "./resolve.ts"
import { BIRD_MILLIS, onTrial, onTrialAlone, trialLookIn } from "./trial.ts"

const problemsInWords = (problems: ReadonlyArray<Problem>): string =>
  problems.slice(0, 5).map(({ field, message }) => `${field}: ${message}`).join("; ") +
  (problems.length > 5 ? `; and ${problems.length - 5} more` : "")

/** With a new template all nodes have nothing at one moment: they take it within so many seconds. A node that joins takes it at once. */
const FIRST_SECONDS = 10

/** A generation that the node does not follow yet. */
const toTake = (
  world: World,
  template: NodeConfigTemplate,
  current: Current | undefined,
  wanted: Omit<Wanted, "probation">
): Decision => {
  const { health, node, now } = world
  const { rollout } = template.spec
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
  const first = Math.min(FIRST_SECONDS, rollout.seconds)
  const wait = waitFor(template, node.name, now, current === undefined ? first : alone ? 0 : rollout.seconds)
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
    ...(alone ? { alone: true } : {}),
    ...(current === undefined ? {} : { former: proven(current) })
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

const cannotFollow = (world: World, template: NodeConfigTemplate, failure: Failure): Decision => {
  const words = `cannot follow generation ${template.generation} of ${template.name}: ${failure.message}`
  return { ...sayFailure(world, template, failure), words, trouble: { reason: failure.reason, message: words } }
}

const follow = (world: World, template: NodeConfigTemplate, current: Current | undefined): Decision => {
  const { name } = world.node
  const latest = `generation ${template.generation} of ${template.name}`
  const spec = specOf(template, world.node)
  if (Result.isFailure(spec)) {
    return cannotFollow(world, template, spec.failure)
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
    const probation = settled ? current.probation : undefined
    return {
      actions: [
        // Any other is of another generation, or mended since.
        ...(failedOnTrial(template, name, hash) === undefined ? report(template, name, undefined) : []),
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
  const own = failedHere(template, name, hash)
  if (own !== undefined) {
    const words = `does not take ${latest} again: ${own.message}`
    return { actions: [], words, trouble: { reason: own.reason, message: words } }
  }
  const { conflict } = world
  if (current !== undefined && conflict?.hash === hash && conflict.observed === current.observed) {
    const message = `edited by hand: ${conflict.message}. Take that back, or the label ${TEMPLATE_LABEL} away`
    return cannotFollow(world, template, { reason: "Conflict", message })
  }
  return toTake(world, template, current, wanted)
}

/** What the node once said of templates that it does not follow, taken back. */
const forget = ({ node, templates }: World, kept: ReadonlyArray<NodeConfigTemplate>): ReadonlyArray<Action> =>
  templates.filter((template) => !kept.includes(template)).flatMap((template) => report(template, node.name, undefined))

const decideOn = (world: World, current: Current | undefined): Decision => {
  const { node, templates } = world
  const choice = choose(templates, node.labels)
  switch (choice._tag) {
    case "None": {
      const actions = forget(world, [])
      if (current === undefined) {
        const words = "no NodeConfigTemplate fits this node"
        return {
          actions,
          words,
          ...(templates.length > 0 ? { trouble: { reason: "NoTemplate", message: words } } : {})
        }
      }
      const trial = current.orphaned ? undefined : onTrialAlone(world, current)
      if (trial !== undefined) return { ...trial, actions: [...actions, ...trial.actions] }
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
        trouble: { reason: "Tie", message },
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
