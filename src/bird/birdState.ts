/** What the agent knows of BIRD as one value; an event makes the next value and says what has to be done. Pure. */
import type { Redacted } from "effect"
import type { IpAddress } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import type { Outcome } from "./apply.ts"
import {
  type BirdStatus,
  changeLines,
  initial,
  type LogLine,
  type PeerStatus,
  sameLiveness,
  withConfigured
} from "./birdStatus.ts"
import { type LimitHit, limitHitWords } from "./exportLimit.ts"
import type { PeerProblem } from "./sessions.ts"

export interface State {
  /** Absent until given: to write a file without it would withdraw what a previous agent announced. */
  readonly exportSet: ReadonlyArray<IpAddress> | undefined
  readonly drained: boolean
  /** By `secretKey`. The last known ones serve while the API server does not answer. */
  readonly passwords: ReadonlyMap<string, Redacted.Redacted>
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
  /** When BIRD's configuration or liveness last changed, of `monotonicMillis`. */
  readonly changedAt: number
  /** Of the control connection over which BIRD last answered. */
  readonly generation: number
  readonly status: BirdStatus
}

export const initialState: State = {
  exportSet: undefined,
  drained: false,
  passwords: new Map(),
  config: undefined,
  problems: [],
  waiting: [],
  ceiling: undefined,
  hits: [],
  refusal: "",
  reloads: 0,
  changedAt: 0,
  generation: 0,
  status: initial(true)
}

/** BIRD's reply to the question for its sessions; `error` says why there is none. */
export type Answer =
  | {
    readonly _tag: "Up"
    readonly version: string
    readonly peers: ReadonlyArray<PeerStatus>
    readonly hits: ReadonlyArray<LimitHit>
  }
  | { readonly _tag: "Down"; readonly error: string }

/** `at`: of `monotonicMillis`. */
export type Event =
  | { readonly _tag: "ExportSetGiven"; readonly addresses: ReadonlyArray<IpAddress> }
  | { readonly _tag: "DrainAsked"; readonly drained: boolean }
  | {
    readonly _tag: "WantedRead"
    readonly config: NodeConfig | undefined
    readonly waiting: ReadonlyArray<PeerProblem>
    readonly ceiling: State["ceiling"]
    readonly passwords: State["passwords"]
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
  | { readonly _tag: "Answered"; readonly answer: Answer; readonly generation: number; readonly at: number }

export type Action =
  | LogLine
  | { readonly _tag: "RequestReload" }
  /** Export everything again: what was held back has room now. */
  | { readonly _tag: "ExportAgain"; readonly protocol: string }
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

const answered = (state: State, event: Extract<Event, { readonly _tag: "Answered" }>): Step => {
  const { answer, at, generation } = event
  const { config, drained, problems, refusal, reloads, status: before, waiting } = state
  const error = answer._tag === "Down" ? answer.error : ""
  const errors = [...problems, refusal, error].filter((text) => text !== "")
  const hits = answer._tag === "Up" ? answer.hits : []
  const status: BirdStatus = {
    enabled: true,
    up: answer._tag === "Up",
    version: answer._tag === "Up" ? answer.version : "",
    peers: withHits(withConfigured(answer._tag === "Up" ? answer.peers : [], config, waiting), hits),
    stale: errors.length > 0,
    configError: errors.join("; "),
    reloads,
    drained
  }
  return {
    state: { ...state, status, hits, generation, changedAt: sameLiveness(status, before) ? state.changedAt : at },
    actions: [
      { _tag: "Publish", now: status, before },
      ...changeLines(status, before, error),
      ...hits.filter((hit) => !state.hits.some((it) => sameChannel(it, hit))).map((hit): Action => ({
        _tag: "Log",
        level: "Error",
        message: `${hit.protocol}: ${limitHitWords(hit)}`
      })),
      ...new Set(hits.filter(({ room }) => room).map(({ protocol }) => protocol)).values().map((protocol): Action => ({
        _tag: "ExportAgain",
        protocol
      })),
      // A BIRD that came, or came back, may run anything.
      ...(generation === state.generation ? [] : [{ _tag: "RequestReload" } as const])
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
      return { state: { ...state, drained: event.drained }, actions: [] }
    case "WantedRead": {
      const { ceiling, config, passwords, waiting } = event
      return { state: { ...state, ceiling, config, passwords, waiting }, actions: [] }
    }
    case "Applied":
      return applied(state, event)
    case "Failed":
      return report(state, [event.message], state.refusal)
    case "Answered":
      return answered(state, event)
  }
}
