/** What the agent knows of BIRD as one value; an event makes the next value and says what has to be done. Pure. */
import type { Redacted } from "effect"
import { containsCidr, type IpAddress, parseCidr } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import type { LearnedPrefix } from "../domain/occupied.ts"
import type { Outcome } from "./apply.ts"
import { type BfdStatus, withBfd } from "./bfd.ts"
import {
  asnText,
  type BirdStatus,
  changeLines,
  initial,
  type LogLine,
  type PeerStatus,
  peerText,
  sameLiveness,
  withConfigured
} from "./birdStatus.ts"
import { type LimitHit, limitHitWords } from "./exportLimit.ts"
import { type InForce, keep, type Kept, NOTHING_KEPT, sameKept } from "./kept.ts"
import type { LocalEnd } from "./local.ts"
import * as Overlaps from "./overlaps.ts"
import { protocolName } from "./protocolName.ts"
import { hurry, isGivenUp, recover, type Recovery } from "./recovery.ts"
import { hasLostRouter, routersOf } from "./routerMemory.ts"
import { heard, type Notes, seen, unusableOf } from "./sessionNotes.ts"
import type { PeerProblem } from "./sessions.ts"

export interface PortHolders {
  /** Tells one set of listening sockets from another. */
  readonly sockets: string
  /** To follow "taken by"; absent: nobody is seen. */
  readonly words: string | undefined
}

export interface State {
  /** Absent until given: to write a file without it would withdraw what a previous agent announced. */
  readonly exportSet: ReadonlyArray<IpAddress> | undefined
  readonly drained: boolean
  readonly leaving: boolean
  /** By `secretKey`. The last known ones serve while the API server does not answer. */
  readonly passwords: ReadonlyMap<string, Redacted.Redacted>
  /** The router that each unnumbered session is with, by BIRD's name of the session. */
  readonly found: ReadonlyMap<string, IpAddress>
  /** What sessions had when they were Established last. */
  readonly kept: Kept
  /** The ends that sessions were rendered with last, by protocol. */
  readonly ends: ReadonlyMap<string, LocalEnd>
  /** Indexes of the interfaces of unnumbered peers, as far as they are there. */
  readonly links: ReadonlyArray<number>
  /** The NodeConfig that was rendered last. */
  readonly config: NodeConfig | undefined
  /** What of the NodeConfig is not in force. */
  readonly problems: ReadonlyArray<string>
  /** Those of the problems that are one peer's. */
  readonly waiting: ReadonlyArray<PeerProblem>
  /** How many addresses may be exported; absent until a NodeConfig and the export set are known. */
  readonly ceiling: number | undefined
  /** Sessions whose export limit holds routes back. */
  readonly hits: ReadonlyArray<LimitHit>
  /** BIRD's words about a configuration that it refuses; empty if it refuses none. */
  readonly refusal: string
  /** Configurations that BIRD took. */
  readonly reloads: number
  /** When BIRD's configuration, its liveness or a link last changed, of `monotonicMillis`. */
  readonly changedAt: number
  /** Of the control connection over which BIRD last answered. */
  readonly generation: number
  /** What BIRD said of sessions and does not say any more. */
  readonly notes: Notes
  /** Who has the port that BIRD should listen on; absent while BIRD listens, or that is not known. */
  readonly port: PortHolders | undefined
  readonly recovery: Recovery
  /** Routes in the node's own prefixes, while BIRD does not answer those of before. */
  readonly overlaps: Overlaps.Seen
  /** Of those, what was told of last. */
  readonly learned: ReadonlyArray<LearnedPrefix>
  readonly status: BirdStatus
}

export const initialState: State = {
  exportSet: undefined,
  drained: false,
  leaving: false,
  passwords: new Map(),
  found: new Map(),
  kept: NOTHING_KEPT,
  ends: new Map(),
  links: [],
  config: undefined,
  problems: [],
  waiting: [],
  ceiling: undefined,
  hits: [],
  refusal: "",
  reloads: 0,
  changedAt: 0,
  generation: 0,
  notes: new Map(),
  port: undefined,
  recovery: new Map(),
  overlaps: new Map(),
  learned: [],
  status: initial(true)
}

/** BIRD's reply to the question for its sessions; `error` says why there is none. */
export type Answer =
  | {
    readonly _tag: "Up"
    readonly version: string
    readonly peers: ReadonlyArray<PeerStatus>
    readonly hits: ReadonlyArray<LimitHit>
    /** By the peer's address. */
    readonly bfd: ReadonlyMap<string, BfdStatus>
    /** Routes that BIRD has and cannot resolve, by protocol. */
    readonly unreachable: ReadonlyMap<string, ReadonlyArray<string>>
    /** What the sessions of `State.notes` with dropped routes taught, by protocol. */
    readonly learned: ReadonlyMap<string, ReadonlySet<string>>
    /** Routes in the node's own prefixes. */
    readonly overlaps: ReadonlyArray<Overlaps.Overlap>
    readonly inForce: InForce
  }
  | { readonly _tag: "Down"; readonly error: string }

/** `at`: of `monotonicMillis`. */
export type Event =
  | { readonly _tag: "ExportSetGiven"; readonly addresses: ReadonlyArray<IpAddress> }
  | { readonly _tag: "DrainAsked"; readonly drained: boolean }
  /** Everything shall be announced as the last choice, before the sessions are shut. */
  | { readonly _tag: "LeaveAsked" }
  | {
    readonly _tag: "WantedRead"
    readonly config: NodeConfig | undefined
    readonly waiting: ReadonlyArray<PeerProblem>
    readonly ceiling: State["ceiling"]
    readonly passwords: State["passwords"]
    readonly found: State["found"]
    readonly ends: State["ends"]
    readonly links: State["links"]
  }
  | {
    readonly _tag: "Applied"
    readonly outcome: Outcome
    readonly problems: ReadonlyArray<string>
    readonly revision: string
    readonly milliseconds: number
    readonly at: number
  }
  /** The kernel or the file system refused something on the way. */
  | { readonly _tag: "Failed"; readonly message: string }
  | {
    readonly _tag: "Answered"
    readonly answer: Answer
    readonly generation: number
    readonly at: number
    /** RFC 3339. */
    readonly now: string
  }
  /** Lines of BIRD's log. `now`: RFC 3339. */
  | { readonly _tag: "Heard"; readonly lines: ReadonlyArray<string>; readonly now: string }
  | { readonly _tag: "PortOwnerFound"; readonly port: PortHolders }
  /** Sessions may go or come now. */
  | { readonly _tag: "LinkChanged"; readonly at: number }

export type Action =
  | LogLine
  | { readonly _tag: "RequestReload" }
  /** Export everything again: what was held back has room now. */
  | { readonly _tag: "ExportAgain"; readonly protocol: string }
  | { readonly _tag: "SaveKept"; readonly kept: Kept }
  /** Sessions that BIRD gave up. */
  | { readonly _tag: "Enable"; readonly protocols: ReadonlyArray<string> }
  /** BIRD cannot listen: say `PortOwnerFound` where others than `known` do. */
  | { readonly _tag: "FindPortOwner"; readonly known: string | undefined }
  /** Routers announce this of the node's own prefixes. */
  | { readonly _tag: "TellOverlaps"; readonly learned: ReadonlyArray<LearnedPrefix> }
  /** The metrics. */
  | { readonly _tag: "Publish"; readonly now: BirdStatus; readonly before: BirdStatus }

export interface Step {
  readonly state: State
  readonly actions: ReadonlyArray<Action>
}

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

const withHits = (peers: ReadonlyArray<PeerStatus>, hits: ReadonlyArray<LimitHit>): ReadonlyArray<PeerStatus> =>
  peers.map((peer) => {
    const words = hits.filter(({ protocol }) => protocol === peer.protocol).map(limitHitWords)
    return words.length === 0 ? peer : { ...peer, problem: [peer.problem ?? [], words].flat().join("; ") }
  })

/** BIRD's words for a session that has no socket to listen on (`bgp_misc_errors`, proto/bgp/bgp.c, 2.0.12 to 3.3.2). */
const cannotListen = (peer: PeerStatus): boolean => isGivenUp(peer) && peer.lastError.includes("No listening socket")

const withNotes = (
  peers: ReadonlyArray<PeerStatus>,
  notes: Notes,
  unreachable: ReadonlyMap<string, ReadonlyArray<string>>,
  port: PortHolders | undefined
): ReadonlyArray<PeerStatus> =>
  peers.map((peer) => {
    const note = notes.get(peer.protocol)
    const unusable = unusableOf(note, unreachable.get(peer.protocol) ?? [])
    const givenUp = peer.problem === undefined ? givenUpWords(peer, port) : undefined
    return {
      ...peer,
      ...(note?.notification === undefined ? {} : { lastNotification: note.notification }),
      ...(unusable === undefined ? {} : { unusable }),
      ...(givenUp === undefined ? {} : { problem: givenUp })
    }
  })

/** Why BIRD disabled the session, and what comes of it; nothing until it is known who has the port. */
const givenUpWords = (peer: PeerStatus, port: PortHolders | undefined): string | undefined => {
  if (!isGivenUp(peer) || (cannotListen(peer) && port === undefined)) return undefined
  return cannotListen(peer) && port?.words !== undefined
    ? `BIRD cannot listen on port 179, which is taken by ${port.words}; the session is tried again until it is free`
    : `BIRD gave the session up (${peer.lastError}); it is tried again every 30 s at most`
}

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
      const { ceiling, config, ends, found, links, passwords, waiting } = event
      return { state: { ...state, ceiling, config, ends, found, links, passwords, waiting }, actions: [] }
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
