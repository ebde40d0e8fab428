/** What the agent knows of BIRD as one value, what can happen to it, and what can be to do then. */
import type { Redacted } from "effect"
import type { IpAddress } from "../domain/Ip.ts"
import type { NodeConfig } from "../domain/NodeConfig.ts"
import type { LearnedPrefix } from "../domain/occupied.ts"
import type { Outcome } from "./apply.ts"
import type { BfdStatus } from "./bfd.ts"
import { type BirdStatus, initial, type LogLine, type PeerStatus } from "./birdStatus.ts"
import type { LimitHit } from "./exportLimit.ts"
import { type InForce, type Kept, NOTHING_KEPT } from "./kept.ts"
import { NO_PROBE, type Probe } from "./linkRouter.ts"
import type { LocalEnd } from "./local.ts"
import * as Overlaps from "./overlaps.ts"
import type { Recovery } from "./recovery.ts"
import type { Notes } from "./sessionNotes.ts"
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
  /** Routers of such links that were asked last whether they are still there. */
  readonly probed: Probe
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
  probed: NO_PROBE,
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
    readonly probed: State["probed"]
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
