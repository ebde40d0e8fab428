/** A NodeConfig on trial: how long, what ends it, and the way back. Pure. */
import type { NodeConfigTemplate } from "../domain/NodeConfigTemplate.ts"
import type { Current, Probation } from "./current.ts"
import type { Action, Decision, Failure, Health, Wanted, World } from "./decision.ts"
import { ownFailure, report } from "./failures.ts"

/** By default a NodeConfig is on trial so long: sessions must be back then, and BIRD run what is wanted. */
export const PROBATION_MILLIS = 60_000
/** BIRD has been asked by then. Before, what it says may be about the former configuration. */
export const BIRD_MILLIS = 5000

/** Sessions that came back and fell just before the end have so long to come back once more: a router that restarts is no fault of the edit. */
const FLAP_MILLIS = 20_000

/** Than before the trial, of those that are configured. */
const hasFewer = ({ established, sessions }: Pick<Health, "established" | "sessions">, probation: Probation): boolean =>
  established < Math.min(probation.established, sessions)

const trialFailure = (
  probation: Probation,
  { health: { established, fewerFor, refusedByBird, rejected, sessions, trouble }, probationMillis }: World,
  passed: number
): Failure | undefined => {
  if (rejected !== undefined) return { reason: "Rejected", message: rejected }
  if (refusedByBird !== undefined && passed >= BIRD_MILLIS) return { reason: "RefusedByBIRD", message: refusedByBird }
  if (passed < probationMillis || !hasFewer({ established, sessions }, probation)) return undefined
  // One whose sessions come and go for ever has failed too.
  if (mayComeBack(fewerFor, passed, probationMillis)) return undefined
  return {
    reason: "SessionsLost",
    message: `${probation.established} sessions were Established before, and ${established} of ${sessions} ` +
      `${probationMillis / 1000} s later${trouble === "" ? "" : `: ${trouble}`}`
  }
}

const mayComeBack = (fewerFor: number, passed: number, probationMillis: number): boolean =>
  fewerFor < Math.min(FLAP_MILLIS, probationMillis / 3) && passed < 2 * probationMillis

/** What failed is taken back; where there was nothing before, it stays. `told`: what comes first. */
const goBack = (
  current: Current,
  { former }: Probation,
  failure: Failure,
  told: ReadonlyArray<Action>
): Decision => {
  const { generation, template } = current
  const wanted = former === undefined ? following(current) : { template, ...former, probation: undefined }
  return {
    actions: [
      ...told,
      { _tag: "Apply", wanted, why: `generation ${generation} of ${template} failed: ${failure.message}` }
    ],
    ...(former === undefined ? {} : { fallBack: { observed: current.observed, failure, spec: former.spec } }),
    words: former === undefined
      ? `generation ${generation} of ${template} failed, and there was none before it: ${failure.message}`
      : `went back to generation ${former.generation} of ${template}: ${failure.message}`
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
  const failure = world.fellBack?.observed === current.observed
    ? world.fellBack.failure
    : trialFailure(probation, world, passed)
  if (failure !== undefined) {
    const { alone } = probation
    const entry = { ...failure, hash: current.hash, ...(alone ? { alone } : {}) }
    // The entry first: whoever has not begun must not begin meanwhile.
    return goBack(current, probation, failure, report(template, node.name, entry, current.generation))
  }
  if (passed < world.probationMillis || hasFewer(health, probation)) return undefined
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
export const trialLookIn = (world: World, probation: Probation): number => {
  const passed = trialAge(world, probation)
  return Math.max(1000, (passed < BIRD_MILLIS ? BIRD_MILLIS : world.probationMillis) - passed)
}

/** Milliseconds since the trial began. A clock that was set back begins it anew, at worst. */
const trialAge = ({ now, probationMillis }: World, { since }: Probation): number => {
  const began = Date.parse(since)
  return Number.isNaN(began) ? probationMillis : Math.max(0, now - began)
}

/** A trial ends before anything else is begun. */
export const onTrial = (
  world: World,
  template: NodeConfigTemplate,
  current: Current | undefined
): Decision | undefined =>
  current?.probation === undefined || current.template !== template.name
    ? undefined
    : endTrial(world, template, current, current.probation)

/**
 * The template is gone, or fits no longer, while what came of it is on trial and does no good: that goes on to its end, for
 * whoever deletes a template whose edit was bad wants the nodes back. Undefined: the NodeConfig stays as it is.
 */
export const onTrialAlone = (world: World, current: Current): Decision | undefined => {
  const { probation } = current
  if (probation?.former === undefined || !hasFewer(world.health, probation)) return undefined
  const failure = world.fellBack?.observed === current.observed
    ? world.fellBack.failure
    : trialFailure(probation, world, trialAge(world, probation))
  return failure === undefined
    ? {
      actions: [],
      words: `generation ${current.generation} of ${current.template}, which is gone, is on trial`,
      lookIn: 1000
    }
    : goBack(current, probation, failure, [])
}
