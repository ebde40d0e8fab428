/** The ground of a soak: network, nodes with a witness each, and what their faults need. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { type ApiServer, start as startApi } from "../../lab/ApiServer.ts"
import { processFacts } from "../../lab/facts.ts"
import { Network, nodeSpec } from "../../lab/Network.ts"
import type { Relay } from "../../lab/Relay.ts"
import type { World } from "../../lab/World.ts"
import * as cluster from "../kube/lab.ts"
import type { Idle } from "./audit.ts"
import { CLOCK_AHEAD, Faults, mountState } from "./faults.ts"
import type { FaultKind } from "./plan.ts"
import { clusterPods, folderPods } from "./pods.ts"
import { SoakNode } from "./SoakNode.ts"
import type { Spec } from "./spec.ts"

export const NODES = 2
export const ANYCAST = Array.from({ length: 6 }, (_, i) => [`2001:db8:a::${i + 1}`, `192.0.2.${i + 1}`]).flat()

export interface Options {
  readonly seed: number
  readonly slots: number
  readonly operations: number
  readonly faults: number
  readonly kinds: ReadonlyArray<FaultKind>
  /** libfaketime's library; undefined: clocks are left alone. */
  readonly faketime: string | undefined
  /** One of the nodes follows a real API server. */
  readonly api: boolean
  /** Seconds within which all must agree once nothing happens any more. */
  readonly settle: number
  /** Removes a record behind the agent's back in the first round: shows that a soak can fail. */
  readonly spoil: boolean
}

export interface Ready {
  readonly network: Network
  readonly nodes: ReadonlyArray<SoakNode>
  readonly faults: ReadonlyArray<Faults>
  /** What each agent's process has before the first pod. */
  readonly idle: ReadonlyArray<Idle>
}

export const setUp = async (world: World, options: Options): Promise<Ready> => {
  const api = options.api ? await startApi(world) : undefined
  if (api !== undefined) {
    const name = `node${NODES}`
    await cluster.prepare(api, name)
    await cluster.create(api, cluster.nodeConfig(name, nodeSpec(NODES - 1)))
  }
  const clocks = Array.from({ length: NODES }, () => join(world.folder("clock"), "offset"))
  for (const clock of clocks) writeFileSync(clock, `+${CLOCK_AHEAD}\n`)
  const relays: Array<Relay | undefined> = []
  const network = await Network.open(world, {
    nodes: NODES,
    env: (i) =>
      options.faketime === undefined ? {} : {
        LD_PRELOAD: options.faketime,
        FAKETIME_TIMESTAMP_FILE: clocks[i],
        FAKETIME_CACHE_DURATION: "1",
        FAKETIME_DONT_FAKE_MONOTONIC: "1",
        DONT_FAKE_MONOTONIC: "1",
        NO_FAKE_STAT: "1"
      },
    prepare: async (node, i) => {
      await mountState(world, join(node.directory, "state"))
      if (api === undefined || i !== NODES - 1) return
      const { kubeconfig, relay } = await api.relay("agent", node.netns)
      node.kubeconfig = kubeconfig
      relays[i] = relay
    }
  })
  const idle = network.nodes.map(({ agent }) => processFacts(agent?.pid ?? 0))
  const nodes: Array<SoakNode> = []
  for (const [i, node] of network.nodes.entries()) {
    nodes.push(
      await SoakNode.open({
        node,
        pods: node.kubeconfig === undefined ? folderPods(node) : clusterPods(node, api as ApiServer),
        spec: nodeSpec(i) as Spec,
        slots: options.slots,
        prefixes: { ipv6: `2001:db8:10${i}:`, ipv4: `10.42.${i}.` },
        anycast: ANYCAST,
        chosen: (slot) => `2001:db8:a::c${i}:${(slot + 1).toString(16)}`,
        taken: () => new Set(nodes.flatMap(({ wanted }) => wanted.flatMap(({ addresses }) => addresses)))
      })
    )
  }
  for (const soak of nodes) {
    await soak.add(options.slots, { anycast: [], chosen: false, ipv4: true, forbidden: false })
  }
  const faults = nodes.map((soak, index) =>
    new Faults({
      soak,
      index,
      router: network.lan.router,
      relay: relays[index],
      clock: options.faketime === undefined ? undefined : clocks[index]
    })
  )
  return { network, nodes, faults, idle }
}
