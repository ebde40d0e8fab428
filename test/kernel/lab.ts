/** Network namespaces for one test: one plays the node, others are pods. All are gone afterwards, whatever happens. */
import { Effect, Layer, type Scope } from "effect"
import { enter, ipBatch, runSync } from "../../lab/exec.ts"
import { World } from "../../lab/World.ts"
import { address, type IpAddress } from "../../src/domain/Ip.ts"
import type { PodAddresses } from "../../src/domain/PodAddresses.ts"
import { layer } from "../../src/netlink/layer.ts"
import { Netlink, type PodLinkPlan } from "../../src/netlink/Netlink.ts"

export { ipBatch }

/** Runs a program in a namespace; throws with its output if it fails. */
export const inside = (netns: string, ...words: ReadonlyArray<string>): string => runSync([...enter(netns), ...words])

/** `ip …` in a namespace. */
export const ip = (netns: string, ...words: ReadonlyArray<string>): string => runSync(["ip", "-n", netns, ...words])

/** `ip -j …` in a namespace, parsed. */
export const ipJson = (netns: string, ...words: ReadonlyArray<string>): ReadonlyArray<Record<string, unknown>> =>
  JSON.parse(ip(netns, "-j", "-d", ...words) || "[]")

/** Sets a sysctl (`net/ipv6/conf/all/disable_ipv6`) in a namespace. */
export const sysctl = (netns: string, name: string, value: string): string =>
  inside(netns, "sh", "-c", `echo ${value} > /proc/sys/${name}`)

export const readSysctl = (netns: string, name: string): string => inside(netns, "cat", `/proc/sys/${name}`).trim()

export interface Lab {
  readonly host: string
  /** Makes a namespace for a pod; its name. */
  readonly pod: () => string
  readonly netlink: Netlink["Service"]
}

export const NODE4 = "198.51.100.7"
export const NODE6 = "2001:db8:ffff::7"

/** A world of the lab that ends with the scope. */
export const scopedWorld: Effect.Effect<World, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => new World()),
  (world) => Effect.promise(() => world.close())
)

/** A fresh node, with an address of each family on `lo` and forwarding on. */
export const makeLab: Effect.Effect<Lab, never, Scope.Scope> = Effect.gen(function*() {
  const world = yield* scopedWorld
  const host = world.netns("node")
  ip(host, "link", "set", "lo", "up")
  ip(host, "addr", "add", `${NODE4}/32`, "dev", "lo")
  ip(host, "addr", "add", `${NODE6}/128`, "dev", "lo")
  const context = yield* Layer.build(layer({ netns: `/run/netns/${host}` }))
  const netlink = yield* Netlink.pipe(Effect.provideContext(context))
  yield* Effect.orDie(netlink.prepareHost)
  return { host, pod: () => world.netns("pod"), netlink }
})

/** Link name number `n`. */
export const linkName = (n: number): string => `flock${n.toString(16).padStart(8, "0")}`

export const v6 = (n: number): IpAddress => address(`2001:db8:1::${n.toString(16)}`)
export const v4 = (n: number): IpAddress => address(`10.42.${1 + (n >> 8)}.${n & 255}`)

type PlanChanges = Partial<Omit<PodLinkPlan, "addresses">> & { readonly addresses?: Partial<PodAddresses> }

/** A dual-stack plan for pod number `n` (from 2 on). */
export const planOf = (pod: string, n: number, changes: PlanChanges = {}): PodLinkPlan => ({
  hostIfName: linkName(n),
  alias: `default/pod-${n} ${n.toString(16).padStart(64, "0")} eth0`,
  netns: `/run/netns/${pod}`,
  ifName: "eth0",
  mtu: 1500,
  ...changes,
  addresses: { ipv6: v6(n), ipv4: v4(n), gateway4: address("10.42.1.1"), chosen: [], anycast: [], ...changes.addresses }
})

/** Without the keys named: a plan of one family. */
export const without = (plan: PodLinkPlan, ...keys: ReadonlyArray<"ipv6" | "ipv4" | "gateway4">): PodLinkPlan => {
  const addresses: { -readonly [K in keyof PodAddresses]: PodAddresses[K] } = { ...plan.addresses }
  for (const key of keys) delete addresses[key]
  return { ...plan, addresses }
}

/** One echo, answered within a second, or the output of ping in an error. */
export const ping = (netns: string, to: string, ...options: ReadonlyArray<string>): string =>
  inside(netns, "ping", "-c", "1", "-W", "1", ...options, to)

/** Everything in a namespace that an attachment may leave behind, for comparing before and after. */
export const snapshot = (netns: string): unknown => ({
  links: ipJson(netns, "link").map(({ ifname, flags }) => ({ ifname, flags })),
  addresses: ip(netns, "-o", "addr").split("\n").map((line) => line.replace(/^\d+: /, "").trim()).toSorted(),
  routes: [ip(netns, "route", "show", "table", "all"), ip(netns, "-6", "route", "show", "table", "all")],
  neighbours: ip(netns, "neigh", "show", "nud", "all").split("\n").toSorted()
})
