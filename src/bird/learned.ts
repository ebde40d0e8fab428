/** Which learned routes BIRD has, and which of them lead nowhere. */
import { Effect } from "effect"
import type { Control } from "./control.ts"
import { destinationsOf } from "./exports.ts"
import type { Reply } from "./reply.ts"

/** By protocol, in prefix notation. A second route to one destination leaves it out. */
export const unreachableOf = (reply: Reply): ReadonlyMap<string, ReadonlyArray<string>> => {
  const found = new Map<string, Array<string>>()
  let destination = ""
  for (const { text } of reply.lines) {
    const [, prefix, protocol] = /^(\S+\/\d+)?\s+unreachable \[(\S+) /.exec(text) ?? []
    destination = /^(\S+\/\d+) /.exec(text)?.[1] ?? destination
    if (protocol !== undefined) found.set(protocol, [...found.get(protocol) ?? [], prefix ?? destination])
  }
  return found
}

const none = <A>(): ReadonlyMap<string, A> => new Map()

/** BIRD keeps a route whose next hop it cannot resolve, and installs it as unreachable. Multihop sessions only. */
export const unreachable = (control: Control) =>
  control.command("show route where source = RTS_BGP && dest = RTD_UNREACHABLE").pipe(
    Effect.map(unreachableOf),
    Effect.orElseSucceed(none<ReadonlyArray<string>>)
  )

/** What these sessions taught, by protocol. */
export const learnedFrom = (control: Control, protocols: ReadonlyArray<string>) =>
  Effect.forEach(protocols, (protocol) =>
    control.command(`show route protocol ${protocol}`).pipe(
      Effect.map((reply): readonly [string, ReadonlySet<string>] => [protocol, destinationsOf(reply)]),
      Effect.orElseSucceed((): readonly [string, ReadonlySet<string>] => [protocol, new Set()])
    )).pipe(Effect.map((all): ReadonlyMap<string, ReadonlySet<string>> => new Map(all)))
