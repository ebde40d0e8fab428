/** All sources, asked once and compared. */
import {
  type Answer,
  type Disagreement,
  disagreements,
  type Facts,
  type NodeFacts,
  type ProcessFacts
} from "../../lab/agreement.ts"
import { nodeFacts, processFacts, routerFacts, routerSessions } from "../../lab/facts.ts"
import { node4, node6 } from "../../lab/Lan.ts"
import { cidr4, cidr6, type Network } from "../../lab/Network.ts"
import type { SoakNode } from "./SoakNode.ts"

/** What the router has of itself. */
const ROUTERS = new Set(["2001:db8:c::/64", "2001:db8:ffff::/64", "203.0.113.0/24", "198.51.100.0/24"])

/** What the agent's process may have: descriptors of an idle one, and room for what comes and goes. */
const MORE_DESCRIPTORS = 24
const MAX_MEMORY = 300_000

export interface Idle {
  readonly descriptors: number
  readonly namespaces: number
}

const STATUS = { config: { cniVersion: "1.1.0" } }

const answersOf = async (soak: SoakNode, sample: number): Promise<ReadonlyArray<Answer>> => {
  const { node } = soak.parts
  const containers = soak.slots.flatMap((slot) =>
    slot.container === undefined ? [] : [{ slot, container: slot.container }]
  )
  const start = containers.length === 0 ? 0 : sample % containers.length
  const chosen = [...containers.slice(start), ...containers.slice(0, start)].slice(0, 4)
  const checks = chosen.map(async ({ container: { id, result, uid }, slot }): Promise<Answer> => {
    const options = { netns: `/run/netns/${slot.netns}`, pod: slot.name, uid, config: { prevResult: result } }
    const { code, json } = await node.cni("CHECK", id, options)
    return { call: `CHECK ${id}`, code, message: `${json?.msg} ${json?.details}` }
  })
  const status = node.cni("STATUS", "", STATUS)
    .then(({ code, json }): Answer => ({ call: "STATUS", code, message: json?.msg ?? "" }))
  return Promise.all([status, ...checks])
}

const factsOf = async (soak: SoakNode, index: number, idle: Idle | undefined, sample: number): Promise<NodeFacts> => {
  const { node } = soak.parts
  const netnsOf = new Map(
    soak.slots.flatMap(({ container, netns }) =>
      container === undefined ? [] : [[container.wanted.key, netns] as const]
    )
  )
  const [facts, answers] = await Promise.all([nodeFacts(node, soak.wanted, netnsOf), answersOf(soak, sample)])
  const pid = node.agent?.pid
  const process: ProcessFacts | undefined = pid === undefined || idle === undefined ? undefined : {
    ...processFacts(pid),
    maxDescriptors: idle.descriptors + MORE_DESCRIPTORS,
    maxNamespaces: idle.namespaces,
    maxMemory: MAX_MEMORY
  }
  const linkLocal = facts.kernel.addresses.filter(({ address, dev }) => dev === "uplink" && address.startsWith("fe80:"))
  return {
    ...facts,
    answers,
    ...process && { process },
    prefixes: [cidr6(index), cidr4(index)],
    nextHops: [node6(index), node4(index), ...linkLocal.map(({ address }) => address)]
  }
}

/** `sample` chooses which pods are CHECKed. */
export const audit = async (
  network: Network,
  soaks: ReadonlyArray<SoakNode>,
  idle: ReadonlyArray<Idle>,
  sample: number
): Promise<{ readonly facts: Facts; readonly found: ReadonlyArray<Disagreement> }> => {
  const [router, sessions, ...nodes] = await Promise.all([
    routerFacts(network.lan, ROUTERS),
    routerSessions(network.lan),
    ...soaks.map((soak, i) => factsOf(soak, i, idle[i], sample))
  ])
  const facts = { nodes, router, sessions }
  return { facts, found: disagreements(facts) }
}
