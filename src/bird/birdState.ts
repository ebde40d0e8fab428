/** What the agent knows of BIRD as one value; an event makes the next value and says what has to be done. Pure. */
import { containsCidr, parseCidr } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import { withBfd } from "./bfd.ts"
import type { Action, Event, State, Step } from "./birdEvents.ts"
import { asnText, type BirdStatus, changeLines, peerText, sameLiveness, withConfigured } from "./birdStatus.ts"
import { type LimitHit, limitHitWords } from "./exportLimit.ts"
import { keep, sameKept } from "./kept.ts"
import * as Overlaps from "./overlaps.ts"
import { cannotListen, withHits, withNotes } from "./peerNotes.ts"
import { protocolName } from "./protocolName.ts"
import { hurry, recover } from "./recovery.ts"
import { hasLostRouter, routersOf } from "./routerMemory.ts"
import { heard, seen } from "./sessionNotes.ts"

/** Problems are logged once, not at each round that finds them again. */
const report = (state: State, problems: ReadonlyArray<string>, refusal: string): Step => {
  const actions: Array<Action> = problems.filter((problem) => !state.problems.includes(problem))
    .map((message) => ({ _tag: "Log", level: "Warn", message }))
  if (refusal !== "" && refusal !== state.refusal) {
    const message = `BIRD refuses its configuration, the former one stays in force: ${refusal}`
    actions.push({ _tag: "Log", level: "Error", message })
  }
  return { state: { ...state, problems, refusal }, actions }
}

const applied = (before: State, event: Extract<Event, { readonly _tag: "Applied" }>): Step => {
  const { at, milliseconds, outcome, problems, revision } = event
  const { actions, state } = report(before, problems, outcome._tag === "Rejected" ? outcome.detail : "")
  if (outcome._tag !== "Applied") return { state, actions }
  const message = "BIRD took a new configuration"
  return {
    state: { ...state, reloads: state.reloads + 1, changedAt: at },
    actions: [...actions, { _tag: "Log", level: "Info", message, annotations: { revision, milliseconds } }]
  }
}

const sameChannel = (a: LimitHit, b: LimitHit): boolean => a.protocol === b.protocol && a.channel === b.channel

const givenUpLine = (state: State, status: BirdStatus, protocol: string): ReadonlyArray<Action> => {
  const peer = status.peers.find((it) => it.protocol === protocol)
  if (peer === undefined || (state.recovery.get(protocol)?.attempts ?? 0) > 0) return []
  const message =
    `BGP session with ${peerText(peer)} (AS ${asnText(peer)}): BIRD gave it up for good (${peer.lastError}); ` +
    "it is enabled again until it comes up"
  return [{ _tag: "Log", level: "Warn", message }]
}

/** Whether a route may be learned, as far as `importCIDRs` says. */
const importable = (config: NodeConfig | undefined) => (prefix: string): boolean => {
  const cidr = parseCidr(prefix)
  return !("problem" in cidr) && (config?.spec.bgp?.importCIDRs ?? []).some((allowed) => containsCidr(allowed, cidr))
}

const heardLines = (state: State, lines: ReadonlyArray<string>, now: string): Step => {
  const allowed = importable(state.config)
  return {
    state: { ...state, notes: lines.reduce((notes, it) => heard(notes, it, now, allowed), state.notes) },
    actions: []
  }
}

const bfdPeers = (config: NodeConfig | undefined): ReadonlySet<string> =>
  new Set((config?.spec.bgp?.peers ?? []).filter(({ bfd }) => bfd).map(protocolName))

/** Of the sessions that the NodeConfig wants. */
const protocolsOf = (config: NodeConfig | undefined): ReadonlySet<string> | undefined =>
  config && new Set((config.spec.bgp?.peers ?? []).map(protocolName))

const answered = (state: State, event: Extract<Event, { readonly _tag: "Answered" }>): Step => {
  const { answer, at, generation } = event
  const { config, drained, leaving, problems, refusal, reloads, status: before, waiting } = state
  const error = answer._tag === "Down" ? answer.error : ""
  const errors = [...problems, refusal, error].filter((text) => text !== "")
  const hits = answer._tag === "Up" ? answer.hits : []
  const seenPeers = answer._tag === "Up" ? answer.peers : []
  // What is known of a session outlives a BIRD that is away for a moment.
  const notes = answer._tag === "Up" ? seen(state.notes, answer.peers, answer.learned, event.now) : state.notes
  const overlaps = answer._tag === "Up" ? Overlaps.seenNow(state.overlaps, answer.overlaps, at) : state.overlaps
  const learned = answer._tag === "Up" ? Overlaps.standing(overlaps, answer.peers, at) : state.learned
  const deaf = seenPeers.some(cannotListen)
  const port = deaf ? state.port : undefined
  const kept = answer._tag === "Up" ? keep(state.kept, answer.peers, answer.inForce, protocolsOf(config)) : state.kept
  const { due, recovery } = recover(state.recovery, drained ? [] : seenPeers, at)
  const configured = withHits(withConfigured(seenPeers, config, waiting), hits)
  const withDetection = withBfd(configured, bfdPeers(config), answer._tag === "Up" ? answer.bfd : new Map())
  const status: BirdStatus = {
    enabled: true,
    up: answer._tag === "Up",
    version: answer._tag === "Up" ? answer.version : "",
    peers: withNotes(withDetection, notes, answer._tag === "Up" ? answer.unreachable : new Map(), port),
    stale: errors.length > 0,
    configError: errors.join("; "),
    reloads,
    drained,
    leaving
  }
  return {
    state: {
      ...state,
      status,
      hits,
      notes,
      port,
      recovery,
      kept,
      found: state.config === undefined ? routersOf(seenPeers) : state.found,
      overlaps,
      learned,
      generation,
      changedAt: sameLiveness(status, before) ? state.changedAt : at
    },
    actions: [
      { _tag: "Publish", now: status, before },
      ...changeLines(status, before, error),
      ...(Overlaps.textOf(learned) === Overlaps.textOf(state.learned) ? [] : [
        { _tag: "TellOverlaps", learned } satisfies Action
      ]),
      ...hits.filter((hit) => !state.hits.some((it) => sameChannel(it, hit))).map((hit): Action => ({
        _tag: "Log",
        level: "Error",
        message: `${hit.protocol}: ${limitHitWords(hit)}`
      })),
      ...new Set(hits.filter(({ room }) => room).map(({ protocol }) => protocol)).values().map((protocol): Action => ({
        _tag: "ExportAgain",
        protocol
      })),
      ...(sameKept(kept, state.kept) ? [] : [{ _tag: "SaveKept", kept } as const]),
      ...due.flatMap((protocol) => givenUpLine(state, status, protocol)),
      ...(due.length > 0 ? [{ _tag: "Enable", protocols: due } as const] : []),
      ...(deaf ? [{ _tag: "FindPortOwner", known: port?.sockets } as const] : []),
      // A BIRD that came, or came back, may run anything.
      ...(generation === state.generation && !hasLostRouter(status, before)
        ? []
        : [{ _tag: "RequestReload" } as const])
    ]
  }
}

export const step = (state: State, event: Event): Step => {
  switch (event._tag) {
    case "ExportSetGiven": {
      // Later ones come with a request of their own.
      const first = state.exportSet === undefined
      return {
        state: { ...state, exportSet: event.addresses },
        actions: first ? [{ _tag: "RequestReload" }] : []
      }
    }
    case "DrainAsked":
      return { state: { ...state, drained: event.drained, leaving: false }, actions: [] }
    case "LeaveAsked":
      return { state: { ...state, leaving: !state.drained }, actions: [] }
    case "WantedRead": {
      const { ceiling, config, ends, found, links, passwords, probed, waiting } = event
      return { state: { ...state, ceiling, config, ends, found, links, passwords, probed, waiting }, actions: [] }
    }
    case "Applied":
      return applied(state, event)
    case "Failed":
      return report(state, [event.message], state.refusal)
    case "Answered":
      return answered(state, event)
    case "Heard":
      return heardLines(state, event.lines, event.now)
    case "LinkChanged":
      return { state: { ...state, changedAt: event.at }, actions: [] }
    case "PortOwnerFound": {
      const deaf = state.status.peers.filter(cannotListen).map(({ protocol }) => protocol)
      return { state: { ...state, port: event.port, recovery: hurry(state.recovery, deaf) }, actions: [] }
    }
  }
}
