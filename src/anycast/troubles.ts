/** What keeps addresses from being announced though their pods are Ready: said when it comes, not at every look. Pure. */
import { HashMap, Option } from "effect"
import { occupiedNow, type Rules } from "../domain/announcement.ts"
import type { HostRoute } from "../netlink/Netlink.ts"
import { destinationKey, type Holder, type Index } from "./holders.ts"

/** In words, by destination. */
export type Troubles = HashMap.HashMap<string, string>

export interface News {
  readonly troubles: Troubles
  /** Destinations whose trouble is new or another one. */
  readonly came: ReadonlyArray<string>
  /** Destinations that are free of it. */
  readonly went: ReadonlyArray<string>
}

/** `seen`: what a look at `keys` found; nothing is known of other destinations. */
export const newsOf = (before: Troubles, keys: Iterable<string>, seen: ReadonlyMap<string, string>): News => {
  const went = [...keys].filter((key) => !seen.has(key) && HashMap.has(before, key))
  const came = [...seen].filter(([key, words]) => Option.getOrUndefined(HashMap.get(before, key)) !== words)
  return {
    troubles: HashMap.setMany(HashMap.removeMany(before, went), came),
    came: came.map(([key]) => key),
    went
  }
}

/** Those of these destinations that the node or its network use themselves. */
export const occupiedOf = (
  keys: Iterable<string>,
  index: Index,
  { occupied, spec }: Rules
): ReadonlyMap<string, string> => {
  const seen = new Map<string, string>()
  if (spec === undefined) return seen
  for (const key of keys) {
    const holder = index.byDestination.get(key)?.[0]
    const no = holder && occupiedNow(holder.address, spec, occupied)
    if (no !== undefined) seen.set(key, no.how)
  }
  return seen
}

/** A route that the kernel did not take, and why. */
export interface Refused {
  readonly verb: "add" | "delete"
  readonly route: HostRoute
  readonly detail: string
}

export const refusedOf = (all: ReadonlyArray<Refused>): ReadonlyMap<string, string> =>
  new Map(all.map(({ detail, route, verb }) => [
    destinationKey(route.destination),
    `${verb} of protocol ${route.protocol}: ${detail}`
  ]))

export interface OccupiedAddress {
  /** Each pod that has it. */
  readonly holders: ReadonlyArray<Holder>
  readonly how: string
}
