/** Who could not follow a template, as its status says; and what that means for the others. Pure. */
import { createHash } from "node:crypto"
import type { NodeConfigTemplate, TemplateFailure } from "../domain/NodeConfigTemplate.ts"
import type { Action, Decision, Failure, World } from "./decision.ts"

/** A failure with one of these reasons halts the generation for the whole fleet; with others it is the node's own. */
export const HALTING: ReadonlySet<string> = new Set(["Invalid", "Rejected", "RefusedByBIRD", "SessionsLost"])

/** Nodes in a template's status. More would be said by `kubectl flock` one by one, and are no news. */
const MOST_FAILURES = 20
/** What many nodes find at once they say one after another, and at most so many of them. */
const LEAST_SPREAD_SECONDS = 10

/** A number from 0 (inclusive) to 1 of node and generation: another order at every edit. */
export const place = (node: string, generation: number): number =>
  createHash("sha256").update(`${node}/${generation}`).digest().readUInt32BE() / 2 ** 32

export const ownFailure = (template: NodeConfigTemplate, node: string): TemplateFailure | undefined =>
  template.failures.find((failure) => failure.node === node)

/** For the whole fleet. */
export const halts = ({ alone, reason }: Failure): boolean => HALTING.has(reason) && alone !== true

const isResumed = ({ generation, resumed }: NodeConfigTemplate): boolean => generation === resumed

/** Writes the node's entry if it is not there as it should be. */
export const report = (
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
      before.resumed === after.resumed && before.hash === after.hash && before.alone === after.alone
  return same ? [] : [{ _tag: "Report", template: template.name, failure: after }]
}

/** Who keeps this generation from going on; undefined: nobody. */
export const haltedBy = (template: NodeConfigTemplate): TemplateFailure | undefined =>
  isResumed(template)
    ? undefined
    : template.failures.find((failure) => failure.generation === template.generation && halts(failure))

/** The spec of that hash was on trial here, for the latest generation, and failed. */
export const failedOnTrial = (
  template: NodeConfigTemplate,
  node: string,
  hash: string
): TemplateFailure | undefined => {
  const own = ownFailure(template, node)
  return own?.generation === template.generation && own.hash === hash ? own : undefined
}

/** It failed here: only another spec, or a resumption that came after, is tried. */
export const failedHere = (template: NodeConfigTemplate, node: string, hash: string): TemplateFailure | undefined => {
  const own = failedOnTrial(template, node, hash)
  return own !== undefined && (own.resumed || !isResumed(template)) ? own : undefined
}

/** Milliseconds until this node's place in the roll-out; 0: it has come. */
export const waitFor = (
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

/**
 * A failure that needs no trial. All nodes may have it at the same moment: each says it when its place has come, unless
 * others have said it in its stead.
 */
export const sayFailure = (world: World, template: NodeConfigTemplate, failure: Failure): Omit<Decision, "words"> => {
  const { name } = world.node
  const own = ownFailure(template, name)
  const said = own?.generation === template.generation ? own : undefined
  const others = template.failures.filter(({ generation, node }) => generation === template.generation && node !== name)
  const enough = HALTING.has(failure.reason)
    ? others.some(halts)
    : others.length >= MOST_FAILURES
  if (said === undefined && enough) return { actions: [] }
  const seconds = Math.max(template.spec.rollout.seconds, LEAST_SPREAD_SECONDS)
  const wait = said === undefined ? waitFor(template, name, world.now, seconds) : 0
  return wait > 0 ? { actions: [], lookIn: wait } : { actions: report(template, name, failure) }
}
