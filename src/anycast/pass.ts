/** One pass of the reconciler: which destinations it is about, what has to be read first, what to do. Pure. */
import { HashMap } from "effect"
import type { PodCache, Rules } from "../domain/announcement.ts"
import { NOTHING, type Pending, type State } from "./anycastState.ts"
import type { Index } from "./holders.ts"
import { type LeaveAt, lingerPlan } from "./linger.ts"
import { type Plan, plan, type World } from "./routePlan.ts"

/** What was pending, with the index as it was then. `routes`: those that the mirror had and has no more. */
export interface Batch extends Pending {
  readonly before: Index
}

/** Takes all that is pending; what is marked from now on belongs to the next batch. */
export const takeBatch = (state: State): readonly [Batch, State] => {
  const { index: before, installed, links, pending } = state
  const routes = new Set([...pending.routes].filter((key) => HashMap.has(installed, key)))
  return [
    { ...pending, routes, before },
    {
      ...state,
      installed: HashMap.removeMany(installed, routes),
      links: pending.links.size === 0 ? links : new Map([...links].filter(([name]) => !pending.links.has(name))),
      pending: NOTHING
    }
  ]
}

/** Destinations to look at, and when the pod's transition that concerns them was seen, nanoseconds. */
export interface Look {
  readonly keys: ReadonlySet<string>
  readonly seen: ReadonlyMap<string, bigint>
}

/** What a batch is about; `state` has the allocations that it may have asked for. */
export const lookOf = ({ index, leaveAt }: State, batch: Batch): Look => {
  const seen = new Map<string, bigint>()
  for (const [pod, since] of batch.pods) {
    for (const key of index.byPod.get(pod) ?? []) if (!seen.has(key)) seen.set(key, since)
  }
  const keys = new Set([
    ...(batch.allocations ? [...batch.before.byDestination.keys(), ...index.byDestination.keys()] : []),
    ...seen.keys(),
    ...batch.routes,
    ...[...batch.reach].flatMap((name) => index.byLink.get(name) ?? []),
    ...(batch.leave ? HashMap.keys(leaveAt) : [])
  ])
  return { keys, seen }
}

/** Whether the kernel's links and routes have to be read, and everything to be looked at. */
export const needsFullPass = ({ index, loaded }: State, { full, links }: Batch): boolean =>
  full || !loaded || [...links].some((name) => index.byLink.has(name))

/** Whether one of these destinations is reached through a link that is not known. */
export const lacksLink = ({ index, links }: State, keys: ReadonlySet<string>): boolean =>
  [...keys].some((key) => index.byDestination.get(key)?.some(({ allocation }) => !links.has(allocation.hostIfName)))

export interface PassPlan {
  readonly installed: Plan
  /** After `installed`. */
  readonly lingering: Plan
  readonly leaveAt: LeaveAt
}

/** What to do for these destinations; `now` of `monotonicMillis`. */
export const planPass = (state: State, cache: PodCache & Rules, keys: ReadonlySet<string>, now: number): PassPlan => {
  const { index, installed, leaveAt, lingering, links } = state
  const world: World = { ...cache, ifIndexOf: (name) => links.get(name), installed }
  const linger = lingerPlan(keys, index, world, lingering, leaveAt, now)
  return { installed: plan(keys, index, world), lingering: linger.plan, leaveAt: linger.leaveAt }
}
