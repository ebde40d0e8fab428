/**
 * What the reconciler knows and what it has still to look at, as one value; an event makes the next value and says what
 * has to be done. Pure.
 */
import { HashMap } from "effect"
import type { Allocation } from "../domain/Allocation.ts"
import { equalAddress, type IpAddress } from "../domain/Ip.ts"
import { type HostRoute, type KernelChange, PROTOCOL_EXPORT } from "../netlink/Netlink.ts"
import { destinationKey, emptyIndex, type Index, makeIndex } from "./holders.ts"
import type { LeaveAt } from "./linger.ts"
import { byDestination, type Installed } from "./routePlan.ts"
import { newsOf, type OccupiedAddress, type Refused, refusedOf, type Troubles } from "./troubles.ts"

/** A set, not a queue, so a thousand flips of a pod cost one look. */
export interface Pending {
  /** Read links and routes from the kernel and look at everything. */
  readonly full: boolean
  /** Allocations changed. */
  readonly allocations: boolean
  /** Routes' time to linger may be over. */
  readonly leave: boolean
  /** `podKey` → when the first change not yet looked at was seen, nanoseconds. */
  readonly pods: HashMap.HashMap<string, bigint>
  /** Destinations of the mirror whose route the kernel reported as removed. */
  readonly routes: ReadonlySet<string>
  /** Host-side links that the kernel reported as removed. */
  readonly links: ReadonlySet<string>
  /** Host-side links whose pods can be reached again, or no more. */
  readonly reach: ReadonlySet<string>
}

export interface State {
  readonly index: Index
  /** The export set that BIRD was given last; absent before the first. */
  readonly exportSet: ReadonlyArray<IpAddress> | undefined
  /** `hostIfName` → index of the link. */
  readonly links: ReadonlyMap<string, number>
  /** The kernel's routes of protocol 201: only what it took. */
  readonly installed: Installed
  /** The same of protocol 202. */
  readonly lingering: Installed
  readonly leaveAt: LeaveAt
  /** What the node or its network use themselves, as it was said. */
  readonly occupied: Troubles
  /** What the kernel refuses, as it was said. */
  readonly refused: Troubles
  /** Passes in a row after which something was left undone. */
  readonly failures: number
  /** The kernel's routes have been read once. */
  readonly loaded: boolean
  readonly pending: Pending
}

export const NOTHING: Pending = {
  full: false,
  allocations: false,
  leave: false,
  pods: HashMap.empty(),
  routes: new Set(),
  links: new Set(),
  reach: new Set()
}

export const initial: State = {
  index: emptyIndex,
  exportSet: undefined,
  links: new Map(),
  installed: HashMap.empty(),
  lingering: HashMap.empty(),
  leaveAt: HashMap.empty(),
  occupied: HashMap.empty(),
  refused: HashMap.empty(),
  failures: 0,
  loaded: false,
  pending: NOTHING
}

/** What the kernel took of a plan. */
export interface Taken {
  readonly added: ReadonlyArray<HostRoute>
  readonly deleted: ReadonlyArray<HostRoute>
}

export type Event =
  | { readonly _tag: "FullPassDue" }
  | { readonly _tag: "LeaveDue" }
  | { readonly _tag: "AllocationsChanged" }
  /** `pods`: their `podKey`. `at`: nanoseconds. */
  | { readonly _tag: "PodsChanged"; readonly pods: ReadonlyArray<string>; readonly at: bigint }
  /** By `hostIfName`. */
  | { readonly _tag: "ReachChanged"; readonly links: ReadonlyArray<string> }
  | { readonly _tag: "KernelChanged"; readonly changes: ReadonlyArray<KernelChange> }
  | { readonly _tag: "AllocationsRead"; readonly allocations: ReadonlyArray<Allocation> }
  | {
    readonly _tag: "LinksRead"
    readonly links: ReadonlyArray<{ readonly ifName: string; readonly ifIndex: number }>
  }
  | {
    readonly _tag: "RoutesRead"
    readonly installed: ReadonlyArray<HostRoute>
    readonly lingering: ReadonlyArray<HostRoute>
  }
  | { readonly _tag: "Installed"; readonly taken: Taken }
  | { readonly _tag: "Lingering"; readonly taken: Taken; readonly leaveAt: LeaveAt }
  /** The end of a pass over `keys`: what of them is occupied, and what the kernel refused. */
  | {
    readonly _tag: "PassEnded"
    readonly keys: ReadonlySet<string>
    readonly occupied: ReadonlyMap<string, string>
    readonly refused: ReadonlyArray<Refused>
  }
  /** It did not come to its end. */
  | { readonly _tag: "PassFailed" }

export type Action =
  /** There is something to look at. */
  | { readonly _tag: "Wake" }
  | { readonly _tag: "GiveExportSet"; readonly addresses: ReadonlyArray<IpAddress> }
  /** Destinations that have a route of protocol 201 now and had none, and the other way round. */
  | {
    readonly _tag: "Report"
    readonly installed: ReadonlyArray<HostRoute>
    readonly removed: ReadonlyArray<HostRoute>
  }
  /** Say `LeaveDue` when the next route may go. */
  | { readonly _tag: "LeaveLater" }
  /** Say `FullPassDue` after so many milliseconds. */
  | { readonly _tag: "RetryLater"; readonly millis: number }
  | { readonly _tag: "SayOccupied"; readonly addresses: ReadonlyArray<OccupiedAddress> }
  | { readonly _tag: "SayFree"; readonly addresses: ReadonlyArray<IpAddress> }
  | { readonly _tag: "SayRefused"; readonly routes: ReadonlyArray<Refused> }

export interface Step {
  readonly state: State
  readonly actions: ReadonlyArray<Action>
}

const mark = (state: State, pending: Partial<Pending>): Step => ({
  state: { ...state, pending: { ...state.pending, ...pending } },
  actions: [{ _tag: "Wake" }]
})

const sameAddresses = (a: ReadonlyArray<IpAddress>, b: ReadonlyArray<IpAddress>): boolean =>
  a.length === b.length && a.every((address, i) => equalAddress(address, b[i] as IpAddress))

/**
 * Kept although the mirror may not have the route: what the kernel took a moment ago is not in the mirror yet. Our own
 * deletions come here too, and are found to be no loss when the batch is taken.
 */
const kernelChanged = (state: State, changes: ReadonlyArray<KernelChange>): Step => {
  const { pending } = state
  const full = changes.some(({ _tag }) => _tag === "Overrun")
  const routes = changes.flatMap((change) =>
    change._tag === "RouteRemoved" && change.route.protocol === PROTOCOL_EXPORT
      ? [destinationKey(change.route.destination)]
      : []
  )
  const links = changes.flatMap((change) => change._tag === "LinkRemoved" ? [change.ifName] : [])
  if (!full && routes.length + links.length === 0) return { state, actions: [] }
  return mark(state, {
    full: pending.full || full,
    routes: new Set([...pending.routes, ...routes]),
    links: new Set([...pending.links, ...links])
  })
}

const podsChanged = (state: State, pods: ReadonlyArray<string>, at: bigint): Step => {
  const fresh = pods.filter((key) => !HashMap.has(state.pending.pods, key))
  return mark(state, { pods: HashMap.setMany(state.pending.pods, fresh.map((key) => [key, at] as const)) })
}

/** `mirror` with what the kernel took, and the destinations that appeared in it or went from it. */
const withTaken = (mirror: Installed, { added, deleted }: Taken) => {
  const keyOf = ({ destination }: HostRoute) => destinationKey(destination)
  const had = (route: HostRoute) => HashMap.has(mirror, keyOf(route))
  const entries = added.map((route): readonly [string, ReadonlyArray<HostRoute>] => [keyOf(route), [route]])
  const next = HashMap.setMany(HashMap.removeMany(mirror, deleted.map(keyOf)), entries)
  return { mirror: next, installed: added.filter((route) => !had(route)), removed: deleted.filter(had) }
}

/** Milliseconds from a pass that failed to the next try: longer each time, as what lasts is found by every full pass. */
const RETRY_MS = { first: 100, longest: 2000 }

const failing = (state: State): Step => {
  const millis = Math.min(RETRY_MS.first * 2 ** Math.min(state.failures, 10), RETRY_MS.longest)
  return { state: { ...state, failures: state.failures + 1 }, actions: [{ _tag: "RetryLater", millis }] }
}

const passEnded = (before: State, event: Extract<Event, { readonly _tag: "PassEnded" }>): Step => {
  const { index } = before
  const holders = (key: string) => index.byDestination.get(key) ?? []
  const occupied = newsOf(before.occupied, event.keys, event.occupied)
  const refused = newsOf(before.refused, event.keys, refusedOf(event.refused))
  const came = occupied.came.map((key) => ({ holders: holders(key), how: event.occupied.get(key) ?? "" }))
  const free = occupied.went.flatMap((key) => holders(key).slice(0, 1).map(({ address }) => address))
  const fresh = event.refused.filter(({ route }) => refused.came.includes(destinationKey(route.destination)))
  const said: ReadonlyArray<Action> = [
    ...(came.length > 0 ? [{ _tag: "SayOccupied", addresses: came } as const] : []),
    ...(free.length > 0 ? [{ _tag: "SayFree", addresses: free } as const] : []),
    ...(fresh.length > 0 ? [{ _tag: "SayRefused", routes: fresh } as const] : [])
  ]
  const state = { ...before, occupied: occupied.troubles, refused: refused.troubles }
  if (HashMap.isEmpty(refused.troubles)) return { state: { ...state, failures: 0 }, actions: said }
  const next = failing(state)
  return { state: next.state, actions: [...said, ...next.actions] }
}

export const step = (state: State, event: Event): Step => {
  switch (event._tag) {
    case "FullPassDue":
      return mark(state, { full: true })
    case "LeaveDue":
      return mark(state, { leave: true })
    case "AllocationsChanged":
      return mark(state, { allocations: true })
    case "PodsChanged":
      return podsChanged(state, event.pods, event.at)
    case "ReachChanged":
      return mark(state, { reach: new Set([...state.pending.reach, ...event.links]) })
    case "KernelChanged":
      return kernelChanged(state, event.changes)
    case "AllocationsRead": {
      const index = makeIndex(event.allocations)
      if (state.exportSet !== undefined && sameAddresses(state.exportSet, index.exportSet)) {
        return { state: { ...state, index }, actions: [] }
      }
      const { exportSet: addresses } = index
      return { state: { ...state, index, exportSet: addresses }, actions: [{ _tag: "GiveExportSet", addresses }] }
    }
    case "LinksRead":
      return { state: { ...state, links: new Map(event.links.map((it) => [it.ifName, it.ifIndex])) }, actions: [] }
    case "RoutesRead": {
      const installed = byDestination(event.installed)
      const lingering = byDestination(event.lingering)
      return { state: { ...state, installed, lingering, loaded: true }, actions: [] }
    }
    case "Installed": {
      const { installed, mirror, removed } = withTaken(state.installed, event.taken)
      const actions: ReadonlyArray<Action> = installed.length + removed.length === 0
        ? []
        : [{ _tag: "Report", installed, removed }]
      return { state: { ...state, installed: mirror }, actions }
    }
    case "Lingering": {
      const lingering = withTaken(state.lingering, event.taken).mirror
      const { leaveAt } = event
      return {
        state: { ...state, lingering, leaveAt },
        actions: HashMap.size(leaveAt) > 0 ? [{ _tag: "LeaveLater" }] : []
      }
    }
    case "PassEnded":
      return passEnded(state, event)
    case "PassFailed":
      return failing(state)
  }
}
