/** A NodeConfig on trial: how long, what ends it, and the way back. Pure. */
import type { NodeConfigTemplate } from "../domain/NodeConfigTemplate.ts"
import type { Current, Probation } from "./current.ts"
import type { Decision, Failure, Wanted, World } from "./decision.ts"
import { ownFailure, report } from "./failures.ts"

/** By default a NodeConfig is on trial so long: sessions must be back then, and BIRD run what is wanted. */
export const PROBATION_MILLIS = 60_000
/** BIRD has been asked by then. Before, what it says may be about the former configuration. */
export const BIRD_MILLIS = 5000

/** Sessions that came back and fell just before the end have so long to come back once more: a router that restarts is no fault of the edit. */
const FLAP_MILLIS = 20_000

const trialFailure = (
  probation: Probation,
  { health: { established, fewerFor, refusedByBird, rejected, sessions, trouble }, probationMillis }: World,
  passed: number
): Failure | undefined => {
  if (rejected !== undefined) return { reason: "Rejected", message: rejected }
  if (refusedByBird !== undefined && passed >= BIRD_MILLIS) return { reason: "RefusedByBIRD", message: refusedByBird }
  const wanted = Math.min(probation.established, sessions)
  if (passed < probationMillis || established >= wanted) return undefined
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

/** What failed is taken back; where there was nothing before, it stays. */
const goBack = (
  world: World,
  template: NodeConfigTemplate,
  current: Current,
  { alone, former }: Probation,
  found: Failure
): Decision => {
  const { generation, hash } = current
  const failure = { ...found, hash, ...(alone ? { alone } : {}) }
  const wanted = former === undefined
    ? following(current)
    : { template: current.template, ...former, probation: undefined }
  return {
    actions: [
      // The entry first: whoever has not begun must not begin meanwhile.
      ...report(template, world.node.name, failure, generation),
      { _tag: "Apply", wanted, why: `generation ${generation} of ${template.name} failed: ${failure.message}` }
    ],
    ...(former === undefined ? {} : { fallBack: { observed: current.observed, failure: found, spec: former.spec } }),
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
  const failure = world.fellBack?.observed === current.observed
    ? world.fellBack.failure
    : trialFailure(probation, world, passed)
  if (failure !== undefined) return goBack(world, template, current, probation, failure)
  if (passed < world.probationMillis || health.established < Math.min(probation.established, health.sessions)) {
    return undefined
  }
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
