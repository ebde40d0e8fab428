/** What NodeConfigs and agents' pods say of the nodes, as rows. Pure. */
import { TEMPLATE_LABEL } from "../domain/NodeConfig.ts"
import { items, record, records } from "../domain/record.ts"
import type { AgentPod } from "./kubectl.ts"

export interface AnycastOfNode {
  readonly address: string
  readonly state: string
  /** RFC 3339; empty: not known. */
  readonly since: string
  readonly pods: ReadonlyArray<string>
}

export interface NodeRow {
  readonly node: string
  /** `True`, `False`, or why there is neither. */
  readonly ready: string
  readonly reason: string
  /** RFC 3339, since when it is so; empty: not known. */
  readonly since: string
  readonly sessions: string
  readonly used6: number | undefined
  readonly used4: number | undefined
  readonly free4: number | undefined
  /** Empty: it is written by hand. */
  readonly template: string
  /** Reason of `FollowsTemplate`: Following, OnTrial, Orphaned; empty: not known. */
  readonly follows: string
  /** Of the agent; empty: there is none. */
  readonly version: string
  readonly cidrs: ReadonlyArray<string>
  readonly anycast: ReadonlyArray<AnycastOfNode>
  readonly truncated: boolean
}

type Object = Readonly<Record<string, unknown>>

const numberOf = (value: unknown): number | undefined => typeof value === "number" ? value : undefined

const rowOf = (nodeConfig: Object, agent: AgentPod | undefined): NodeRow => {
  const { labels, name } = record(nodeConfig["metadata"])
  const { cidr4, cidr6 } = record(nodeConfig["spec"])
  const status = record(nodeConfig["status"])
  const conditions = records(status["conditions"])
  const ready = conditions.find(({ type }) => type === "Ready")
  const reasonOf = (wanted: string) => conditions.find(({ type }) => type === wanted)?.["reason"]
  const usage = record(status["addresses"])
  return {
    node: String(name),
    ready: agent === undefined ? "no agent" : String(ready?.["status"] ?? "unknown"),
    reason: String(ready?.["reason"] ?? ""),
    since: String(ready?.["lastTransitionTime"] ?? ""),
    sessions: String(status["sessions"] ?? ""),
    used6: numberOf(record(usage["ipv6"])["used"]),
    used4: numberOf(record(usage["ipv4"])["used"]),
    free4: numberOf(record(usage["ipv4"])["free"]),
    template: String(record(labels)[TEMPLATE_LABEL] ?? ""),
    follows: String(reasonOf("FollowsTemplate") ?? ""),
    version: agent?.version ?? "",
    cidrs: [cidr6, cidr4].filter((cidr) => typeof cidr === "string"),
    anycast: records(status["anycast"]).map(({ address, pods, since, state }) => ({
      address: String(address),
      state: String(state),
      since: String(since ?? ""),
      pods: items(pods).map(String)
    })),
    truncated: status["truncated"] === true
  }
}

/** Every node that has a NodeConfig or an agent, by name. */
export const nodeRows = (
  nodeConfigs: ReadonlyArray<Object>,
  agents: ReadonlyArray<AgentPod>
): ReadonlyArray<NodeRow> => {
  const byNode = new Map(agents.map((agent) => [agent.node, agent]))
  const rows = nodeConfigs.map((nodeConfig) =>
    rowOf(nodeConfig, byNode.get(String(record(nodeConfig["metadata"])["name"])))
  )
  const known = new Set(rows.map(({ node }) => node))
  const bare = agents.filter(({ node }) => !known.has(node)).map((agent): NodeRow => ({
    ...rowOf({ metadata: { name: agent.node } }, agent),
    ready: "no NodeConfig"
  }))
  return [...rows, ...bare].toSorted((a, b) => a.node < b.node ? -1 : 1)
}

const UNITS = [["d", 86_400], ["h", 3600], ["m", 60], ["s", 1]] as const

/** As kubectl says ages: `3d`, `5h`, `12m`, `7s`. */
export const age = (since: string, now: number): string => {
  const seconds = Math.max(0, Math.floor((now - Date.parse(since)) / 1000))
  if (Number.isNaN(seconds)) return "-"
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS[3]
  return `${Math.floor(seconds / size)}${unit}`
}

const orDash = (value: string | number | undefined): string => value === undefined || value === "" ? "-" : String(value)

const NOT_FOLLOWING: Readonly<Record<string, string>> = { OnTrial: " (on trial)", Orphaned: " (orphaned)" }

export const statusTable = (rows: ReadonlyArray<NodeRow>, now: number): ReadonlyArray<ReadonlyArray<string>> => [
  ["NODE", "READY", "REASON", "SESSIONS", "USED6", "USED4", "FREE4", "ANYCAST", "TEMPLATE", "VERSION", "SINCE"],
  ...rows.map((row) => [
    row.node,
    row.ready,
    orDash(row.reason),
    orDash(row.sessions),
    orDash(row.used6),
    orDash(row.used4),
    orDash(row.free4),
    `${row.anycast.filter(({ state }) => state === "announced").length}/${row.anycast.length}${
      row.truncated ? "+" : ""
    }`,
    orDash(row.template) + (NOT_FOLLOWING[row.follows] ?? ""),
    orDash(row.version),
    age(row.since, now)
  ])
]

/** Different failures of one template that are told. */
const MOST_FAILURES = 10

/** The first ten, and how many more. */
export const namesOf = (nodes: ReadonlyArray<string>): string =>
  nodes.slice(0, 10).join(", ") + (nodes.length > 10 ? ` and ${nodes.length - 10} more` : "")

/** What keeps nodes from following their templates, a line each. */
export const templateLines = (templates: ReadonlyArray<Object>): ReadonlyArray<string> =>
  templates.flatMap(({ metadata, status }) => {
    const { generation, name } = record(metadata)
    const failures = records(record(status)["failures"])
    const halted = records(record(status)["conditions"]).find(({ type, ...it }) =>
      type === "Halted" && it["status"] === "True" && it["observedGeneration"] === generation
    )
    const alike = [...Map.groupBy(failures, ({ message, reason }) => `${String(reason)}: ${String(message)}`)]
    return [
      ...(halted === undefined ? [] : [`template ${name}: generation ${generation} is halted`]),
      ...alike.slice(0, MOST_FAILURES).map(([words, of]) =>
        `template ${name}: ${namesOf(of.map(({ node }) => String(node)))}: ${words}`
      ),
      ...(alike.length > MOST_FAILURES ? [`template ${name}: and ${alike.length - MOST_FAILURES} more failures`] : [])
    ]
  })

export interface AddressRow {
  readonly address: string
  readonly nodes: ReadonlyArray<Omit<AnycastOfNode, "address"> & { readonly node: string }>
}

/** Every anycast and chosen address of the fleet, with the nodes that have pods for it. */
export const addressRows = (rows: ReadonlyArray<NodeRow>): ReadonlyArray<AddressRow> => {
  const all = rows.flatMap(({ anycast, node }) => anycast.map((it) => ({ node, ...it })))
  return [...Map.groupBy(all, ({ address }) => address)]
    .map(([address, held]) => ({
      address,
      nodes: held.map(({ node, pods, since, state }) => ({ node, state, since, pods }))
    }))
    .toSorted((a, b) => a.address < b.address ? -1 : 1)
}

export const anycastTable = (rows: ReadonlyArray<AddressRow>, now: number): ReadonlyArray<ReadonlyArray<string>> => [
  ["ADDRESS", "ANNOUNCED", "NODE", "STATE", "SINCE", "PODS"],
  ...rows.flatMap(({ address, nodes }) => {
    const announced = nodes.filter(({ state }) => state === "announced").length
    return nodes.map(({ node, pods, since, state }, i) => [
      i === 0 ? address : "",
      i === 0 ? `${announced}/${nodes.length}` : "",
      node,
      state,
      age(since, now),
      pods.join(", ")
    ])
  })
]
