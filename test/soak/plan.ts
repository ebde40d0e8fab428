/** What happens in a round: operations and faults, drawn from seed and round alone. Pure. */
import { type Random, roundOf } from "./random.ts"

/** On one of a node's pods, which a slot stands for: a name, a network namespace, and at most one container at a time. */
export type Operation =
  /** ADD where the slot has no container, DEL where it has one. `asks`: see {@link Asks}. */
  | { readonly kind: "cycle"; readonly node: number; readonly slot: number; readonly asks: Asks }
  /** The same, called twice at the same moment. */
  | { readonly kind: "twice"; readonly node: number; readonly slot: number; readonly asks: Asks }
  | { readonly kind: "check" | "flip" | "annotate"; readonly node: number; readonly slot: number }
  /** The runtime forgets a container; `namespace`: and its network namespace ends. GC frees it. */
  | { readonly kind: "forget"; readonly node: number; readonly slot: number; readonly namespace: boolean }
  | { readonly kind: "gc" | "status"; readonly node: number }
  | { readonly kind: "edit"; readonly node: number; readonly edit: Edit }

/** What a new pod's annotations ask for. */
export interface Asks {
  /** Indices into the anycast addresses that are there to be had. */
  readonly anycast: ReadonlyArray<number>
  readonly chosen: boolean
  readonly ipv4: boolean
  /** An address that nobody may have: the ADD must be refused. */
  readonly forbidden: boolean
}

export const EDITS = ["mtu", "ipAlgo", "ipv4", "communities", "invalid", "same"] as const
export type Edit = typeof EDITS[number]

/** What may go wrong. Each lasts from the start of one operation to that of another, or is over at once. */
export const FAULTS = {
  agentKilled: { lasts: true, weight: 4 },
  agentStopped: { lasts: true, weight: 1 },
  stateLost: { lasts: true, weight: 2 },
  podsLost: { lasts: true, weight: 2 },
  birdKilled: { lasts: true, weight: 3 },
  diskFull: { lasts: true, weight: 3 },
  apiCut: { lasts: true, weight: 2, cluster: true },
  apiMute: { lasts: true, weight: 1, cluster: true },
  apiSlow: { lasts: true, weight: 2, cluster: true },
  configGone: { lasts: true, weight: 1 },
  cablePulled: { lasts: true, weight: 2 },
  uplinkDown: { lasts: true, weight: 1 },
  clockForward: { lasts: false, weight: 2 },
  clockBack: { lasts: false, weight: 2 },
  foreignExport: { lasts: false, weight: 2 },
  exportsFlushed: { lasts: false, weight: 2 },
  hostEndDown: { lasts: true, weight: 2 },
  hostRoutesFlushed: { lasts: false, weight: 2 },
  neighboursFlushed: { lasts: false, weight: 2 },
  foreignRoute: { lasts: true, weight: 2 }
} as const satisfies Record<string, { readonly lasts: boolean; readonly weight: number; readonly cluster?: boolean }>
export type FaultKind = keyof typeof FAULTS

export interface Fault {
  readonly kind: FaultKind
  readonly node: number
  /** Index of the operation with which it begins, and of that with which it ends. */
  readonly from: number
  readonly to: number
  /** For what there are several of: a pod's link, an address. */
  readonly which: number
}

export interface Round {
  readonly operations: ReadonlyArray<Operation>
  /** In the order in which they begin. */
  readonly faults: ReadonlyArray<Fault>
}

/** What there is to draw from. */
export interface Ground {
  readonly nodes: number
  /** Pods of each node. */
  readonly slots: number
  readonly anycast: number
  /** Nodes that follow an API server. */
  readonly cluster: ReadonlySet<number>
  readonly operations: number
  readonly faults: number
  readonly kinds: ReadonlyArray<FaultKind>
}

const asksOf = (random: Random, anycast: number): Asks => ({
  anycast: random.chance(0.5) ? random.some([...Array(anycast).keys()], 1 + random.below(3)) : [],
  chosen: random.chance(0.1),
  ipv4: !random.chance(0.1),
  forbidden: random.chance(0.05)
})

const operationOf = (random: Random, ground: Ground): Operation => {
  const [node, slot] = [random.below(ground.nodes), random.below(ground.slots)]
  const asks = asksOf(random, ground.anycast)
  const draw = random.below(100)
  if (draw < 55) return { kind: "cycle", node, slot, asks }
  if (draw < 58) return { kind: "twice", node, slot, asks }
  if (draw < 68) return { kind: "check", node, slot }
  if (draw < 86) return { kind: "flip", node, slot }
  if (draw < 90) return { kind: "annotate", node, slot }
  if (draw < 92) return { kind: "forget", node, slot, namespace: random.chance(0.5) }
  if (draw < 94) return { kind: "gc", node }
  if (draw < 97) return { kind: "status", node }
  return { kind: "edit", node, edit: random.pick(EDITS) }
}

const faultOf = (random: Random, ground: Ground): Fault => {
  const weighted = ground.kinds.flatMap((kind) => Array<FaultKind>(FAULTS[kind].weight).fill(kind))
  const kind = random.pick(weighted)
  const needsCluster = "cluster" in FAULTS[kind]
  const nodes = [...Array(ground.nodes).keys()].filter((i) => !needsCluster || ground.cluster.has(i))
  const from = random.below(ground.operations)
  const to = from + (FAULTS[kind].lasts ? 1 + random.below(ground.operations >> 1) : 0)
  return { kind, node: random.pick(nodes), from, to, which: random.below(1000) }
}

/** The round of a seed. Faults that need an API server are not drawn where no node has one. */
export const planRound = (seed: number, round: number, ground: Ground): Round => {
  const random = roundOf(seed, round)
  const kinds = ground.kinds.filter((kind) => !("cluster" in FAULTS[kind]) || ground.cluster.size > 0)
  const operations = Array.from({ length: ground.operations }, () => operationOf(random, ground))
  const faults = kinds.length === 0
    ? []
    : Array.from({ length: ground.faults }, () => faultOf(random, { ...ground, kinds }))
  return { operations, faults: faults.toSorted((a, b) => a.from - b.from) }
}

export const describeOperation = (operation: Operation): string =>
  `node${operation.node + 1} ${operation.kind}${"slot" in operation ? ` pod ${operation.slot}` : ""}${
    "edit" in operation ? ` ${operation.edit}` : ""
  }`

export const describeFault = ({ from, kind, node, to }: Fault): string => `node${node + 1} ${kind} ${from}-${to}`
