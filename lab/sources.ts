/** What the sources say that `agreement.ts` compares. Addresses are as `ip` prints them. */

/** One interface of one container as a source describes it. Addresses as `ip` prints them, in any order. */
export interface Attachment {
  /** `containerId/ifName`. */
  readonly key: string
  readonly hostLink?: string
  /** On its interface. */
  readonly addresses: ReadonlyArray<string>
  /** On its `lo`. */
  readonly anycast: ReadonlyArray<string>
}

/** One that there must be. */
export interface Wanted extends Attachment {
  readonly ifName: string
  /** Those of its addresses that are announced while it is Ready. */
  readonly follows: ReadonlyArray<string>
  readonly ready: boolean
}

export interface Link {
  readonly name: string
  readonly alias: string
  readonly up: boolean
  readonly mac: string
}

export interface LinkAddress {
  readonly dev: string
  readonly address: string
}

export interface Route {
  /** A host route's without its length. */
  readonly destination: string
  readonly protocol: string
  readonly hops: ReadonlyArray<{ readonly dev: string; readonly via?: string }>
}

export interface Neighbour {
  readonly dev: string
  readonly address: string
  readonly mac: string
  readonly permanent: boolean
}

/** One network namespace. */
export interface Namespace {
  readonly links: ReadonlyArray<Link>
  readonly addresses: ReadonlyArray<LinkAddress>
  readonly routes: ReadonlyArray<Route>
  readonly neighbours: ReadonlyArray<Neighbour>
}

/** A call that must succeed at rest, such as `CHECK c12/eth0`. */
export interface Answer {
  readonly call: string
  readonly code: number
  readonly message: string
}

/** A BGP session as one end sees it. */
export interface Session {
  /** Of the other end. */
  readonly peer: string
  readonly state: string
}

/** The agent's process, against what it may have. */
export interface ProcessFacts {
  readonly descriptors: number
  readonly maxDescriptors: number
  /** Descriptors of network namespaces. */
  readonly namespaces: number
  readonly maxNamespaces: number
  /** kB of resident memory. */
  readonly memory: number
  readonly maxMemory: number
}

export interface NodeFacts {
  readonly name: string
  readonly wanted: ReadonlyArray<Wanted>
  readonly agent: ReadonlyArray<Attachment>
  /** What the agent says is announced. */
  readonly announced: ReadonlyArray<string>
  /**
   * What it says of BIRD's sessions; empty: BIRD does not answer, or has a configuration that is not the wanted one.
   * Absent: the node has no BIRD.
   */
  readonly sessions?: ReadonlyArray<Session>
  readonly records: ReadonlyArray<Attachment>
  /** Files of records that are no record: an intent, one set aside. */
  readonly stray: ReadonlyArray<string>
  readonly kernel: Namespace
  /** By key; those that were looked into. */
  readonly pods: ReadonlyMap<string, Namespace>
  readonly answers: ReadonlyArray<Answer>
  readonly process?: ProcessFacts
  /** Prefixes that the router must have from it. */
  readonly prefixes: ReadonlyArray<string>
  /** Its addresses in the router's LAN, link-local ones too. */
  readonly nextHops: ReadonlyArray<string>
}

/** A table of the router: its kernel's, or its BGP daemon's. */
export interface RouterTable {
  readonly name: string
  readonly routes: ReadonlyMap<string, ReadonlyArray<string>>
}

export interface Facts {
  readonly nodes: ReadonlyArray<NodeFacts>
  /** Of both families together; what begins before the nodes (the router's own prefixes) left out. */
  readonly router: ReadonlyArray<RouterTable>
  /** The router's: one with each address of a node in its LAN. */
  readonly sessions: ReadonlyArray<Session>
}

export interface Disagreement {
  /** Node, or `router`. */
  readonly where: string
  readonly source: "agent" | "records" | "kernel" | "pod" | "plugin" | "router" | "process" | "nodes"
  readonly problem: string
}
