/** What is to be done about what was found. Pure. */
import type { HostDifference, HostEndState, PodLinkPlan } from "../netlink/Netlink.ts"
import { type Problem, type State, withLink } from "./attachmentsState.ts"
import { current as fresh, dueAt, isFight, repaired } from "./backOff.ts"

export interface Look {
  readonly plans: ReadonlyArray<PodLinkPlan>
  readonly differences: ReadonlyArray<HostDifference>
  readonly links: ReadonlyArray<HostEndState>
}

const nameOf = ({ hostIfName }: PodLinkPlan): string => hostIfName

const streakKey = ({ hostIfName, what }: HostDifference): string => `${hostIfName} ${what}`

export interface Judged {
  readonly state: State
  readonly repair: ReadonlyArray<HostDifference>
  /** Of those, the ones that are news: not of a fight that was said. */
  readonly news: ReadonlyArray<HostDifference>
  /** Those that keep being changed, said once. */
  readonly fights: ReadonlyArray<HostDifference>
}

/** What to put right now of what a look found; the rest is suspect until its time has come. */
export const looked = (before: State, { differences, links, plans }: Look, now: number): Judged => {
  const withLinks = links.reduce((next, { hostIfName, ...link }) => withLink(next, hostIfName, link), before)
  // A name comes back with its attachment, after a DEL and another ADD, and the plan is another one then.
  const current = new Set(plans.filter((plan) => withLinks.wanted.get(plan.hostIfName)?.plan === plan).map(nameOf))
  const found = differences.filter(({ hostIfName }) => current.has(hostIfName))
  const due = found.filter((d) => dueAt(withLinks.streaks.get(streakKey(d)), now) <= now)
  const streaks = new Map(fresh(withLinks.streaks, now))
  // To look at what cannot be put right is no repair, however often.
  for (const d of due.filter(({ kind, repair }) => repair !== undefined || kind === "gone")) {
    streaks.set(streakKey(d), repaired(streaks.get(streakKey(d)), now))
  }
  const problems = new Map(withLinks.problems)
  for (const hostIfName of current) {
    const standing = found.filter((d) =>
      d.hostIfName === hostIfName && (d.kind === "gone"
        // A DEL removes the link first and the record a moment later.
        ? before.streaks.has(streakKey(d))
        : d.repair === undefined || isFight(streaks.get(streakKey(d)), now))
    )
    // In a fight it is right now and then; it counts as wrong until there is quiet.
    const known = problems.get(hostIfName)
    const fought = known !== undefined &&
      [...streaks].some(([key, streak]) => key.startsWith(`${hostIfName} `) && isFight(streak, now))
    if (standing.length > 0) problems.set(hostIfName, problemOf(hostIfName, standing))
    else if (!fought) problems.delete(hostIfName)
  }
  // Whatever it was: what was done has to have helped.
  const later = new Map(withLinks.later)
  for (const { hostIfName } of plans) later.delete(hostIfName)
  for (const d of found.filter(({ kind, repair }) => repair !== undefined || kind === "gone")) {
    const due = Math.max(now + 1, dueAt(streaks.get(streakKey(d)), now))
    later.set(d.hostIfName, Math.min(due, later.get(d.hostIfName) ?? due))
  }
  // The kernel makes IPv6 of a link anew when its MTU allows it again, with nobody's settings.
  const node = withLinks.suspects.node || links.some(({ settled }) => !settled)
  const state = { ...withLinks, streaks, problems, later, suspects: { ...withLinks.suspects, node } }
  return {
    state,
    repair: due.filter(({ repair }) => repair !== undefined),
    news: due.filter((d) => d.repair !== undefined && streaks.get(streakKey(d))?.repairs === 1),
    fights: due.filter((d) =>
      d.repair !== undefined && isFight(streaks.get(streakKey(d)), now) &&
      !isFight(before.streaks.get(streakKey(d)), now)
    )
  }
}

const problemOf = (
  hostIfName: string,
  differences: ReadonlyArray<Pick<HostDifference, "words" | "cuts">>
): Problem => ({
  hostIfName,
  words: differences.map(({ words }) => words).join("; "),
  cuts: [...new Set(differences.flatMap(({ cuts }) => cuts))].toSorted()
})

/** Repairs that the kernel refused. */
export const refused = (
  state: State,
  failures: ReadonlyArray<{ readonly difference: HostDifference; readonly message: string }>
): State => {
  const problems = new Map(state.problems)
  for (const [hostIfName, list] of Map.groupBy(failures, ({ difference }) => difference.hostIfName)) {
    if (!state.wanted.has(hostIfName)) continue
    problems.set(
      hostIfName,
      problemOf(
        hostIfName,
        list.map(({ difference: { cuts, words }, message }) => ({ cuts, words: `${words} (${message})` }))
      )
    )
  }
  return { ...state, problems }
}

export interface NodeJudged {
  readonly state: State
  readonly news: boolean
  readonly fight: boolean
}

export const nodePrepared = (
  before: State,
  { problems, restored }: { readonly restored: ReadonlyArray<string>; readonly problems: ReadonlyArray<string> },
  now: number
): NodeJudged => {
  const was = before.streaks.get("node")
  const streaks = new Map(fresh(before.streaks, now))
  if (restored.length > 0) streaks.set("node", repaired(was, now))
  const streak = streaks.get("node")
  const fighting = isFight(streak, now)
  const nodeProblem = problems.length > 0
    ? problems.join("; ")
    : !fighting
    ? undefined
    : restored.length > 0
    ? `another program keeps changing what flock set: ${restored.join(", ")}`
    : before.nodeProblem
  return {
    state: { ...before, streaks, nodeProblem },
    news: restored.length > 0 && streak?.repairs === 1,
    fight: fighting && !isFight(was, now)
  }
}
