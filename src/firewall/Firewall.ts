/** flock's own tables of nf_tables in the node's namespace: kept as they should be, counted, removed. */
import { Context, Effect, Layer, Semaphore, type Stream } from "effect"
import { constants } from "node:os"
import type { Family } from "../domain/Ip.ts"
import { type Message, readText } from "../netlink/codec.ts"
import { Namespaces } from "../netlink/namespace.ts"
import { type Chain, readChains } from "./chains.ts"
import { changes } from "./changes.ts"
import type { FirewallError } from "./errors.ts"
import { holds, readElements } from "./kernel.ts"
import { legacyForward, type Policy } from "./legacy.ts"
import * as N from "./nft.ts"
import {
  addKeys,
  build,
  deleteKeys,
  type Elements,
  keysOf,
  type Reason,
  REASONS,
  TABLE,
  type Table,
  tablesOf
} from "./ruleset.ts"
import * as Transactions from "./transactions.ts"

export interface Wanted extends Elements {
  /** Off: only what speaks to the node as a router would is dropped. */
  readonly antiSpoofing: boolean
}

/** What was dropped of one link's packets, since its table was made. */
export interface Drops {
  readonly ifName: string
  readonly reason: Reason
  readonly packets: number
}

export class Firewall extends Context.Service<Firewall, {
  /** Makes the kernel's tables what is wanted; the result says whether anything differed. */
  readonly apply: (wanted: Wanted) => Effect.Effect<boolean, FirewallError>
  readonly drops: Effect.Effect<ReadonlyArray<Drops>, FirewallError>
  /** Forgets the counts of links. */
  readonly forget: (drops: ReadonlyArray<Drops>) => Effect.Effect<void, FirewallError>
  /** Everybody's chains. */
  readonly chains: Effect.Effect<ReadonlyArray<Chain>, FirewallError>
  /**
   * What iptables-legacy does with forwarded packets that none of its rules takes. Only where it has a table `filter`: the
   * kernel makes one for whoever asks. undefined: it cannot be read.
   */
  readonly legacyForward: (family: Family) => Effect.Effect<Policy | undefined>
  /** Removes the tables; not being there is success. */
  readonly remove: Effect.Effect<void, FirewallError>
  /** Emits when somebody changes our tables, this agent included. */
  readonly changes: Stream.Stream<void, FirewallError>
}>()("flock/Firewall") {
  /** `netns`: path of the node's network namespace. Default: the process's own. Opens its sockets at first use. */
  static readonly layer = (options: { readonly netns?: string } = {}): Layer.Layer<Firewall> =>
    Layer.effect(Firewall, make(options))

  /** Members that a test does not give die when they are used. */
  static readonly layerTest = (members: Partial<Firewall["Service"]>) => Layer.mock(Firewall, members)
}

const { ENOENT } = constants.errno

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

const make = (options: { readonly netns?: string }) =>
  Effect.gen(function*() {
    const namespaces = yield* Effect.acquireRelease(
      Effect.sync(() => new Namespaces(options.netns)),
      (open) => Effect.sync(() => open.close())
    )
    const { commit, dump } = yield* Transactions.make(namespaces)
    const lock = yield* Semaphore.make(1)

    const elementsOf = (set: string, family: number = N.NFPROTO_INET) =>
      Effect.map(dump(`list ${set}`, N.getElements(family, TABLE, set)), readElements)

    const isThere = Effect.fnUntraced(function*(table: Table) {
      const seen = {
        tables: yield* dump("list tables", N.getTables(table.family)),
        chains: yield* dump("list chains", N.getChains(table.family)),
        rules: yield* dump("list rules", N.getRules(table.family, TABLE))
      }
      return holds(table, seen)
    })

    const applyElements = Effect.fnUntraced(function*(wanted: Wanted) {
      const changes: Array<Message> = []
      for (const [set, keys] of keysOf(wanted)) {
        const there = new Map((yield* elementsOf(set)).map(({ key }) => [hex(key), key]))
        const names = new Map(keys.map((key) => [hex(key), key]))
        changes.push(
          ...deleteKeys(set, [...there].filter(([name]) => !names.has(name)).map(([, key]) => key)),
          ...addKeys(set, [...names].filter(([name]) => !there.has(name)).map(([, key]) => key))
        )
      }
      yield* commit("change elements", changes)
      return changes.length > 0
    })

    const apply = Effect.fnUntraced(function*(wanted: Wanted) {
      const missing = yield* Effect.filter(tablesOf(wanted.antiSpoofing), (table) =>
        Effect.map(isThere(table), (there) => !there))
      yield* commit(
        "make the tables",
        missing.flatMap((table) =>
          build(table, wanted)
        )
      )
      const changed = yield* applyElements(wanted)
      return changed || missing.length > 0
    }, lock.withPermit)

    const drops = Effect.gen(function*() {
      const counted = (reason: Reason, family: number) =>
        Effect.map(
          elementsOf(reason, family),
          (elements) => elements.map(({ key, packets }): Drops => ({ ifName: readText(key), reason, packets }))
        )
      const inet = yield* Effect.forEach(REASONS, (reason) => counted(reason, N.NFPROTO_INET))
      const sums = new Map<string, Drops>()
      for (const one of [...inet.flat(), ...yield* counted("flooding", N.NFPROTO_ARP)]) {
        const key = `${one.ifName} ${one.reason}`
        sums.set(key, { ...one, packets: one.packets + (sums.get(key)?.packets ?? 0) })
      }
      return [...sums.values()]
    })

    const forget = Effect.fnUntraced(function*(gone: ReadonlyArray<Drops>) {
      // One by one: an element that is not there undoes the whole transaction.
      for (const { ifName, reason } of gone) {
        for (const family of [N.NFPROTO_INET, N.NFPROTO_ARP]) {
          yield* commit("forget counts", [N.deleteElements(family, TABLE, reason, [N.ifName(ifName)])], ENOENT)
        }
      }
    }, lock.withPermit)

    const remove = Effect.forEach(
      tablesOf(true),
      ({ family }) => commit("remove the tables", [N.deleteTable(family, TABLE)], ENOENT),
      { discard: true }
    ).pipe(lock.withPermit)

    const chains = Effect.map(dump("list chains", N.getChains(N.NFPROTO_UNSPEC)), readChains)

    return Firewall.of({
      apply,
      chains,
      drops,
      forget,
      legacyForward: (family) => Effect.sync(() => legacyForward(namespaces, family)),
      remove,
      changes: changes(namespaces)
    })
  })
