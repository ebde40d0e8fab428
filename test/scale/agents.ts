/**
 * Agents without a kernel: what one says to its API server and hears of it is real (`KubeApi`, `Fleet`, `NodeReporter`, each
 * over connections of its own, with a token that is bound to its node), what it knows of links, BIRD and records is a test's.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Context, Effect, Exit, Layer, Logger, Option, Schedule, Scope, Stream, SubscriptionRef } from "effect"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { ApiServer } from "../../lab/ApiServer.ts"
import { layerTest as anycastTest } from "../../src/anycast/AnycastTest.ts"
import { Attachments } from "../../src/attachments/Attachments.ts"
import { layerTest as birdTest } from "../../src/bird/BirdTest.ts"
import { AntiSpoofing } from "../../src/firewall/AntiSpoofing.ts"
import { Fleet } from "../../src/fleet/Fleet.ts"
import { Ipam } from "../../src/ipam/Ipam.ts"
import * as Cluster from "../../src/kube/cluster.ts"
import { KubeApi } from "../../src/kube/KubeApi.ts"
import { layerTest as netlinkTest } from "../../src/netlink/NetlinkTest.ts"
import { NodeNetwork } from "../../src/netlink/NodeNetwork.ts"
import { NodeReporter } from "../../src/report/NodeReporter.ts"
import { layerTest as allocationsTest } from "../../src/state/AllocationsTest.ts"
import * as lab from "../kube/lab.ts"

/** Node i of a rack of 20, with its own prefixes. */
export const nameOf = (i: number): string => `node${String(i).padStart(5, "0")}`

const hex = (i: number) => (i + 1).toString(16)
/** A /26 of 10.0.0.0/8 for each, so that 20 pods and 5,000 nodes fit. */
const quads = (i: number) => {
  const base = (10 << 24 >>> 0) + (i + 1) * 64
  return [24, 16, 8, 0].map((shift) => (base >>> shift) & 255).join(".")
}
export const cidr4Of = (i: number): string => `${quads(i)}/26`
export const cidr6Of = (i: number): string => `2001:db8:${hex(i)}::/64`

const SESSION = { address: "192.0.2.1", asn: 65000, state: "Established", since: "", lastError: "" } as const
const peers = ["tor1", "tor2"].map((protocol) => ({
  ...SESSION,
  protocol,
  ipv6: { announced: 1, learned: 0 },
  ipv4: { announced: 1, learned: 0 }
}))

/** `work` for each of 0 to n - 1, several at a time. */
export const each = async (n: number, work: (i: number) => Promise<unknown>, atOnce = 32): Promise<void> => {
  const next = { i: 0 }
  const worker = async () => {
    while (next.i < n) await work(next.i++)
  }
  await Promise.all(Array.from({ length: Math.min(n, atOnce) }, worker))
}

/** Nodes with the labels and prefixes that templates ask for, and of each the agent's pod, to which its token is bound. */
export const makeNodes = async (api: ApiServer, n: number, tokens: Map<string, string>): Promise<void> => {
  const spec = (i: number) => ({ podCIDR: cidr4Of(i), podCIDRs: [cidr4Of(i), cidr6Of(i)] })
  await each(n, async (i) => {
    const name = nameOf(i)
    const labels = { rack: `rack${Math.floor(i / 20)}`, "example.org/asn": String(65_001 + Math.floor(i / 20)) }
    await lab.create(api, { ...lab.node(name), metadata: { name, labels }, spec: spec(i) })
    await lab.create(api, lab.agentPod(`flock-agent-${name}`, name))
    tokens.set(name, await lab.tokenOf(api, `flock-agent-${name}`))
  })
}

export interface Agent {
  readonly name: string
  readonly kube: KubeApi["Service"]
}

export interface Agents {
  readonly all: ReadonlyArray<Agent>
  readonly stop: () => Promise<void>
}

export interface Options {
  /** How long a NodeConfig is on trial; default: a minute. */
  readonly probationMillis?: number
  /** Bearer tokens by node. */
  readonly tokens: ReadonlyMap<string, string>
  /** For their states and kubeconfigs. */
  readonly folder: string
}

const around = NodeReporter.layer.pipe(
  Layer.provideMerge(Attachments.layer),
  Layer.provideMerge(Layer.orDie(NodeNetwork.layer)),
  Layer.provideMerge(Layer.mergeAll(
    AntiSpoofing.layerTest(),
    anycastTest(),
    birdTest({ peers }),
    Ipam.layer,
    allocationsTest(),
    netlinkTest()
  ))
)

/**
 * A request of a real agent fails after 10 s. Here a thousand of them share one thread with each other and a machine with the API
 * server: what is slow for that reason must not come twice.
 */
const TIMING = { requestMillis: 60_000, idleMillis: 120_000 }

/** Of them are so many at their start at one time: they share this process's one thread. */
const STARTING = 16

/** Each goes on when it knows its NodeConfig and pods, as a roll-out of the DaemonSet does. */
export const start = async (api: ApiServer, names: ReadonlyArray<string>, options: Options): Promise<Agents> => {
  const scope = await Effect.runPromise(Scope.make())
  const admin = readFileSync(api.kubeconfig("admin"), "utf8")
  const one = (name: string) =>
    Effect.gen(function*() {
      const stateDir = join(options.folder, name)
      mkdirSync(stateDir, { recursive: true })
      const kubeconfig = join(stateDir, "kubeconfig")
      writeFileSync(kubeconfig, admin.replace(/token: [^\s,}]+/, `token: ${options.tokens.get(name)}`))
      const cluster = Cluster.layer({ nodeName: name, kubeconfig, stateDir, namespace: lab.NAMESPACE, timing: TIMING })
      const { probationMillis } = options
      const layer = Fleet.layer({ nodeName: name, ...(probationMillis === undefined ? {} : { probationMillis }) }).pipe(
        Layer.provideMerge(around),
        Layer.provideMerge(cluster),
        Layer.provide(NodeServices.layer)
      )
      const context = yield* Layer.buildWithScope(layer, scope)
      const kube = Context.get(context, KubeApi)
      for (const { run } of [kube, Context.get(context, NodeReporter), Context.get(context, Fleet)]) {
        yield* Effect.forkIn(run, scope)
      }
      yield* Effect.repeat(kube.synced, { until: (is) => is, schedule: Schedule.spaced("50 millis") })
      return { name, kube }
    }).pipe(Effect.orDie)
  const all = await Effect.runPromise(
    Effect.forEach(names, one, { concurrency: STARTING }).pipe(Effect.provide(Logger.layer([])))
  )
  return { all, stop: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}

/** Milliseconds until each of them has a NodeConfig in force of which `holds` is true, in ascending order. */
export const untilAll = (agents: Agents, holds: (spec: { readonly mtu?: number | undefined }) => boolean) => {
  const began = performance.now()
  const one = ({ kube }: Agent) =>
    SubscriptionRef.changes(kube.nodeConfig).pipe(
      Stream.filter(({ current }) => Option.exists(current, ({ spec }) => holds(spec))),
      Stream.take(1),
      Stream.runDrain,
      Effect.map(() => performance.now() - began)
    )
  return Effect.runPromise(
    Effect.forEach(agents.all, one, { concurrency: "unbounded" }).pipe(Effect.timeout("20 minutes"))
  ).then((times) => times.toSorted((a, b) => a - b))
}
