/**
 * What is wanted of the kernel's state of every attachment, what is known of it, and what has still to be looked at, as one
 * value; an event makes the next value. Pure.
 */
import { type Allocation, attachmentKey } from "../domain/Allocation.ts"
import type { Unreachable } from "../domain/announcement.ts"
import type { Family } from "../domain/Ip.ts"
import { primariesOf } from "../domain/PodAddresses.ts"
import type { HostEndState, PodInside, PodLinkPlan } from "../netlink/Netlink.ts"
import { planOf } from "../state/linkPlan.ts"
import { dueAt, type Streak } from "./backOff.ts"
import { dueInside, type Inside, lookedInside, nextInside } from "./inside.ts"

export interface Wanted {
  readonly key: string
  readonly plan: PodLinkPlan
  readonly allocation: Allocation
}

/** What does not come right by itself, of one attachment. */
export interface Problem {
  readonly hostIfName: string
  readonly words: string
  readonly cuts: ReadonlyArray<Family>
}

type SeenLink = Pick<HostEndState, "ifIndex" | "up" | "carrier">

export interface Suspects {
  /** Every host end. */
  readonly all: boolean
  /** The node's settings, and those of pods' links. */
  readonly node: boolean
  readonly links: ReadonlySet<string>
}

export interface State {
  /** By `hostIfName`: committed allocations only, so an ADD that is under way is nobody's business here. */
  readonly wanted: ReadonlyMap<string, Wanted>
  /** `FAMILY/VALUE` of a pod's own address → `hostIfName`. */
  readonly byAddress: ReadonlyMap<string, string>
  /** Host ends by name, also of attachments that are not committed yet. */
  readonly links: ReadonlyMap<string, SeenLink>
  readonly byIndex: ReadonlyMap<number, string>
  readonly suspects: Suspects
  /** What pods have made of their own network: of those that are announced. */
  readonly inside: Inside
  /** Pods to be looked into. */
  readonly insideSuspects: ReadonlySet<string> | "all"
  /** Counts what was told of wanted links going up and down. */
  readonly moves: number
  /** When a host end is to be looked at again, by `hostIfName`. */
  readonly later: ReadonlyMap<string, number>
  /** By `HOSTIFNAME WHAT`, and `node`. */
  readonly streaks: ReadonlyMap<string, Streak>
  /** By `hostIfName`. */
  readonly problems: ReadonlyMap<string, Problem>
  /** Of the node. */
  readonly nodeProblem: string | undefined
}

export const NO_SUSPECTS: Suspects = { all: false, node: false, links: new Set() }

export const initial: State = {
  wanted: new Map(),
  byAddress: new Map(),
  links: new Map(),
  byIndex: new Map(),
  suspects: NO_SUSPECTS,
  inside: new Map(),
  insideSuspects: new Set(),
  moves: 0,
  later: new Map(),
  streaks: new Map(),
  problems: new Map(),
  nodeProblem: undefined
}

/** What was seen of a host end. */
export const withLink = (
  state: State,
  name: string,
  { carrier, ifIndex, up }: SeenLink
): State => {
  const known = state.links.get(name)
  if (known?.ifIndex === ifIndex && known.up === up && known.carrier === carrier) return state
  return {
    ...state,
    links: new Map(state.links).set(name, { ifIndex, up, carrier }),
    moves: state.wanted.has(name) ? state.moves + 1 : state.moves,
    // With its interface a pod loses addresses and routes that do not come back with it.
    insideSuspects: known !== undefined && !known.carrier && carrier && state.insideSuspects !== "all"
      ? new Set([...state.insideSuspects, name])
      : state.insideSuspects,
    byIndex: known?.ifIndex === ifIndex ? state.byIndex : new Map(state.byIndex).set(ifIndex, name)
  }
}

/** The committed allocations, whatever they were before. */
export const allocated = (state: State, allocations: ReadonlyArray<Allocation>): State => {
  const wanted = new Map(allocations.map((allocation): readonly [string, Wanted] => {
    const known = state.wanted.get(allocation.hostIfName)
    return known?.allocation === allocation
      ? [allocation.hostIfName, known]
      : [allocation.hostIfName, { key: attachmentKey(allocation), plan: planOf(allocation), allocation }]
  }))
  const byAddress = new Map(
    allocations.flatMap(({ addresses, hostIfName }) =>
      primariesOf(addresses).map(({ family, value }) => [`${family}/${value}`, hostIfName] as const)
    )
  )
  const problems = new Map([...state.problems].filter(([name]) => wanted.has(name)))
  const inside = new Map([...state.inside].filter(([name, { plan }]) => wanted.get(name)?.plan === plan))
  return { ...state, wanted, byAddress, problems, inside }
}

/**
 * Takes what is to be looked into now: pods that were looked into before, and those for which `isAnnounced` holds. A pod that
 * is not Ready yet may still be made by its runtime.
 */
export const takeInside = (
  state: State,
  isAnnounced: (allocation: Allocation) => boolean,
  now: number
): readonly [ReadonlyArray<{ readonly plan: PodLinkPlan; readonly ifIndex: number }>, State] => {
  const { inside, insideSuspects, links } = state
  const due = new Set(dueInside(inside, now))
  if (insideSuspects !== "all" && insideSuspects.size + due.size === 0) return [[], state]
  const targets = [...state.wanted].flatMap(([name, { allocation, plan }]) => {
    if (insideSuspects !== "all" && !insideSuspects.has(name) && !due.has(name)) return []
    const link = links.get(name)
    return link === undefined || !link.up || !link.carrier || plan.netns === "" ||
        !(inside.has(name) || isAnnounced(allocation))
      ? []
      : [{ plan, ifIndex: link.ifIndex }]
  })
  // One whose link is down is looked into when it is up again.
  const waiting = new Map(
    [...inside].map(([name, known]) => [name, due.has(name) ? { ...known, again: undefined } : known])
  )
  return [targets, { ...state, inside: waiting, insideSuspects: new Set() }]
}

export const withInside = (state: State, name: string, plan: PodLinkPlan, found: PodInside, now: number): State =>
  state.wanted.get(name)?.plan === plan
    ? { ...state, inside: new Map(state.inside).set(name, lookedInside(state.inside.get(name), plan, found, now)) }
    : state

export const everyInside = (state: State): State => ({ ...state, insideSuspects: "all" })

/** Takes what is to be looked at now; the node's settings only when their time has come. */
export const takeSuspects = (
  state: State,
  now: number
): readonly [{ readonly node: boolean; readonly plans: ReadonlyArray<PodLinkPlan> }, State] => {
  const { all, links, node } = state.suspects
  const nodeDue = node && dueAt(state.streaks.get("node"), now) <= now
  const again = new Set([...state.later].filter(([, due]) => due <= now).map(([name]) => name))
  const plans = [...state.wanted].filter(([name]) => all || links.has(name) || again.has(name)).map(([, it]) => it.plan)
  const later = new Map([...state.later].filter(([name]) => !again.has(name)))
  return [{ node: nodeDue, plans }, { ...state, later, suspects: { ...NO_SUSPECTS, node: node && !nodeDue } }]
}

/** When there is something to look at again; undefined: nothing is put off. */
export const nextDue = ({ inside, later, streaks, suspects }: State, now: number): number | undefined => {
  const due = [
    ...later.values(),
    ...(suspects.node ? [dueAt(streaks.get("node"), now)] : []),
    nextInside(inside) ?? []
  ].flat()
  return due.length === 0 ? undefined : Math.min(...due)
}

/** Why pods cannot be reached, by `hostIfName`; those that can are not in it. */
export const unreachable = (state: State): ReadonlyMap<string, Unreachable> => {
  const found = new Map<string, Unreachable>()
  for (const [name, { cuts, words }] of state.problems) {
    if (cuts.length > 0) found.set(name, { _tag: "Cut", cuts, words })
  }
  for (const name of state.wanted.keys()) {
    const link = state.links.get(name)
    if (link !== undefined && link.up && !link.carrier && !found.has(name)) found.set(name, { _tag: "LinkDown" })
    const broken = state.inside.get(name)?.broken
    if (broken !== undefined && !found.has(name)) found.set(name, broken)
  }
  return found
}
