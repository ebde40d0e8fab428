/**
 * Pods that have broken their own network: what is known of each, and when to look again. Pure.
 *
 * A pod counts as broken only where its kernel is the one that answers: it has lost some of its addresses and not others, or
 * it had all that flock made when it was Ready before. Of others (gVisor takes the addresses off the link, a virtual machine
 * takes the link, source-based routing keeps default routes in another table) nothing can be told from what is missing.
 */
import type { Unreachable } from "../domain/announcement.ts"
import type { PodInside, PodLinkPlan } from "../netlink/Netlink.ts"

export interface Known {
  readonly plan: PodLinkPlan
  /** Nothing was missing at a look before. */
  readonly wasAsMade: boolean
  readonly broken: Extract<Unreachable, { readonly _tag: "Broken" }> | undefined
  /** When to look again, of `monotonicMillis`; undefined: at the tick. */
  readonly again: number | undefined
  /** Milliseconds to the look after that. */
  readonly wait: number
}

/** By `hostIfName`. */
export type Inside = ReadonlyMap<string, Known>

const FIRST_WAIT = 500
/** The tick is not rarer. */
const LONGEST_WAIT = 8000

/** What a look found. */
export const lookedInside = (
  before: Known | undefined,
  plan: PodLinkPlan,
  found: PodInside,
  now: number
): Known => {
  const wasAsMade = found._tag === "AsMade" || (before?.plan === plan && before.wasAsMade)
  const isBroken = found._tag === "Differs" && (wasAsMade || found.partly)
  const wait = before?.plan === plan && before.broken !== undefined
    ? Math.min(LONGEST_WAIT, 2 * before.wait)
    : FIRST_WAIT
  return isBroken
    ? {
      plan,
      wasAsMade,
      broken: { _tag: "Broken", cuts: found.cuts, addresses: found.addresses, words: found.words },
      again: now + wait,
      wait
    }
    : { plan, wasAsMade, broken: undefined, again: undefined, wait: FIRST_WAIT }
}

/** Whose time has come, by name. */
export const dueInside = (inside: Inside, now: number): ReadonlyArray<string> =>
  [...inside].flatMap(([name, { again }]) => again !== undefined && again <= now ? [name] : [])

export const nextInside = (inside: Inside): number | undefined => {
  const due = [...inside.values()].flatMap(({ again }) => again ?? [])
  return due.length === 0 ? undefined : Math.min(...due)
}
