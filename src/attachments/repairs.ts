/** Looks at the kernel, judges what differs, puts it right and says so: of pods' links, and of the node as their router. */
import { Effect, Metric, Ref } from "effect"
import type { Allocation } from "../domain/Allocation.ts"
import { formatAddress } from "../domain/Ip.ts"
import { podKey } from "../domain/Pod.ts"
import { followsReadiness } from "../domain/PodAddresses.ts"
import { quote } from "../domain/quote.ts"
import { KubeApi } from "../kube/KubeApi.ts"
import { type HostDifference, Netlink, type NetlinkError } from "../netlink/Netlink.ts"
import { monotonicMillis } from "../process/monotonic.ts"
import { Allocations } from "../state/Allocations.ts"
import { answerForGateways } from "../state/gateways.ts"
import * as S from "./attachmentsState.ts"
import * as Judge from "./judge.ts"
import * as metrics from "./metrics.ts"

const listed = (words: ReadonlyArray<string>): string =>
  words.slice(0, 5).join(", ") + (words.length > 5 ? ` and ${words.length - 5} more` : "")

const wordsOfDifference = ({ words }: HostDifference): string => quote(words).slice(1, -1)

/** What the kernel says of a link that has gone since it was looked at. */
const GONE = new Set(["ENODEV", "ENXIO"])

const sayDifferences = Effect.fnUntraced(function*({ fights, news }: Judge.Judged) {
  if (news.length > 0) {
    yield* Effect.logWarning(`something else had changed this; put right: ${listed(news.map(wordsOfDifference))}`)
  }
  if (fights.length > 0) {
    yield* Effect.logWarning(
      `something keeps changing this, and it is put right again and again: ${listed(fights.map(wordsOfDifference))}`
    )
  }
})

export const make = Effect.fnUntraced(function*(state: Ref.Ref<S.State>) {
  const allocations = yield* Allocations
  const netlink = yield* Netlink
  const services = yield* Effect.context<Allocations | KubeApi | Netlink>()

  const readAllocations = Effect.flatMap(allocations.list, (list) => Ref.update(state, (now) => S.allocated(now, list)))

  const node = Effect.gen(function*() {
    const failed = (error: NetlinkError) => Effect.succeed({ restored: [], problems: [error.message] })
    const settings = yield* Effect.catch(netlink.prepareHost, failed)
    const gateways = yield* answerForGateways.pipe(
      Effect.provideContext(services),
      Effect.map((missing) => ({
        restored: missing.map((gateway) => `gateway ${formatAddress(gateway)}`),
        problems: []
      })),
      Effect.catch(failed)
    )
    const prepared = {
      restored: [...settings.restored, ...gateways.restored],
      problems: [...settings.problems, ...gateways.problems]
    }
    const now = yield* monotonicMillis
    const { fight, isNew, news } = yield* Ref.modify(state, (before) => {
      const judged = Judge.nodePrepared(before, prepared, now)
      return [{ ...judged, isNew: judged.state.nodeProblem !== before.nodeProblem }, judged.state] as const
    })
    if (prepared.restored.length > 0) yield* Metric.update(metrics.repairsOf("node"), prepared.restored.length)
    if (news) yield* Effect.logWarning(`settings were not as they have to be; set: ${listed(prepared.restored)}`)
    if (fight) {
      yield* Effect.logWarning(
        `something keeps changing this, and it is put right again and again: ${listed(prepared.restored)}`
      )
    }
    if (isNew && prepared.problems.length > 0) {
      yield* Effect.logWarning(listed(prepared.problems))
    }
  })

  const links = Effect.fnUntraced(function*(plans: Parameters<Netlink["Service"]["lookAtHostEnds"]>[0]) {
    const { differences, links } = yield* netlink.lookAtHostEnds(plans)
    // What was deleted meanwhile is wanted no more.
    yield* readAllocations
    const now = yield* monotonicMillis
    const judged = yield* Ref.modify(state, (before) => {
      const judged = Judge.looked(before, { plans, differences, links }, now)
      return [judged, judged.state] as const
    })
    if (judged.repair.length > 0) {
      const failed = yield* netlink.repairHostEnds(judged.repair)
      yield* readAllocations
      const failures = failed.filter(({ error }) => !GONE.has(error.errno)).map(({ difference, error }) => ({
        difference,
        message: error.message
      }))
      yield* Ref.update(state, (now) => Judge.refused(now, failures))
      for (const [kind, list] of Map.groupBy(judged.repair, ({ kind }) => kind)) {
        yield* Metric.update(metrics.repairsOf(kind), list.length)
      }
    }
    yield* sayDifferences(judged)
  })

  /** One after another: each is in its pod's namespace for a moment. */
  const inside = Effect.gen(function*() {
    const kube = yield* KubeApi
    const pods = yield* kube.pods
    const isAnnounced = ({ addresses, pod }: Allocation) =>
      followsReadiness(addresses).length > 0 && pods.get(podKey(pod))?.ready === true
    const at = yield* monotonicMillis
    const targets = yield* Ref.modify(state, (now) => S.takeInside(now, isAnnounced, at))
    for (const { ifIndex, plan } of targets) {
      const found = yield* netlink.lookInside(plan, ifIndex)
      const now = yield* monotonicMillis
      yield* Ref.update(state, (before) => S.withInside(before, plan.hostIfName, plan, found, now))
    }
  }).pipe(Effect.provideContext(services))

  return {
    readAllocations,
    inside,
    /** Once, without a word: a host that does not answer for the gateways yet is no news. */
    gateways: Effect.ignore(Effect.provideContext(answerForGateways, services)),
    node,
    links
  }
})
